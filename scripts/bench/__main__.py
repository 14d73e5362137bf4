"""Run a benchmark: python scripts/bench NAME [options]. Without a name, say which there are."""

import pathlib
import runpy
import sys

HERE = pathlib.Path(__file__).resolve().parent


def main() -> None:
    names = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"usage: python scripts/bench {{{','.join(names)}}} [options]")
    name = sys.argv.pop(1)
    sys.argv[0] = str(HERE / f"{name}.py")
    sys.path.insert(0, str(HERE))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
