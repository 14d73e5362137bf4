"""Serving what was exported: ONNX Runtime and tokenizers, no jax.

>>> import jrank.serving
>>> print(*jrank.serving.__all__)
CrossEncoder Limits MultiVectorEncoder RerankHit create_app serve

``CrossEncoder.from_file(bundle)`` loads a directory that ``export.to_onnx`` wrote::

    ranker = jrank.serving.CrossEncoder.from_file("bundle/")
    ranker.score("what is jax?", "JAX is a library for array computing.")
    for hit in ranker.rank("what is jax?", documents, top_k=3):
        print(hit.score, hit.document)

``create_app`` puts a ranker behind HTTP (extra ``http``), and ``jrank serve bundle/`` runs it.

Nothing here imports jax: ``pip install --no-deps jrank`` with the packages of ``constraints-serving.txt`` is enough.
"""

from jrank.serving._cross_encoder import CrossEncoder
from jrank.serving._hits import RerankHit
from jrank.serving._http import create_app
from jrank.serving._multi_vector import MultiVectorEncoder
from jrank.serving._requests import Limits
from jrank.serving._run import serve

__all__ = ["CrossEncoder", "Limits", "MultiVectorEncoder", "RerankHit", "create_app", "serve"]
