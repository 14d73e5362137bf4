"""Load an index without knowing which one it is."""

import os
from collections.abc import Callable
from typing import Any

from jrank.errors import RetrieveError
from jrank.retrieval._ann import ANNIndex
from jrank.retrieval._bm25 import BM25Index
from jrank.retrieval._dense import DenseIndex
from jrank.retrieval._likelihood import QueryLikelihoodIndex
from jrank.retrieval._multi_vector import MultiVectorIndex
from jrank.retrieval._sparse import SparseIndex
from jrank.retrieval._store import read_kind
from jrank.retrieval._tfidf import TfidfIndex

__all__ = ["KINDS", "load_index"]

# What the manifest says -> the class. A new index is one file and one line.
KINDS: dict[str, Callable[..., Any]] = {
    index.kind: index
    for index in (BM25Index, TfidfIndex, QueryLikelihoodIndex, SparseIndex, DenseIndex, MultiVectorIndex, ANNIndex)
}


def load_index(path: str | os.PathLike, **options: Any) -> Any:
    """Read an index that any of the classes here saved.

    Args:
      path: the directory.
      **options: those of the ``load`` of its class, such as ``analyzer=`` for texts.

    Returns:
      An index of the class that saved it.

    Raises:
      RetrieveError: there is no index, it is damaged, or its kind is unknown. Nothing is unpickled.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     BM25Index.build(["red fox", "brown dog"]).save(f"{folder}/index")
    ...     load_index(f"{folder}/index")
    BM25Index(2 documents, 4 terms)
    """
    kind = read_kind(path)
    if kind not in KINDS:
        raise RetrieveError(
            f"{os.fspath(path)} holds an index of the unknown kind {kind!r}",
            reason="invalid_index_file",
            hint=f"known are {', '.join(KINDS)}",
        )
    return KINDS[kind].load(path, **options)  # type: ignore[attr-defined]
