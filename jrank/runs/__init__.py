"""Runs and relevance judgments: what retrieval produces and evaluation consumes. NumPy only.

A ``Run`` holds scored documents per query, ``Qrels`` the judged ones; both are mappings of mappings, read and write the
TREC, BEIR and JSON formats, and keep flat arrays inside, so that fusing and evaluating never touch a string twice.

>>> from jrank.runs import Qrels, Run
>>> run = Run({"q1": {"d1": 1.5, "d2": 2.5}, "q2": {"d3": 0.5}}, name="bm25")
>>> run["q1"]
{'d2': 2.5, 'd1': 1.5}
>>> qrels = Qrels({"q1": {"d1": 1}})
>>> run, qrels
(Run('bm25', 2 queries, 3 documents), Qrels(1 query, 1 judgment))

Files are written whole or not at all, and mistakes in them are reported with their line:

>>> import pathlib, tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = pathlib.Path(folder) / "bm25.trec.gz"
...     run.write(path)
...     again = Run.read(path)
>>> again == run, again.name
(True, 'bm25')
"""

from jrank.runs._groups import GroupedQrels
from jrank.runs._hits import Hits
from jrank.runs._preferences import Preferences
from jrank.runs._qrels import Qrels
from jrank.runs._run import Run
from jrank.runs._table import Interned
from jrank.runs._vocabulary import Vocabulary

__all__ = ["GroupedQrels", "Hits", "Interned", "Preferences", "Qrels", "Run", "Vocabulary"]
