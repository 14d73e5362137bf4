"""The embedded corpus: the documentation strings of the Python standard library, read from its sources."""

import ast
import functools
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from jrank.data._collection import Collection
from jrank.data._pydocs_modules import MODULES
from jrank.data._splits import content_split, join_groups, near_duplicates
from jrank.errors import DataError
from jrank.runs import Qrels

__all__ = ["load_pydocs"]

QUERY_WORDS = 5, 60
ANSWER_WORDS = 10
DOCUMENT_WORDS = 12
SAME_QUERY, SAME_ANSWER = 0.75, 0.7

_WORD = re.compile(r"\w\w+")
_PARAGRAPH = re.compile(r"\n\s*\n")


def load_pydocs() -> Collection:
    """Return a collection made of the documentation strings of the Python standard library.

    Every Python has it, so real text is there without a download. The sources are parsed, not imported. Where the
    first paragraph of a string has 5 to 60 words and the rest at least 10, the first paragraph is a query, and the name
    of the object with the rest is the document that answers it. Other strings of at least 12 words are documents that
    answer nothing. Of equal queries, and of equal documents, only the first is kept.

    Returns:
      About 2,200 queries with one relevant document each, among about 4,000 documents, in three splits: 13.5 % of the
      queries are for testing, 10 % for validation, the others for training. The split depends on the text alone, and
      queries whose words, or whose answers' words, are nearly the same (Jaccard index above 0.75 and 0.7; inherited and
      copied strings) are in one split. ``notes`` tells how many modules were read and how many this Python lacks. Other
      versions of Python give slightly other collections.

    Raises:
      DataError: this Python comes without the sources of its library.

    Cost: about three seconds the first time in a process; later calls return the same object.

    >>> collection = load_pydocs()
    >>> name = "json.dumps"
    >>> collection.documents[list(collection.doc_ids).index(name)][:22]
    'json.dumps: If ``skipk'
    """
    return _load(sysconfig.get_path("stdlib"))


@functools.lru_cache(maxsize=1)
def _load(library: str) -> Collection:
    objects, missing = [], 0
    for module in MODULES:
        found = _read(Path(library), module)
        missing += found is None
        objects += found or []
    if not objects:
        raise DataError(
            f"there are no sources of the standard library in {library}",
            reason="not_found",
            hint="use a Python that was installed with its .py files",
        )
    seen: set[str] = set()
    names, documents, pairs = [], [], []
    for name, text in objects:
        first, rest = _parts(text)
        keys = [f"query {_plain(first)}", f"answer {_plain(rest)}"] if first else [f"answer {_plain(rest)}"]
        if len(_WORD.findall(rest)) < (ANSWER_WORDS if first else DOCUMENT_WORDS) or name in seen:
            continue
        if not seen.isdisjoint(keys):
            continue
        seen.update(keys, [name])
        if first:
            pairs.append((name, first, rest))
        names.append(name)
        documents.append(f"{name}: {rest}")
    query_ids = [f"{name}?" for name, _, _ in pairs]
    return Collection(
        name="pydocs",
        doc_ids=names,
        documents=documents,
        query_ids=query_ids,
        queries=[first for _, first, _ in pairs],
        qrels=Qrels({query: {name: 1} for query, (name, _, _) in zip(query_ids, pairs, strict=True)}),
        splits=_split(query_ids, pairs),
        notes={
            "python": platform.python_version(),
            "modules read": len(MODULES) - missing,
            "modules missing": missing,
            "documented objects": len(objects),
        },
    )


def _read(library: Path, module: str) -> list[tuple[str, str]] | None:
    """Return name and documentation of everything in a module, or None where there is no such module."""
    place = library.joinpath(*module.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        try:
            source = path.read_bytes()
        except OSError:
            continue
        with warnings.catch_warnings():
            # Some of its strings hold escapes that newer Pythons warn of.
            warnings.simplefilter("ignore")
            try:
                return list(_documented(ast.parse(source), module))
            except (SyntaxError, ValueError):
                return None
    return None


def _documented(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node)  # type: ignore[arg-type]
    if text:
        yield name, text
    for child in node.body:  # type: ignore[attr-defined]
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _documented(child, f"{name}.{child.name}")


def _parts(text: str) -> tuple[str, str]:
    """Return first paragraph and rest; the first is empty where the string makes no query."""
    first, *rest = _PARAGRAPH.split(text.strip(), maxsplit=1)
    answered = bool(rest) and len(_WORD.findall(rest[0])) >= ANSWER_WORDS
    if answered and QUERY_WORDS[0] <= len(_WORD.findall(first)) <= QUERY_WORDS[1]:
        return " ".join(first.split()), " ".join(rest[0].split())
    return "", " ".join(text.split())


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _split(query_ids: list[str], pairs: list[tuple[str, str, str]]) -> dict[str, list[str]]:
    same = near_duplicates([set(_plain(first).split()) for _, first, _ in pairs], SAME_QUERY)
    same += near_duplicates([set(_plain(rest).split()) for _, _, rest in pairs], SAME_ANSWER)
    groups = join_groups(len(pairs), same)
    splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for query, group in zip(query_ids, groups, strict=True):
        splits[content_split(pairs[group][1])].append(query)
    return splits
