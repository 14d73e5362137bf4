"""Install a wheel without its dependencies into an empty folder and use it from there, away from the checkout.

    python scripts/lib/try_wheel.py jrank-*.whl

The dependencies come from the environment that runs this; what is tested is that the wheel holds all of jrank.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

PROGRAM = """
import pathlib, sys
import jrank, jax.numpy as jnp
assert pathlib.Path(jrank.__file__).is_relative_to(sys.argv[1]), jrank.__file__
loss = jrank.softmax_loss(jnp.array([2.0, 1.0]), jnp.array([1.0, 0.0]))
print("jrank", jrank.__version__, "from the wheel; a softmax loss:", loss)
assert (pathlib.Path(jrank.__file__).parent / "py.typed").exists()
from jrank.cli import main
sys.exit(main(["doctor"]))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(sys.argv[1]).extractall(folder)
        environment = os.environ | {"PYTHONPATH": folder, "PYTHONSAFEPATH": "1", "JAX_PLATFORMS": "cpu"}
        out = pathlib.Path(folder) / "elsewhere"
        out.mkdir()
        done = subprocess.run([sys.executable, "-c", PROGRAM, folder], cwd=out, env=environment)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
