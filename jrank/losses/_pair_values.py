"""The losses of one pair, and their sums over the pairs of a list in whichever form is cheapest."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from jrank.arrays import as_floating, reduce_values
from jrank.errors import LearnError
from jrank.losses._elementary import logistic_parts
from jrank.losses._lambda_form import dense_weights, pair_form, pair_mask
from jrank.losses._pair_rows import row_sums
from jrank.losses._pair_sampled import sampled_sums
from jrank.losses._pair_sorted import SortedSums, sorted_hinge, sorted_quantile
from jrank.losses._pairs import PairLoss, count_pairs, finite_scores, pair_sums, without_bound
from jrank.metrics._lists import Fn, Lists, finish, prepare
from jrank.types import Array

__all__ = [
    "HINGE",
    "LOGISTIC",
    "MSE",
    "SOFT_ZERO_ONE",
    "Method",
    "Normalize",
    "check_method",
    "pair_totals",
    "pairwise_value",
    "quantile",
]

Method = Literal["auto", "blocked", "dense", "sorted", "sampled"]
METHODS = ("auto", "blocked", "dense", "sorted", "sampled")
Normalize = Literal["pairs", "list"]


# The losses of a pair: value and slope at the difference x of the scores. Module-level, so that they are compiled once.
def _hinge(x: Array, dy: Array) -> tuple[Array, Array]:
    active = x < 1
    return jnp.where(active, 1 - x, jnp.zeros_like(x)), -active.astype(x.dtype)


def _logistic(x: Array, dy: Array) -> tuple[Array, Array]:
    return logistic_parts(x)


def _soft_zero_one(x: Array, dy: Array) -> tuple[Array, Array]:
    p = jax.nn.sigmoid(-x)
    return p, -p * jax.nn.sigmoid(x)


def _mse(x: Array, dy: Array) -> tuple[Array, Array]:
    return jnp.square(x - dy), 2 * (x - dy)


def _qr(tau: float, squared: bool, x: Array, dy: Array) -> tuple[Array, Array]:
    u = x - dy
    low, high = u < 0, u > 0
    slope = jnp.where(low, jnp.full_like(u, -tau), jnp.where(high, jnp.full_like(u, 1 - tau), jnp.zeros_like(u)))
    return (slope * u * jnp.abs(u), 2 * slope * jnp.abs(u)) if squared else (slope * u, slope)


HINGE = PairLoss(_hinge)
LOGISTIC = PairLoss(_logistic)
SOFT_ZERO_ONE = PairLoss(_soft_zero_one)
MSE = PairLoss(_mse, "symmetric")


QUANTILES: dict[PairLoss, SortedSums] = {}


@functools.cache
def quantile(tau: float, squared: bool) -> PairLoss:
    loss = PairLoss(functools.partial(_qr, tau, squared))
    if not squared:
        QUANTILES[loss] = sorted_quantile(tau)
    return loss


def _options(normalize: str, method: str) -> None:
    if normalize not in ("pairs", "list"):
        raise LearnError(f"normalize is {normalize!r}, 'pairs' or 'list' was expected", reason="invalid_parameter")
    check_method(method)


def check_method(method: str) -> None:
    """Refuse an unknown method.

    Args:
      method: what the user said.
    """
    if method not in METHODS:
        raise LearnError(f"method is {method!r}, one of {METHODS} was expected", reason="invalid_parameter")


def _matrix(loss: Any, s: Array, y: Array, w: Array | None, lists: Lists, lam: Array | None) -> tuple[Array, Array]:
    """The loss of every pair and which pairs count, ``[..., n, n]``."""
    counts = pair_mask(lists)
    counts = jnp.ones((*s.shape, s.shape[-1]), bool) if counts is None else counts
    dy = y[..., :, None] - y[..., None, :]
    unseen = s == -jnp.inf
    s = finite_scores(s)
    x = s[..., :, None] - s[..., None, :]
    if isinstance(loss, PairLoss):
        if loss.ordered:
            counts &= dy > 0
        elif loss.pairs == "all":
            counts &= jnp.broadcast_to(~jnp.eye(s.shape[-1], dtype=bool), counts.shape)
        values = loss.parts(jnp.where(counts, x, jnp.zeros_like(x)), dy)[0]
    else:
        values, valid = loss(jnp.where(counts, x, jnp.zeros_like(x)), dy)
        counts &= valid
    if w is not None:
        values = values * w[..., :, None]
    if lam is not None:
        values = values * lam
    values = jnp.where(counts, values, jnp.zeros_like(values))
    return without_bound(values, unseen[..., :, None] | unseen[..., None, :]), counts


def pairwise_value(
    loss: Any,
    scores: Any,
    labels: Any,
    where: Any,
    segments: Any,
    weights: Any,
    lambdaweight_fn: Fn | None,
    reduce_fn: Fn | None,
    normalize: str,
    method: str,
    pairs: bool,
    key: Array | None = None,
    num_pairs: int = 4096,
) -> Array:
    _options(normalize, method)
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    by_pairs = pairs or (normalize == "pairs" and reduce_fn not in (None, jnp.mean, jnp.sum))
    if by_pairs:
        _only_dense(method)
        values, counts = _matrix(loss, s, y, w, lists, _dense_lambda(lambdaweight_fn, s, y, w, lists, segments))
        flat = (*s.shape[:-1], s.shape[-1] ** 2)
        return reduce_values(values.reshape(flat), counts.reshape(flat), None if pairs else reduce_fn).astype(dtype)
    total, number = pair_totals(
        loss, s, y, w, lists, segments, lambdaweight_fn, method, gain_weights=w, key=key, num_pairs=num_pairs
    )
    return _reduce(total, number, lists, reduce_fn, normalize).astype(dtype)


def _only_dense(method: str) -> None:
    if method not in ("auto", "dense"):
        raise LearnError(
            f"method {method!r} needs a loss and a lambda weight of jrank, and jnp.mean, jnp.sum or None as reduce_fn",
            reason="invalid_parameter",
            hint="use method='auto'",
        )


def _dense_lambda(fn: Fn | None, s: Array, y: Array, w: Array | None, lists: Lists, segments: Any) -> Array | None:
    return None if fn is None else dense_weights(fn, s, y, w, lists, segments)


def pair_totals(
    loss: Any,
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    segments: Any,
    lambdaweight_fn: Fn | None,
    method: str,
    *,
    gain_weights: Array | None = None,
    key: Array | None = None,
    num_pairs: int = 4096,
) -> tuple[Array, Array]:
    """Sum a pair loss over the pairs of each list, in the form that a method names; and count these pairs.

    Args:
      loss: a ``PairLoss``, or a function of the differences of scores and labels.
      s: scores.
      y: labels.
      w: the weight of the pairs that an item is the first of, or None.
      lists: the lists.
      segments: the ids that ``lists`` was made from, or None.
      lambdaweight_fn: a lambda weight, or None.
      method: one of ``Method``.
      gain_weights: the weights of items that the lambda weight is given, or None.
      key: a random key for "sampled".
      num_pairs: how many pairs "sampled" draws.
    """
    form = None if lambdaweight_fn is None else pair_form(lambdaweight_fn)
    if not isinstance(loss, PairLoss) or (lambdaweight_fn is not None and form is None):
        _only_dense(method)
        if method == "auto" and not isinstance(loss, PairLoss) and (lambdaweight_fn is None or form is not None):
            features, pair_weights = _features(form, s, y, gain_weights, lists, segments)
            return row_sums(loss, s, y, w, lists, pair_weights, features)
        method = "dense"
    if method == "dense":
        values, counts = _matrix(
            loss, s, y, w, lists, _dense_lambda(lambdaweight_fn, s, y, gain_weights, lists, segments)
        )
        total, number = (lists.sum(jnp.sum(x.astype(s.dtype), axis=-1)) for x in (values, counts))
        return total, number
    number = count_pairs(loss, y, lists)
    if method in ("auto", "sorted"):
        quick = None if form is not None else _sorted_form(loss, s.shape[-1] if method == "auto" else None)
        if quick is not None:
            return quick(s, y, w, lists), number
        if method == "sorted":
            raise LearnError(
                "method 'sorted' is for the hinge, quantile and squared losses, without lambda weights",
                reason="invalid_parameter",
                hint="use method='auto'",
            )
    features, pair_weights = _features(form, s, y, gain_weights, lists, segments)
    if method == "sampled":
        if key is None or num_pairs < 1:
            raise LearnError(
                "method 'sampled' needs a key and at least one pair",
                reason="invalid_parameter",
                hint="pass key=jax.random.key(step), a new one in every step",
            )
        return sampled_sums(loss, s, y, w, lists, pair_weights, features, key, num_pairs), number
    return pair_sums(loss, s, y, lists, w, pair_weights, features), number


def _features(form: Any, *lists: Any) -> tuple[tuple[Array, ...], Any]:
    features, pair_weights = ((), None) if form is None else form(*lists)
    return lax.stop_gradient(features), pair_weights


# From this many items on, sorting is quicker than visiting all pairs.
SORT_FROM = 1 << 14


def _sorted_form(loss: PairLoss, size: int | None) -> SortedSums | None:
    """The sum of a pair loss that visits no pair, if there is one, and if it is quicker at this size."""
    if loss is MSE:
        return _mse_sums
    if size is not None and size < SORT_FROM:
        return None
    return sorted_hinge if loss is HINGE else QUANTILES.get(loss)


def _reduce(total: Array, number: Array, lists: Lists, reduce_fn: Fn | None, normalize: str) -> Array:
    """Sums and numbers of pairs per list to the result."""
    if normalize == "list":
        return finish(total / jnp.maximum(number, jnp.ones_like(number)), lists, reduce_fn)
    total = finish(total, lists, None if reduce_fn is None else jnp.sum)
    if reduce_fn is not jnp.mean:
        return total
    number = finish(number, lists, jnp.sum)
    return total / jnp.maximum(number, jnp.ones_like(number))


def _mse_sums(s: Array, y: Array, w: Array | None, lists: Lists) -> Array:
    """Sum of the squared differences over all pairs, from moments about the mean: nothing is cancelled."""
    u = finite_scores(s) - y
    count = lists.sum(jnp.ones_like(u))
    mean = lists.sum(u) / jnp.maximum(count, jnp.ones_like(count))
    u = u - lists.spread(mean)
    squares = lists.sum(u * u)
    if w is None:
        return 2 * count * squares
    # sum_ij w_i (u_i - u_j)^2 with sum_j u_j = 0
    return count * lists.sum(w * u * u) + lists.sum(w) * squares
