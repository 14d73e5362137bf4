"""Fusion by rank."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Real

from jrank.errors import FusionError
from jrank.fusion._space import check_option, check_weights, finish, is_concrete, ranks_of, spread
from jrank.fusion._votes import count_beaten, share_points

# Cells of a block that stays in a core's cache with what is made of it, and ranks that a table is made for.
CELLS = 1 << 15
DEEPEST = 1 << 16
# A list with more of them would take gigabytes for the pairs.
MOST_DOCUMENTS = 1 << 16

__all__ = ["borda", "condorcet", "isr", "log_isr", "logn_isr", "rbc", "rbc_term", "rrf", "rrf_term"]


def rrf(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    k: Any = 60,
    rank_base: int = 1,
    weights_in_rank: bool = False,
) -> Float[Any, "*batch docs"]:
    r"""Reciprocal rank fusion: robust, needs no scores, and the usual first choice.

    .. math:: \sum_i \frac{w_i}{k + r_i - 1 + b}

    with the rank :math:`r_i` of the document in run i and the rank base b. Systems differ in k and b and do not say so:
    see ``PRESETS``.

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run, ``[runs]``; 1 by default.
      k: how much the first ranks are levelled; larger is flatter. May be traced and differentiated.
      rank_base: what the first rank counts as, 1 or 0.
      weights_in_rank: divide ranks by the weight instead of multiplying the contribution.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or weights do not fit, or k + rank_base is not positive.

    Numerics: float64 for NumPy, the type of ``ranks`` for JAX; documents at equal ranks tie exactly in float64.
    Cost: O(runs docs).
    References: cormack2009.

    >>> import numpy as np
    >>> rrf(np.array([[1, 2, 0], [2, 1, 3]])).round(4).tolist()
    [0.0325, 0.0325, 0.0159]
    """
    if where is None and not weights_in_rank and is_concrete(k):
        fused = _by_table(ranks, weights, lambda r: rrf_term(r, k=k, rank_base=rank_base))
        if fused is not None:
            return fused
    xp, r, present = ranks_of(ranks, where, weights, k)
    w = check_weights(xp, weights, r.shape, r.dtype)
    # A missing document stands at rank infinity and contributes exactly 0.
    if weights_in_rank and w is not None:
        used = w != 0
        r = xp.where(used, r / xp.where(used, w, 1), xp.inf)
        w = None
    return finish(xp, spread(xp, rrf_term(r, k=k, rank_base=rank_base), w), present, ranks)


def rrf_term(r: Any, *, k: Any = 60, rank_base: int = 1) -> Any:
    """Return what a run of weight 1 adds to a document at rank r; 0 at rank infinity.

    Args:
      r: 1-based ranks, floats.
      k: see ``rrf``.
      rank_base: see ``rrf``.

    Raises:
      FusionError: an option is out of range.
    """
    _check_k(k, rank_base)
    return 1 / (r + (k - 1 + rank_base))


def _check_k(k: Any, rank_base: Any) -> None:
    if rank_base not in (0, 1):
        raise FusionError(f"rank_base is {rank_base!r}, expected 0 or 1", reason="invalid_config")
    check_option("k", k)
    if is_concrete(k) and not np.all(np.asarray(k) + rank_base > 0):
        raise FusionError(
            f"k is {k} with rank_base {rank_base}: the first rank would divide by {k + rank_base}",
            reason="invalid_config",
            hint=f"choose k above {-rank_base}",
        )


def _whole(ranks: Any) -> bool:
    return isinstance(ranks, np.ndarray) and ranks.dtype.kind in "iu" and ranks.ndim >= 2


def _by_table(ranks: Any, weights: Any, term: Callable[[Any], Any]) -> np.ndarray | None:
    """Fuse NumPy's integer ranks by looking up what each adds; None where the arguments are others.

    The sums are those of the general way, bit by bit: the same terms in the same order.
    """
    if not _whole(ranks) or not ranks.size or not is_concrete(weights) or np.ndim(weights) > 1:
        return None
    deepest = int(ranks.max())
    if deepest < 1 or deepest > DEEPEST:
        return None
    runs, docs = ranks.shape[-2:]
    w = check_weights(np, weights, (1, runs, docs), np.float64)
    table = np.concatenate([[0.0], term(np.arange(1, deepest + 1, dtype=np.float64))])
    # Where every rank adds something, a sum of 0 tells that no run holds the document.
    positive = w is None and bool((table[1:] > 0).all())
    flat = ranks.reshape(-1, runs, docs)
    fused = np.empty((len(flat), docs))
    step = max(1, CELLS // (runs * docs))
    for low in range(0, len(flat), step):
        part = flat[low : low + step]
        # Ranks below 1 are clipped to the entry that adds nothing.
        total = spread(np, table.take(part, mode="clip"), w)
        held = total > 0 if positive else part.max(axis=1) > 0
        fused[low : low + step] = np.where(held, total, -np.inf)
    return fused.reshape(*ranks.shape[:-2], docs)


def isr(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    k: Any = 0,
    power: Any = 2.0,
    rank_base: int = 1,
    count: bool = True,
) -> Float[Any, "*batch docs"]:
    r"""Inverse square rank: first ranks count far more than in ``rrf``, and so does agreement between runs.

    .. math:: n \sum_i \frac{w_i}{(k + r_i - 1 + b)^p}

    with the number n of runs that hold the document, and p = 2.

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default.
      k: added to ranks.
      power: p. The preset "rankops" takes 0.5, k = 1 and no count.
      rank_base: what the first rank counts as, 1 or 0.
      count: whether the sum is multiplied by n.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or weights do not fit, or k + rank_base is not positive.

    Cost: O(runs docs).
    References: mourao2013.

    >>> import numpy as np
    >>> isr(np.array([[1, 2], [2, 0]])).tolist()
    [2.5, 0.25]
    """
    _check_k(k, rank_base)
    check_option("power", power)
    xp, r, present = ranks_of(ranks, where, weights, k, power)
    w = check_weights(xp, weights, r.shape, r.dtype)
    safe = xp.where(present, r, 1)
    total = spread(xp, xp.where(present, (safe + (k - 1 + rank_base)) ** -power, 0), w)
    if count:
        total = total * xp.sum(present, axis=-2).astype(r.dtype)
    return finish(xp, total, present, ranks)


def log_isr(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""Inverse square rank with a gentler reward for agreement; 0 for every document that a single run holds.

    .. math:: \ln(n) \sum_i w_i / r_i^2

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default.

    Returns:
      Fused scores; -inf for a document that no run holds. ``logn_isr`` keeps single documents apart.

    Raises:
      FusionError: shapes or weights do not fit.

    Cost: O(runs docs).
    References: mourao2013.

    >>> import numpy as np
    >>> log_isr(np.array([[1, 2], [2, 0]])).round(4).tolist()
    [0.8664, 0.0]
    """
    return logn_isr(ranks, where=where, weights=weights, sigma=0.0)


def logn_isr(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    sigma: Any = 0.01,
) -> Float[Any, "*batch docs"]:
    r"""Inverse square rank with a gentler reward for agreement.

    .. math:: \ln(n + \sigma) \sum_i w_i / r_i^2

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default.
      sigma: what documents of a single run keep, between 0 and 1. May be traced and differentiated.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or weights do not fit, or sigma is negative.

    Cost: O(runs docs).
    References: mourao2013.

    >>> import numpy as np
    >>> logn_isr(np.array([[1, 2], [2, 0]]), sigma=1.0).round(4).tolist()
    [1.3733, 0.1733]
    """
    check_option("sigma", sigma, least=0, most=1)
    xp, r, present = ranks_of(ranks, where, weights, sigma)
    w = check_weights(xp, weights, r.shape, r.dtype)
    safe = xp.where(present, r, 1)
    total = spread(xp, xp.where(present, 1 / (safe * safe), 0), w)
    n = xp.maximum(xp.sum(present, axis=-2), 1).astype(r.dtype)
    return finish(xp, total * xp.log(n + sigma), present, ranks)


def rbc(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    phi: Any = 0.8,
) -> Float[Any, "*batch docs"]:
    r"""Rank-biased centroids: the weight of a rank is the chance that a patient reader reaches it.

    .. math:: \sum_i w_i (1 - \phi) \phi^{r_i - 1}

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default.
      phi: patience, between 0 and 1. May be traced and differentiated.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or weights do not fit, or phi is out of range.

    Cost: O(runs docs).
    References: bailey2017.

    >>> import numpy as np
    >>> rbc(np.array([[1, 2], [2, 0]]), phi=0.5).tolist()
    [0.75, 0.25]
    """
    if where is None and is_concrete(phi):
        fused = _by_table(ranks, weights, lambda r: rbc_term(r, phi=phi))
        if fused is not None:
            return fused
    xp, r, present = ranks_of(ranks, where, weights, phi)
    w = check_weights(xp, weights, r.shape, r.dtype)
    safe = xp.where(present, r, 1)
    return finish(xp, spread(xp, xp.where(present, rbc_term(safe, phi=phi), 0), w), present, ranks)


def rbc_term(r: Any, *, phi: Any = 0.8) -> Any:
    """Return what a run of weight 1 adds to a document at rank r.

    Args:
      r: 1-based ranks, finite floats.
      phi: see ``rbc``.

    Raises:
      FusionError: phi is out of range.
    """
    check_option("phi", phi, least=0, most=1, within=True)
    return (1 - phi) * phi ** (r - 1)


def borda(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    points: str = "union",
) -> Float[Any, "*batch docs"]:
    r"""Borda count: each run gives points from the number of candidates downwards.

    .. math:: \sum_i w_i (N - r_i + 1), \qquad \text{or } w_i (N - L_i + 1) / 2 \text{ where run i lacks the document}

    with the number N of documents that any run holds and the length :math:`L_i` of run i: what is left of its points is
    shared among the documents that it lacks.

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default.
      points: "union" as above; "list" gives L - r + 1 points, and none to documents that the run lacks.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or weights do not fit, or ``points`` is unknown.

    Cost: O(runs docs).
    References: aslam2001.

    >>> import numpy as np
    >>> borda(np.array([[1, 2, 0], [2, 1, 3]])).tolist()
    [5.0, 5.0, 2.0]
    """
    if where is None and weights is None and points == "union" and _whole(ranks):
        shared = share_points(ranks)
        if shared is not None:
            return shared
    xp, r, present = ranks_of(ranks, where, weights)
    w = check_weights(xp, weights, r.shape, r.dtype)
    length = xp.sum(present, axis=-1, keepdims=True).astype(r.dtype)
    safe = xp.where(present, r, 0)
    if points == "union":
        candidates = xp.any(present, axis=-2, keepdims=True)
        n = xp.sum(candidates, axis=-1, keepdims=True).astype(r.dtype)
        given = xp.where(present, n - safe + 1, (n - length + 1) / 2)
    elif points == "list":
        given = xp.where(present, length - safe + 1, 0)
    else:
        raise FusionError(f"points is {points!r}", reason="invalid_config", hint='use "union" or "list"')
    return finish(xp, spread(xp, given, w), present, ranks)


def condorcet(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""Condorcet fusion: how many documents does each beat in a vote of the runs, pair by pair?

    A run votes for the document that it ranks higher, and for one that it holds against one that it lacks. The score is
    Copeland's: one, plus one for each document beaten and a half for each draw. A cycle (a beats b, b beats c, c beats
    a) ends in equal scores, where sorting by votes would depend on the order of the input.

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      weights: votes of each run; 1 by default.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or weights do not fit, or there are more than 65536 documents.

    Cost: O(runs docs²) time, O(docs²) memory per list. Without weights NumPy takes a bit per pair, and O(docs log docs)
      for two runs.
    References: montague2002.

    >>> import numpy as np
    >>> condorcet(np.array([[1, 2, 3], [1, 3, 2], [2, 1, 3]])).tolist()
    [3.0, 2.0, 1.0]
    """
    xp, r, present = ranks_of(ranks, where, weights)
    w = check_weights(xp, weights, r.shape, r.dtype)
    candidates = xp.any(present, axis=-2)
    docs = r.shape[-1]
    if docs > MOST_DOCUMENTS:
        raise FusionError(
            f"condorcet compares every pair of {docs} documents, more than {MOST_DOCUMENTS} do not fit into memory",
            reason="invalid_config",
            hint="cut the runs, with depth= of fuse, or take borda",
        )
    if xp is np and w is None:
        return finish(xp, count_beaten(r, candidates) + 0.5, present, ranks)
    margin = 0
    for i in range(r.shape[-2]):
        mine, other = r[..., i, :, None], r[..., i, None, :]
        vote = (mine < other).astype(r.dtype) - (mine > other).astype(r.dtype)
        margin = margin + (vote if w is None else vote * w[..., i, :, None])
    rivals = candidates[..., None, :]
    # A document draws with itself: that half is taken off, and one is added.
    beaten = xp.sum(xp.where(rivals, 0.5 * (1 + xp.sign(margin)), 0), axis=-1) + 0.5
    return finish(xp, beaten, present, ranks)
