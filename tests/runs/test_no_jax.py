"""The room works, and stays quick to import, where jax is not."""

import subprocess
import sys


def test_runs_never_import_jax():
    code = (
        "import sys; import jrank.runs as r; r.Run({'q': {'d': 1.0}}).ranked; "
        "assert not {'jax', 'scipy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
