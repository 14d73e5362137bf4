"""Write tests/golden/rax.json: every public name of Rax with its arguments and defaults.

Run it where rax 0.4.0 is installed: python tests/golden/make_rax.py
"""

import importlib
import inspect
import json
import pathlib

import rax


def default_of(value):
    """Return how a default is written in the table: a constant, or the name of a function."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return {"function": value.__name__}


def arguments(fn):
    """Return name, kind and, where there is one, the default of each argument."""
    rows = []
    for parameter in inspect.signature(fn).parameters.values():
        row = {"name": parameter.name, "kind": parameter.kind.name.lower()}
        if parameter.default is not parameter.empty:
            row["default"] = default_of(parameter.default)
        rows.append(row)
    return rows


def main():
    modules = {"": rax, "utils": importlib.import_module("rax.utils"), "types": importlib.import_module("rax.types")}
    table = {"version": rax.__version__, "functions": {}, "protocols": {}}
    for place, module in modules.items():
        for name in module.__all__:
            value = getattr(module, name)
            path = f"{place}.{name}" if place else name
            if inspect.isclass(value):
                table["protocols"][path] = [row["name"] for row in arguments(value.__call__)][1:]
            else:
                table["functions"][path] = arguments(value)
    target = pathlib.Path(__file__).with_name("rax.json")
    target.write_text(json.dumps(table, indent=1) + "\n")


main()
