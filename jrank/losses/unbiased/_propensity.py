"""Propensities from click logs: how likely each position is looked at, whatever stands there."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int, Real, Shaped

from jrank.arrays import as_array, as_mask, neutralise
from jrank.errors import LearnError
from jrank.types import Array, ArrayLike

__all__ = ["ClickModel", "harvest_propensities", "position_em", "randomized_propensities", "regression_em"]


class ClickModel(NamedTuple):
    """A position-based click model that was fitted to a log.

    Args:
      propensities: the chance that each position is looked at, as a share of that of the first one, ``[k]``.
      relevance: the chance of a click on each item where the first position shows it, ``[num_items]``; or the
        parameters of a regression.
    """

    propensities: Array
    relevance: Any


class _Log(NamedTuple):
    """The rows of a log, flat: what was shown, where, and whether it was clicked."""

    clicks: Array
    place: Array
    valid: Array


def _flat(clicks: Any, ranks: Any, where: Any, num_positions: int) -> tuple[_Log, tuple[int, ...]]:
    if num_positions < 1:
        raise LearnError(f"num_positions is {num_positions}, at least 1 was expected", reason="invalid_parameter")
    c = as_array(clicks, "clicks").astype(jnp.result_type(float))
    r = as_array(ranks, "ranks").astype(jnp.int32)
    if c.shape != r.shape:
        raise LearnError(f"clicks have shape {c.shape}, ranks {r.shape}", reason="length_mismatch")
    try:
        mask = as_mask(where, c.shape)
    except ValueError as error:
        raise LearnError(str(error), reason="length_mismatch") from None
    valid = (r >= 1) & (r <= num_positions)
    valid = (valid if mask is None else valid & mask).reshape(-1)
    place = jnp.clip(r.reshape(-1) - 1, 0, num_positions - 1)
    return _Log(neutralise(c.reshape(-1), valid), place, valid.astype(c.dtype)), c.shape


def _item_numbers(items: Any, shape: tuple[int, ...], num_items: int) -> Array:
    numbers = as_array(items, "items").astype(jnp.int32)
    if numbers.shape != shape:
        raise LearnError(f"items have shape {numbers.shape}, clicks {shape}", reason="length_mismatch")
    return jnp.clip(numbers.reshape(-1), 0, num_items - 1)


def _divide(a: Array, b: Array) -> Array:
    return a / jnp.where(b > 0, b, jnp.ones_like(b))


def _relative(theta: Array) -> Array:
    """As a share of the first position that was shown at all."""
    shown = theta > 0
    first = theta[jnp.argmax(shown)]
    return _divide(theta, first)


def randomized_propensities(
    clicks: Real[ArrayLike, "..."],
    ranks: Int[ArrayLike, "..."],
    *,
    num_positions: int,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, " k"]:
    r"""Propensities from rankings in random order: the share of clicks at each position.

    .. math:: \hat\theta_k = \frac{\bar c_k}{\bar c_1}

    Args:
      clicks: 0 and 1 for each item that was shown.
      ranks: the position it was shown at, from 1.
      num_positions: how many positions k there are; later ones are left out.
      where: True at items that were shown.

    Returns:
      One number for each position, the first 1; 0 for positions without an item.

    Raises:
      LearnError: shapes differ or ``num_positions`` is below 1.

    Cost: O(n).
    References: Joachims, Swaminathan and Schnabel 2017, "Unbiased learning-to-rank with biased feedback".

    >>> clicks, ranks = jnp.array([1.0, 1.0, 1.0, 0.0]), jnp.array([1, 1, 2, 2])
    >>> randomized_propensities(clicks, ranks, num_positions=2).tolist()
    [1.0, 0.5]
    """
    log, _ = _flat(clicks, ranks, where, num_positions)
    clicked, shown = (jax.ops.segment_sum(x, log.place, num_positions) for x in (log.clicks, log.valid))
    return _relative(_divide(clicked, shown))


def _expectation(theta: Array, gamma: Array, clicks: Array) -> tuple[Array, Array]:
    """Chance that a place was looked at, and that an item is attractive, given the click."""
    silent = jnp.maximum(1 - theta * gamma, jnp.finfo(theta.dtype).tiny)
    looked = clicks + (1 - clicks) * theta * (1 - gamma) / silent
    liked = clicks + (1 - clicks) * gamma * (1 - theta) / silent
    return looked, liked


def position_em(
    clicks: Real[ArrayLike, "..."],
    ranks: Int[ArrayLike, "..."],
    items: Int[ArrayLike, "..."],
    *,
    num_items: int,
    num_positions: int,
    where: Shaped[ArrayLike, "..."] | None = None,
    num_steps: int = 100,
) -> ClickModel:
    r"""Fit the position-based click model to a log by expectation maximisation.

    .. math:: P(c = 1) = \theta_k \gamma_d, \qquad
        P(E = 1 \mid c = 0) = \frac{\theta_k (1 - \gamma_d)}{1 - \theta_k \gamma_d}

    Args:
      clicks: 0 and 1 for each item that was shown.
      ranks: the position it was shown at, from 1.
      items: a number for each pair of query and document, from 0; only those that were shown at several positions tell
        propensities from relevance.
      num_items: how many such pairs there are.
      num_positions: how many positions there are; later ones are left out.
      where: True at items that were shown.
      num_steps: steps of expectation maximisation.

    Returns:
      The model. Only products of θ and γ are seen in clicks, so propensities are those relative to the first position.

    Raises:
      LearnError: shapes differ or a number is below 1.

    Numerics: every step raises the likelihood; the result is a local maximum, reached slowly where positions are rarely
      seen with more than one item.
    Cost: O(n) time for each step, O(n) memory.
    References: Wang et al. 2018, "Position bias estimation for unbiased learning to rank in personal search"; Chuklin,
      Markov and de Rijke 2015, "Click models for web search".

    >>> clicks = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    >>> items = jnp.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    >>> model = position_em(clicks, jnp.array([[1, 2]] * 4), items, num_items=2, num_positions=2)
    >>> print(jnp.array_str(model.propensities, precision=3))
    [1.   0.39]
    """
    log, shape = _flat(clicks, ranks, where, num_positions)
    item = _item_numbers(items, shape, num_items)
    shown, of_item = (
        jax.ops.segment_sum(log.valid, index, size) for index, size in ((log.place, num_positions), (item, num_items))
    )

    def step(model: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        theta, gamma = model
        looked, liked = _expectation(theta[log.place], gamma[item], log.clicks)
        theta = _divide(jax.ops.segment_sum(looked * log.valid, log.place, num_positions), shown)
        gamma = _divide(jax.ops.segment_sum(liked * log.valid, item, num_items), of_item)
        return (theta, gamma), None

    half = jnp.asarray(0.5, log.clicks.dtype)
    start = (jnp.where(shown > 0, half, 0 * half), jnp.where(of_item > 0, half, 0 * half))
    (theta, gamma), _ = lax.scan(step, start, None, length=num_steps)
    first = theta[jnp.argmax(theta > 0)]
    return ClickModel(_relative(theta), gamma * first)


def regression_em(
    clicks: Real[ArrayLike, "..."],
    ranks: Int[ArrayLike, "..."],
    features: Any,
    *,
    relevance_fn: Callable[[Any, Any], Array],
    params: Any,
    num_positions: int,
    where: Shaped[ArrayLike, "..."] | None = None,
    num_steps: int = 50,
    inner_steps: int = 20,
    learning_rate: Real[ArrayLike, ""] = 0.05,
) -> ClickModel:
    r"""Fit the position-based click model where relevance is a function of features, not a number for each item.

    The E-step is that of ``position_em``; the M-step fits the function to the expected relevance by logistic
    regression. So an item that was seen once still tells something, which personal search and sparse logs need.

    Args:
      clicks: 0 and 1 for each item that was shown.
      ranks: the position it was shown at, from 1.
      features: what ``relevance_fn`` takes, such as ``[..., n, d]``.
      relevance_fn: ``(params, features) -> log-odds`` in the shape of the clicks.
      params: where to start, a tree of floating arrays.
      num_positions: how many positions there are; later ones are left out.
      where: True at items that were shown.
      num_steps: steps of expectation maximisation.
      inner_steps: steps of the regression (Adam) in each of them.
      learning_rate: that of the regression. May be traced.

    Returns:
      The model; its ``relevance`` are the parameters.

    Raises:
      LearnError: shapes differ or ``num_positions`` is below 1.

    Cost: ``num_steps * inner_steps`` gradients of the function over the whole log.
    References: Wang et al. 2018, "Position bias estimation for unbiased learning to rank in personal search".

    >>> x = jax.random.normal(jax.random.key(0), (500, 4, 2))
    >>> gamma, theta = jax.nn.sigmoid(2 * x[..., 0]), jnp.array([1.0, 0.6, 0.4, 0.2])
    >>> clicks = (jax.random.uniform(jax.random.key(1), (500, 4)) < gamma * theta[None]).astype(float)
    >>> ranks = jnp.broadcast_to(jnp.arange(1, 5), (500, 4))
    >>> model = regression_em(
    ...     clicks, ranks, x, relevance_fn=lambda w, x: x @ w, params=jnp.zeros(2), num_positions=4)
    >>> bool(jnp.max(jnp.abs(model.propensities - theta)) < 0.1)
    True
    """
    log, shape = _flat(clicks, ranks, where, num_positions)
    shown = jax.ops.segment_sum(log.valid, log.place, num_positions)
    rate = jnp.asarray(learning_rate, log.clicks.dtype)
    total = jnp.maximum(jnp.sum(log.valid), 1)

    def odds(params: Any) -> Array:
        return relevance_fn(params, features).reshape(-1).astype(log.clicks.dtype)

    if jax.eval_shape(relevance_fn, params, features).shape != shape:
        raise LearnError("relevance_fn must return one number for each click", reason="length_mismatch")

    def cross_entropy(params: Any, target: Array) -> Array:
        z = neutralise(odds(params), log.valid > 0)
        return jnp.sum(log.valid * (jax.nn.softplus(z) - target * z)) / total

    def adam(state: tuple, target: Array) -> tuple:
        params, mean, square, count = state
        slope = jax.grad(cross_entropy)(params, target)
        count = count + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, slope)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, slope)
        mean_scale, square_scale = 1 - 0.9**count, 1 - 0.999**count

        def move(p: Array, m: Array, v: Array) -> Array:
            return p - (rate * (m / mean_scale) / (jnp.sqrt(v / square_scale) + 1e-8)).astype(p.dtype)

        return jax.tree.map(move, params, mean, square), mean, square, count

    def step(state: tuple, _: None) -> tuple[tuple, None]:
        theta, *fit = state
        gamma = jax.nn.sigmoid(neutralise(odds(fit[0]), log.valid > 0))
        looked, liked = _expectation(theta[log.place], gamma, log.clicks)
        theta = _divide(jax.ops.segment_sum(looked * log.valid, log.place, num_positions), shown)
        fit = lax.fori_loop(0, inner_steps, lambda _, fit: adam(fit, lax.stop_gradient(liked)), tuple(fit))
        return (theta, *fit), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    half = jnp.asarray(0.5, log.clicks.dtype)
    start = (jnp.where(shown > 0, half, 0 * half), params, zeros, zeros, jnp.zeros_like(half))
    (theta, params, *_), _ = lax.scan(step, start, None, length=num_steps)
    return ClickModel(_relative(theta), params)


def harvest_propensities(
    clicks: Real[ArrayLike, "..."],
    ranks: Int[ArrayLike, "..."],
    items: Int[ArrayLike, "..."],
    *,
    num_items: int,
    num_positions: int,
    where: Shaped[ArrayLike, "..."] | None = None,
    method: Literal["all_pairs", "adjacent_chain", "pivot"] = "all_pairs",
    num_steps: int = 500,
) -> Float[Array, " k"]:
    r"""Propensities from logs of several rankers: items that stood at two positions compare these (harvesting).

    .. math:: \hat c_k^{k,k'} = \sum_{d \in S_{k,k'}} \frac{\text{clicks on } d \text{ at } k}{\text{views of } d
        \text{ at } k}, \qquad \frac{\theta_k}{\theta_{k'}} \approx \frac{\hat c_k^{k,k'}}{\hat c_{k'}^{k,k'}}

    where :math:`S_{k,k'}` are the items that were shown at both positions.

    Args:
      clicks: 0 and 1 for each item that was shown.
      ranks: the position it was shown at, from 1.
      items: a number for each pair of query and document, from 0.
      num_items: how many such pairs there are.
      num_positions: how many positions there are; later ones are left out.
      where: True at items that were shown.
      method: "pivot" compares each position with the first; "adjacent_chain" multiplies the ratios of neighbours;
        "all_pairs" is the most likely θ given all pairs of positions, which uses all of the data.
      num_steps: steps of expectation maximisation of "all_pairs".

    Returns:
      One number for each position, the first 1; 0 where nothing can be compared.

    Raises:
      LearnError: shapes differ, a number is below 1, or the method is unknown.

    Cost: O(num_items k²) time, O(num_items k) memory.
    References: Agarwal et al. 2019, "Estimating position bias without intrusive interventions".

    >>> clicks = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    >>> items = jnp.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    >>> ranks = jnp.array([[1, 2]] * 4)
    >>> harvest_propensities(clicks, ranks, items, num_items=2, num_positions=2, method="pivot").tolist()
    [1.0, 0.3333333432674408]
    """
    if method not in ("all_pairs", "adjacent_chain", "pivot"):
        raise LearnError(
            f"method is {method!r}, 'all_pairs', 'adjacent_chain' or 'pivot' was expected", reason="invalid_parameter"
        )
    log, shape = _flat(clicks, ranks, where, num_positions)
    cell = _item_numbers(items, shape, num_items) * num_positions + log.place
    views, clicked = (
        jax.ops.segment_sum(x, cell, num_items * num_positions).reshape(num_items, num_positions)
        for x in (log.valid, log.clicks)
    )
    shown = (views > 0).astype(views.dtype)
    # [k, k']: clicks at k per view, and views, of the items that stood at both.
    highest = lax.Precision.HIGHEST
    rate = jnp.matmul(_divide(clicked, views).T, shown, precision=highest)
    both = jnp.matmul(shown.T, shown, precision=highest)
    if method == "pivot":
        theta = _divide(rate[:, 0], rate[0, :])
        return theta.at[0].set(1.0)
    if method == "adjacent_chain":
        ratio = _divide(jnp.diagonal(rate, -1), jnp.diagonal(rate, 1))
        return jnp.concatenate([jnp.ones_like(rate[:1, 0]), jnp.cumprod(ratio)])
    return _relative(_all_pairs(rate, both, num_steps))


def _all_pairs(rate: Array, both: Array, num_steps: int) -> Array:
    """The most likely propensities, where each pair of positions has a mean relevance of its own."""
    off = 1 - jnp.eye(rate.shape[0], dtype=rate.dtype)
    clicked, silent = rate * off, (both - rate) * off

    def step(model: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        theta, gamma = model
        looked, liked = _expectation(jnp.broadcast_to(theta[:, None], gamma.shape), gamma, jnp.zeros_like(gamma))
        looked, liked = clicked + silent * looked, clicked + silent * liked
        number = clicked + silent
        theta = _divide(jnp.sum(looked, axis=1), jnp.sum(number, axis=1))
        return (theta, _divide(liked + liked.T, number + number.T)), None

    half = jnp.full_like(rate, 0.5)
    (theta, _), _ = lax.scan(step, (half[:, 0], half), None, length=num_steps)
    return theta
