r"""Data: collections for retrieval, feature files for learning to rank, and batches. NumPy only.

``load_pydocs`` is a collection that every machine has, made of the documentation of Python itself; ``read_beir`` reads
one from files, ``read_letor`` reads features and labels:

>>> from jrank import data
>>> import pathlib, tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = pathlib.Path(folder) / "train.txt"
...     _ = path.write_text("2 qid:1 1:0.5 2:1\n0 qid:1 2:0.25\n1 qid:2 1:1\n")
...     lists = data.read_letor(path)
>>> lists
RankingData(2 queries, 3 items, 2 features)
>>> features, labels, where = lists.padded()
>>> labels.tolist(), where.tolist()
([[2.0, 0.0], [1.0, 0.0]], [[True, True], [True, False]])

Texts of many lengths are cheapest in batches of similar length:

>>> [batch.tolist() for batch in data.batches_by_length([9, 2, 8, 3], max_tokens=18)]
[[0, 2], [3, 1]]
"""

from jrank.data._batches import batches, batches_by_length, bucket_length, pad_rows
from jrank.data._beir import read_beir
from jrank.data._collection import Collection
from jrank.data._letor import RankingData, read_letor
from jrank.data._pydocs import load_pydocs

__all__ = [
    "Collection",
    "RankingData",
    "batches",
    "batches_by_length",
    "bucket_length",
    "load_pydocs",
    "pad_rows",
    "read_beir",
    "read_letor",
]
