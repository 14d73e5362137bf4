"""Collections in the BEIR layout: corpus.jsonl, queries.jsonl, and judgments as tab-separated files."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jrank.data._collection import Collection
from jrank.data._splits import content_split
from jrank.errors import DataError
from jrank.files import read_lines
from jrank.runs import Qrels

__all__ = ["read_beir"]

SPLIT_NAMES = {"train": "train", "dev": "validation", "valid": "validation", "validation": "validation", "test": "test"}
SHARES = {"test": 0.4, "validation": 0.1}


def read_beir(directory: str | os.PathLike, *, shares: Mapping[str, float] | None = None) -> Collection:
    """Read a collection in the BEIR layout.

    ``corpus.jsonl`` holds ``{"_id", "title", "text"}`` per line, ``queries.jsonl`` ``{"_id", "text"}``; judgments are
    in ``qrels.tsv`` or in ``qrels/train.tsv``, ``qrels/dev.tsv``, ``qrels/test.tsv``. Each may end in ``.gz``. A
    document is its title, a space, and its text.

    Args:
      directory: where the files are.
      shares: which share of the judged queries each split gets, where there is only one file of judgments; what is left
        over is "train". None is ``{"test": 0.4, "validation": 0.1}``, and ``{"test": 1.0}`` tests with all.

    Returns:
      The collection. With several files of judgments each is a split. With one, the split of a query depends on the
      hash of its text alone, so equal queries are never in two. Queries without judgments are in no split; ``notes``
      counts judgments of documents or queries that are not there, which are left out.

    Raises:
      DataError: a file is missing, a line is not what was expected (the message names file and line), an id comes
        twice, or not one judgment fits the documents and queries.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise DataError(f"there is no directory {directory}", reason="not_found", hint="check the path")
    doc_ids, documents = _read_texts(_find(directory, "corpus.jsonl"), with_title=True)
    query_ids, queries = _read_texts(_find(directory, "queries.jsonl"), with_title=False)
    texts, known = dict(zip(query_ids, queries, strict=True)), set(doc_ids)
    judged: dict[str, dict[str, float]] = {}
    splits: dict[str, list[str]] = {}
    unknown = 0
    files = _judgments(directory)
    for split, path in files:
        for query, grades in Qrels.read(path, format="tsv").to_dict().items():
            kept = {document: grade for document, grade in grades.items() if document in known and query in texts}
            unknown += len(grades) - len(kept)
            if not kept:
                continue
            if query in judged:
                raise DataError(
                    f"{path}: the query {query!r} is judged in two files",
                    reason="duplicate",
                    hint="keep it in one split",
                )
            judged[query] = kept
            name = content_split(texts[query], SHARES if shares is None else shares) if len(files) == 1 else split
            splits.setdefault(name, []).append(query)
    if not judged:
        raise DataError(
            f"{files[0][1]}: no judgment names a document of the corpus and a query",
            reason="invalid_value",
            hint="compare the ids of the three files",
        )
    order = [name for name in ("train", "validation", "test") if name in splits]
    return Collection(
        name=directory.name,
        doc_ids=doc_ids,
        documents=documents,
        query_ids=query_ids,
        queries=queries,
        qrels=Qrels(judged),
        splits={name: splits[name] for name in order + [name for name in splits if name not in order]},
        notes={"judgments left out": unknown, "queries without judgments": len(queries) - len(judged)},
    )


def _find(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.exists():
            return path
    raise DataError(
        f"there is no file {directory / name}", reason="not_found", hint="a collection in the BEIR layout was expected"
    )


def _judgments(directory: Path) -> list[tuple[str, Path]]:
    folder = directory / "qrels"
    if not folder.is_dir():
        return [("test", _find(directory, "qrels.tsv"))]
    paths = sorted(path for path in folder.iterdir() if path.name.endswith((".tsv", ".tsv.gz")))
    if not paths:
        raise DataError(f"there is no .tsv file in {folder}", reason="not_found", hint="expected qrels/test.tsv")
    named = [path.name.split(".")[0] for path in paths]
    return [(SPLIT_NAMES.get(name, name), path) for name, path in zip(named, paths, strict=True)]


def _read_texts(path: Path, *, with_title: bool) -> tuple[list[str], list[str]]:
    texts: dict[str, str] = {}
    for number, line in read_lines(path):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{place}: not JSON: {error}", reason="malformed") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected an object with _id and text", reason="malformed")
        name = row.get("_id")
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not name:
            raise DataError(f"{place}: _id must be a string, got {name!r}", reason="invalid_value")
        text = _text(row, "text", place)
        if with_title and row.get("title"):
            text = f"{_text(row, 'title', place)} {text}".strip()
        if name in texts:
            raise DataError(f"{place}: the id {name!r} comes twice", reason="duplicate")
        texts[name] = text
    if not texts:
        raise DataError(f"{path} is empty", reason="empty", hint="expected one JSON object per line")
    return list(texts), list(texts.values())


def _text(row: dict[str, Any], key: str, place: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise DataError(f"{place}: {key} must be a string, got {type(value).__name__}", reason="invalid_value")
    return value
