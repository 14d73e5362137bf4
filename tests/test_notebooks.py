"""Every notebook runs from top to bottom, and was committed that way, small.

A notebook that takes long says so in its metadata, ``{"jrank": {"slow": true}}``, and then runs with the slow tests.
"""

import os
import pathlib
import re
import sys

import nbformat
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 600_000  # bytes, outputs included


def read(path):
    return nbformat.read(path, as_version=4)


def slow(path):
    return read(path).metadata.get("jrank", {}).get("slow", False)


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=pytest.mark.slow if slow(p) else ()) for p in NOTEBOOKS]
)
def test_it_runs(path, tmp_path):
    from nbclient import NotebookClient

    # The kernel is a process of its own: it shall import this checkout, share the compilations that the tests keep, and
    # write nothing beside the notebook.
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before.get("PYTHONPATH")]))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".cache" / "jax")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    os.environ["IPYTHONDIR"] = str(tmp_path / "ipython")
    try:
        notebook = read(path)
        # The kernel of this interpreter, whatever the notebook or the machine calls it.
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    finally:
        os.environ.clear()
        os.environ.update(before)


@each
def test_it_was_committed_whole(path):
    assert re.match(r"\d\d-[a-z0-9-]+$", path.stem), "notebooks are numbered: 01-name.ipynb"
    assert path.stat().st_size < LARGEST, "make the pictures smaller"
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run it from top to bottom"
    assert any(cell.outputs for cell in cells), "commit it with its outputs"
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", f"something was printed on stderr: {output}"
            text = "".join(output.get("data", {}).get("text/plain", "")) + output.get("text", "")
            for word in (str(pathlib.Path.home()), sys.prefix, "/tmp/"):
                assert word not in text, f"an output names a place on this machine: {text}"


def test_numbers_are_taken_once():
    numbers = [path.stem[:2] for path in NOTEBOOKS]
    assert len(set(numbers)) == len(numbers)
