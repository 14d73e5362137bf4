"""The house: who may import whom, where files stand, and how large they get."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "jrank"

# A room imports only what stands above it (docs/architecture.md).
ROOMS = [
    "errors",
    "types",
    "files",
    "arrays",
    "sharding",
    "soft",
    "metrics",
    "losses",
    "transforms",
    "utils",
    "maxsim",
    "stats",
    "runs",
    "text",
    "data",
    "evaluation",
    "fusion",
    "retrieval",
    "models",
    "training",
    "export",
    "serving",
    "plot",
    "cli",
]

# Rooms of one family share private files: the machinery of lists, and that of judged runs.
FAMILIES = ({"metrics", "losses", "transforms"}, {"runs", "evaluation", "fusion"})

# Rooms that work where jax is not installed, and the rooms that they may use.
WITHOUT_JAX = {
    "errors": set(),
    "files": {"errors"},
    "runs": {"errors", "files"},
    "text": {"errors", "files", "runs"},
    "data": {"errors", "files", "runs", "text"},
    "serving": {"errors", "files", "runs", "text"},
}

# Imported inside functions alone: they are extras, or heavy.
ON_USE = {"jax2onnx", "onnx", "matplotlib", "starlette", "uvicorn", "orbax", "huggingface_hub", "Stemmer", "pyarrow"}
JAX_FAMILY = {"jax", "jaxlib", "flax", "optax", "jaxtyping", "orbax"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path, *, top_level=False):
    """Yield (line, dotted module) for every import; with top_level only those that run when the module is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    def runs_later(node):
        if isinstance(node, ast.If):
            return "TYPE_CHECKING" in ast.dump(node.test)
        return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield child.lineno, alias.name
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                yield child.lineno, child.module
                if child.module == "jrank":
                    for alias in child.names:
                        yield child.lineno, f"jrank.{alias.name}"
            elif not (top_level and runs_later(child)):
                yield from walk(child)

    return list(walk(tree))


def test_every_room_is_in_the_list():
    assert {room_of(path) for path in FILES} - {"__init__", "__main__"} <= set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_up_the_list(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    for line, module in imports(path):
        parts = module.split(".")
        if parts[0] != "jrank" or len(parts) == 1:
            continue
        target = parts[1]
        if target == "__version__":
            continue
        assert ROOMS.index(target) <= ROOMS.index(room), (
            f"{path}:{line}: {room} imports {target}, which stands below it"
        )
        kin = any({room, target} <= family for family in FAMILIES)
        if target != room and not kin and len(parts) > 2 and parts[2].startswith("_"):
            pytest.fail(f"{path}:{line}: imports the private {module} of another room; import it from jrank.{target}")


@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room).is_dir()])
def test_files_of_a_room_do_not_import_in_circles(room):
    graph = {}
    for path in (PACKAGE / room).rglob("*.py"):
        name = ".".join(("jrank", *path.relative_to(PACKAGE).with_suffix("").parts))
        graph[name] = {module for _, module in imports(path, top_level=True) if module.startswith(f"jrank.{room}._")}

    def visit(name, above):
        assert name not in above, f"a circle: {' -> '.join([*above, name])}"
        for target in graph.get(name, ()):
            visit(target, [*above, name])

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("room", sorted(WITHOUT_JAX))
def test_rooms_without_jax_do_not_reach_it(room):
    files = [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else sorted((PACKAGE / room).rglob("*.py"))
    for path in files:
        for line, module in imports(path):
            parts = module.split(".")
            assert parts[0] not in JAX_FAMILY, f"{path}:{line}: {room} works without jax, so it cannot import {module}"
            if parts[0] == "jrank" and len(parts) > 1 and parts[1] != room and parts[1] != "__version__":
                assert parts[1] in WITHOUT_JAX[room], f"{path}:{line}: {room} may not use {parts[1]}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_optional_packages_are_imported_where_they_are_used(path):
    for line, module in imports(path, top_level=True):
        assert module.split(".")[0] not in ON_USE, f"{path}:{line}: import {module} inside the function that uses it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_readable(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 500, f"{path.relative_to(PACKAGE)} has {lines} lines: which two ideas does it hold?"


def test_implementation_files_are_private():
    for path in FILES:
        parts = path.relative_to(PACKAGE).parts
        if len(parts) > 1:
            assert parts[-1].startswith("_"), f"{path}: files inside a package start with an underscore"


def test_no_machine_is_named():
    """No absolute path of somebody's machine and no address of a registry stands in the project."""
    # Put together here, so that this file does not hold what it looks for.
    forbidden = ["/" + "home/", "/" + "Users/", "index" + "-url", "find" + "-links", "pypi" + ".org", "/" + "root/"]
    root = PACKAGE.parent
    kinds = {".py", ".md", ".toml", ".txt", ".sh", ".cff", ".json", ".pyi", ""}
    tops = [top for top in root.iterdir() if top.name not in {".git", ".venv", ".cache", "dist"}]
    for path in (path for top in tops for path in (top.rglob("*") if top.is_dir() else [top])):
        if path.suffix not in kinds or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        for word in forbidden:
            assert word not in text, f"{path.relative_to(root)} holds {word!r}"
