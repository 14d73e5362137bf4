"""Fixed-dimensional encodings: one vector for all tokens; inner products approximate late-interaction scores."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, neutralise
from jrank.errors import RerankError
from jrank.maxsim._inputs import common_type, mask
from jrank.maxsim._pack import PackedDocs, on_host
from jrank.types import Array, ArrayLike

__all__ = ["FixedEncoder", "fde"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FixedEncoder:
    """Encodes sets of tokens as single vectors; made by ``fde``, a pytree of arrays.

    Attributes:
      planes: normals of the planes that cut space into buckets, ``[repetitions, bits, d]``.
      projections: what shortens tokens, ``[repetitions, d, projection]``, or None.
    """

    planes: Any
    projections: Any

    @property
    def dimensions(self) -> int:
        """How many dimensions an encoding has."""
        repetitions, bits, d = self.planes.shape
        return repetitions * 2**bits * (d if self.projections is None else self.projections.shape[-1])

    def queries(
        self, tokens: Real[ArrayLike, "*batch q d"], where: Shaped[ArrayLike, "..."] | None = None
    ) -> Float[Array, "*batch f"]:
        """Encode queries: in each bucket the sum of the tokens.

        Args:
          tokens: token embeddings.
          where: which tokens count, ``[*batch, q]``. None is all.

        Returns:
          The encodings; 0 for an empty query.

        Raises:
          RerankError: the shapes do not fit.
        """
        tokens, where = self._checked(tokens, where)
        fn = lambda tokens, where: self._encode(tokens, where, document=False)  # noqa: E731 - mapped below
        for _ in range(tokens.ndim - 2):
            fn = jax.vmap(fn)
        return fn(tokens, where)

    def documents(
        self, tokens: Real[ArrayLike, "*batch t d"], where: Shaped[ArrayLike, "..."] | None = None
    ) -> Float[Array, "*batch f"]:
        """Encode documents: in each bucket the mean of the tokens, in an empty one the token nearest to the bucket.

        Args:
          tokens: token embeddings.
          where: which tokens are real, ``[*batch, t]``. None is all.

        Returns:
          The encodings; 0 for an empty document.

        Raises:
          RerankError: the shapes do not fit.
        """
        tokens, where = self._checked(tokens, where)
        fn = lambda tokens, where: self._encode(tokens, where, document=True)  # noqa: E731 - mapped below
        for _ in range(tokens.ndim - 2):
            fn = jax.vmap(fn)
        return fn(tokens, where)

    def packed(self, packed: PackedDocs, *, block: int = 64) -> Float[Array, "n f"]:
        """Encode packed documents, some at a time.

        Args:
          packed: the documents.
          block: how many at a time.

        Returns:
          The encodings; 0 for an empty document.

        Raises:
          RerankError: the dimensions differ.
        """
        packed = on_host(packed)
        lengths = packed.lengths
        result = np.zeros((len(packed), self.dimensions), np.float32)
        order = np.argsort(lengths, kind="stable")[np.sum(lengths == 0) :]  # like lengths share a shape
        for start in range(0, len(order), block):
            places = order[start : start + block]
            width = 1 << (int(lengths[places].max()) - 1).bit_length()
            tokens = np.zeros((block, width, packed.dimensions), np.float32)
            where = np.arange(width) < np.pad(lengths[places], (0, block - len(places)))[:, None]
            for row, place in enumerate(places):
                tokens[row, : lengths[place]] = packed[int(place)]
            result[places] = np.asarray(_documents(self, tokens, where))[: len(places)]
        return jnp.asarray(result)

    def _checked(self, tokens: Any, where: Any) -> tuple[Array, Array]:
        tokens = as_floating(tokens, "tokens")
        if tokens.ndim < 2 or tokens.shape[-1] != self.planes.shape[-1]:
            raise RerankError(
                f"tokens have shape {tokens.shape}, expected [..., tokens, {self.planes.shape[-1]}]",
                reason="dimension_mismatch",
            )
        tokens = tokens.astype(common_type(tokens.dtype, jnp.float32))
        found = mask(where, tokens.shape[:-1], "where")
        found = jnp.ones(tokens.shape[:-1], bool) if found is None else found
        return neutralise(tokens, found[..., None]), found

    def _encode(self, tokens: Array, where: Array, *, document: bool) -> Array:
        planes = jnp.asarray(self.planes).astype(tokens.dtype)
        repetitions, bits, _ = planes.shape
        buckets = 2**bits
        if not tokens.shape[0]:
            return jnp.zeros(self.dimensions, tokens.dtype)
        positive = jnp.einsum("td,rkd->rtk", tokens, planes) > 0
        weight = jnp.asarray(1 << np.arange(bits), jnp.int32)[None, None]
        bucket = jnp.sum(jnp.where(positive, weight, jnp.zeros_like(weight)), axis=-1, dtype=jnp.int32)
        if self.projections is None:
            short = jnp.broadcast_to(tokens, (repetitions, *tokens.shape))
        else:
            short = jnp.einsum("td,rdp->rtp", tokens, jnp.asarray(self.projections).astype(tokens.dtype))
        inside = (bucket[:, None, :] == lax.broadcasted_iota(jnp.int32, (1, buckets, 1), 1)) & where[None, None]
        one_hot = inside.astype(tokens.dtype)
        sums = jnp.einsum("rbt,rtp->rbp", one_hot, short)
        if document:
            counts = jnp.sum(one_hot, axis=-1)[..., None]
            means = sums / jnp.maximum(counts, 1)
            # How many of its bits a token shares with a bucket; the first of the best fills an empty one.
            signs = jnp.where(positive, 1, -1).astype(jnp.int32)
            number = lax.broadcasted_iota(jnp.int32, (buckets, bits), 0)
            wanted = jnp.where((number >> lax.broadcasted_iota(jnp.int32, (buckets, bits), 1)) & 1 > 0, 1, -1)
            shared = jnp.einsum("bk,rtk->rbt", wanted.astype(jnp.int32), signs)
            nearest = jnp.argmax(jnp.where(where[None, None], shared, -bits - 1), axis=-1)
            filler = jnp.take_along_axis(short, nearest[..., None], axis=1, mode="promise_in_bounds")
            sums = jnp.where(counts > 0, means, filler)
        return jnp.where(jnp.any(where), sums, jnp.zeros_like(sums)).reshape(-1)


@jax.jit
def _documents(encoder: FixedEncoder, tokens: Array, where: Array) -> Array:
    return encoder.documents(tokens, where)


def fde(
    dimensions: int, *, bits: int = 5, repetitions: int = 20, projection: int | None = 16, seed: int = 0
) -> FixedEncoder:
    r"""Make an encoder of token sets whose inner products approximate late-interaction scores.

    Space is cut into :math:`2^{bits}` buckets by random planes. A query is encoded by the sum of its tokens in each
    bucket, a document by their mean, after a random projection, and all is repeated. Inner products of encodings,
    divided by the number of repetitions, approximate ``score``: good enough to choose candidates by an ordinary search,
    which ``score`` then ranks.

    Args:
      dimensions: how many dimensions a token has.
      bits: how many planes; 0 is one bucket.
      repetitions: how often, with other planes.
      projection: how many dimensions a token has in a bucket; None leaves tokens as they are.
      seed: of planes and projections; queries and documents need the same.

    Returns:
      The encoder. Encodings have ``repetitions * 2 ** bits * projection`` dimensions.

    Raises:
      RerankError: a number is too small.

    Numerics: exact, up to the projection, where every bucket holds at most one token of the document and each query
    token lies in the bucket of its best match. Differentiable by the tokens between changes of bucket.

    Cost: to encode t tokens :math:`O(r t (2^b p + d (b + p)))`.

    References: Dhulipala et al., MUVERA: multi-vector retrieval via fixed dimensional encodings, NeurIPS 2024.

    >>> encoder = fde(4, bits=1, repetitions=2, projection=None)
    >>> encoder.dimensions, encoder.queries(jnp.ones((3, 4))).shape
    (16, (16,))
    """
    if dimensions < 1 or not 0 <= bits <= 16 or repetitions < 1 or (projection is not None and projection < 1):
        raise RerankError(
            f"dimensions {dimensions}, bits {bits}, repetitions {repetitions}, projection {projection}: expected bits "
            "from 0 to 16 and the others at least 1",
            reason="invalid_parameter",
        )
    rng = np.random.default_rng(seed)
    planes = rng.normal(size=(repetitions, bits, dimensions)).astype(np.float32)
    signs = None
    if projection is not None:
        signs = rng.choice([-1.0, 1.0], size=(repetitions, dimensions, projection)) / np.sqrt(projection)
    return FixedEncoder(jnp.asarray(planes), None if signs is None else jnp.asarray(signs, jnp.float32))
