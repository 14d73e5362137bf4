"""Export of a late-interaction encoder, and of the scorer that goes with it."""

import jax
import jax.numpy as jnp
import numpy as np

from jrank import maxsim
from jrank.errors import ExportError
from jrank.export._jobs import PAIR_INPUTS, Job
from jrank.export._parity import function_cases, pair_cases
from jrank.models import MultiVectorEncoder
from jrank.types import Array

__all__ = ["multi_vector_job", "scorer_job"]

KIND = "multi-vector-encoder"


def multi_vector_job(model: MultiVectorEncoder) -> Job:
    """Describe the export of an encoder.

    Args:
      model: the model, with its tokenizer.

    Returns:
      The job.

    Raises:
      ExportError: there is no tokenizer.
    """
    tokenizer, config = model.tokenizer, model.config
    if tokenizer is None:
        raise ExportError(
            "the encoder has no tokenizer, and a bundle is served with one",
            reason="invalid_parameter",
            hint="make it with tokenizer=",
        )
    longest = max(model.rules.query_length, model.rules.document_length)
    struct = jax.ShapeDtypeStruct(("batch", "sequence"), np.dtype("int32"))  # type: ignore[arg-type]
    return Job(
        kind=KIND,
        function=lambda ids, mask, types: model(ids, mask, types),
        reference=model.vectors,
        inputs=dict.fromkeys(PAIR_INPUTS, struct),
        outputs=["vectors"],
        cases=pair_cases(config.vocab_size, longest, types=2 if config.type_vocab_size > 1 else 1),
        tokenizer=tokenizer,
        facts={
            "max_length": longest,
            "dimension": model.dimension,
            "rules": model.rules.to_dict(),
            "pad_id": tokenizer.pad_id,
            "vocab_size": config.vocab_size,
            "tokenizer_sha256": tokenizer.sha256,
        },
    )


def scorer_job(dimension: int) -> Job:
    """Describe the export of ``maxsim.score`` with masks.

    Args:
      dimension: the number of dimensions.

    Returns:
      The job; it is held against ``maxsim.score`` itself.
    """
    inputs = {
        "query": jax.ShapeDtypeStruct(("query_tokens", dimension), np.dtype("float32")),  # type: ignore[arg-type]
        "query_where": jax.ShapeDtypeStruct(("query_tokens",), np.dtype("bool")),  # type: ignore[arg-type]
        "docs": jax.ShapeDtypeStruct(("documents", "tokens", dimension), np.dtype("float32")),  # type: ignore[arg-type]
        "doc_where": jax.ShapeDtypeStruct(("documents", "tokens"), np.dtype("bool")),  # type: ignore[arg-type]
    }
    cases = function_cases(inputs)
    # A document without a token, a query without one, and a document of negative products only.
    cases.append({**cases[1], "doc_where": np.zeros_like(cases[1]["doc_where"])})
    cases.append({**cases[1], "query_where": np.zeros_like(cases[1]["query_where"])})
    cases.append({**cases[1], "docs": -np.abs(cases[1]["docs"]), "query": np.abs(cases[1]["query"])})

    def reference(query: Array, query_where: Array, docs: Array, doc_where: Array) -> Array:
        return maxsim.score(query, docs, query_where=query_where, doc_where=doc_where)

    return Job("function", _score, jax.jit(reference), inputs, ["scores"], cases)


def _score(query: Array, query_where: Array, docs: Array, doc_where: Array) -> Array:
    """As ``maxsim.score``, in operations that keep free sizes free: no blocks."""
    products = jnp.einsum("ntd,qd->ntq", docs, query)
    best = jnp.max(jnp.where(doc_where[:, :, None], products, -jnp.inf), axis=1)
    some = jnp.max(doc_where.astype(jnp.float32), axis=1) > 0
    counted = jnp.where(some[:, None], best, 0.0)
    return jnp.sum(jnp.where(query_where[None, :], counted, 0.0), axis=1)
