"""A retrieval collection: documents, queries, judgments, and which queries are for training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jrank.errors import DataError
from jrank.runs import Qrels

__all__ = ["Collection"]


@dataclass(frozen=True, eq=False)
class Collection:
    """Documents, queries, and which document answers which query.

    Attributes:
      name: a short name.
      doc_ids: one id per document.
      documents: the texts.
      query_ids: one id per query.
      queries: the texts.
      qrels: the judgments.
      splits: ids of the queries for "train", "validation" and "test"; no query is in two of them.
      notes: what is worth knowing about how it was made, such as how many files were left out.

    Raises:
      DataError: ids and texts differ in number, an id comes twice, or a split names an unknown query.

    >>> collection = Collection("tiny", ["d1"], ["a text"], ["q1"], ["a question"], Qrels({"q1": {"d1": 1}}))
    >>> collection
    Collection('tiny', 1 document, 1 query, splits: test 1)
    """

    name: str
    doc_ids: Sequence[str]
    documents: Sequence[str]
    query_ids: Sequence[str]
    queries: Sequence[str]
    qrels: Qrels
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self):
        for what, ids, texts in (("document", self.doc_ids, self.documents), ("query", self.query_ids, self.queries)):
            if len(ids) != len(texts):
                raise DataError(f"{len(ids)} {what} ids for {len(texts)} texts", reason="malformed")
            if len(set(ids)) != len(ids):
                raise DataError(f"a {what} id comes twice", reason="duplicate")
        if not self.splits:
            object.__setattr__(self, "splits", {"test": list(self.query_ids)})
        known, seen = set(self.query_ids), set()
        for split, ids in self.splits.items():
            for query in ids:
                if query not in known:
                    raise DataError(f"the split {split!r} names the unknown query {query!r}", reason="invalid_value")
                if query in seen:
                    raise DataError(f"the query {query!r} is in two splits", reason="duplicate")
                seen.add(query)

    def __repr__(self) -> str:
        def counted(count: int, one: str, many: str) -> str:
            return f"{count} {one if count == 1 else many}"

        parts = [repr(self.name), counted(len(self.documents), "document", "documents")]
        parts.append(counted(len(self.queries), "query", "queries"))
        parts.append("splits: " + " ".join(f"{split} {len(ids)}" for split, ids in self.splits.items()))
        return f"Collection({', '.join(parts)})"

    def queries_of(self, query_ids: Iterable[str]) -> list[str]:
        """Return the texts of some queries.

        Args:
          query_ids: their ids, such as ``splits["test"]``.

        Raises:
          DataError: an id is unknown.
        """
        texts = dict(zip(self.query_ids, self.queries, strict=True))
        return [_find(texts, query) for query in query_ids]

    def qrels_of(self, query_ids: Iterable[str]) -> Qrels:
        """Return the judgments of some queries; queries without judgments are left out.

        Args:
          query_ids: their ids, such as ``splits["test"]``.

        Raises:
          DataError: an id is unknown.
        """
        known, judged = set(self.query_ids), self.qrels.to_dict()
        wanted = [_find(dict.fromkeys([query], query) if query in known else {}, query) for query in query_ids]
        return Qrels({query: judged[query] for query in wanted if query in judged})


def _find(texts: Mapping[str, str], query: str) -> str:
    if query not in texts:
        raise DataError(f"there is no query {query!r}", reason="not_found", hint="see .query_ids")
    return texts[query]
