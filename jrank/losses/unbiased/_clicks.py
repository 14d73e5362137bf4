"""Click simulation: what users who read a ranking from the top would click."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_array, neutralise, take_last
from jrank.errors import LearnError
from jrank.metrics import ranks
from jrank.metrics._lists import iota_like, prepare, product_before, scatter_last
from jrank.types import Array, ArrayLike

__all__ = [
    "cascade_clicks",
    "click_probabilities",
    "position_clicks",
    "power_propensities",
    "propensities_at",
    "trust_clicks",
]


def power_propensities(num_positions: int, *, eta: Real[ArrayLike, ""] = 1.0) -> Float[Array, " k"]:
    r"""Chance that each position is looked at, falling with a power of the rank.

    .. math:: \theta_k = k^{-\eta}

    Args:
      num_positions: how many positions there are.
      eta: how severe the bias is; 0 for none. May be traced.

    Returns:
      One number in (0, 1] for each position, the first 1.

    References: Joachims, Swaminathan and Schnabel 2017, "Unbiased learning-to-rank with biased feedback".

    >>> power_propensities(4).tolist()
    [1.0, 0.5, 0.3333333432674408, 0.25]
    """
    place = jnp.arange(1, num_positions + 1, dtype=jnp.result_type(float))
    return place ** -jnp.asarray(eta, place.dtype)


def click_probabilities(
    labels: Shaped[ArrayLike, "..."], *, noise: Real[ArrayLike, ""] = 0.1, max_label: Real[ArrayLike, ""] = 4
) -> Float[Array, "..."]:
    r"""Chance that a user who looks at an item clicks it, from its grade.

    .. math:: \gamma(y) = \epsilon + (1 - \epsilon) \frac{2^y - 1}{2^m - 1}

    Args:
      labels: grades.
      noise: the chance ε of a click on an irrelevant item.
      max_label: the largest grade m.

    Returns:
      Numbers in [ε, 1].

    References: Ai et al. 2018, "Unbiased learning to rank with unbiased propensity estimation"; after Chapelle et al.
      2009, "Expected reciprocal rank for graded relevance".

    >>> click_probabilities(jnp.array([0.0, 4.0])).tolist()
    [0.10000000149011612, 1.0]
    """
    y = as_array(labels, "labels").astype(jnp.result_type(float))
    epsilon, top = jnp.asarray(noise, y.dtype), jnp.asarray(max_label, y.dtype)
    return epsilon + (1 - epsilon) * (jnp.exp2(jnp.clip(y, 0, top)) - 1) / (jnp.exp2(top) - 1)


def propensities_at(
    propensities: Real[ArrayLike, " k"],
    scores: Real[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch n"]:
    """Chance that each item was looked at, by the position that a ranker put it at.

    Args:
      propensities: one number for each position; what is ranked beyond the last one is never looked at.
      scores: the scores of the ranker whose ranking was shown.
      where: True at real items.

    Returns:
      One number for each item, in its place; 0 at masked items.

    Cost: one sort.

    >>> propensities_at(jnp.array([1.0, 0.5]), jnp.array([0.0, 2.0, 1.0])).tolist()
    [0.0, 1.0, 0.5]
    """
    theta = as_array(propensities, "propensities").astype(jnp.result_type(float))
    if theta.ndim != 1 or theta.shape[0] == 0:
        raise LearnError(
            f"propensities have shape {theta.shape}, one number for each position was expected", reason="empty_input"
        )
    s, _, _, lists = prepare(scores, scores, where)
    place = ranks(s, where=lists.where) - 1
    chance = theta[jnp.minimum(place, theta.shape[0] - 1)]
    return neutralise(jnp.where(place < theta.shape[0], chance, jnp.zeros_like(chance)), lists.where)


def _draw(key: Array, chance: Array) -> Array:
    return (jax.random.uniform(key, chance.shape, chance.dtype) < chance).astype(chance.dtype)


def position_clicks(
    key: Array,
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    propensities: Real[ArrayLike, " k"],
    click_fn: Callable[[Array], Array] = click_probabilities,
) -> Float[Array, "*batch n"]:
    r"""Draw clicks of the position-based model: an item is clicked if it is looked at and attractive.

    .. math:: P(c_i = 1) = \theta_{r_i}\, \gamma(y_i)

    Args:
      key: a random key.
      scores: the scores of the ranker whose ranking is shown; they give the ranks r.
      labels: grades.
      where: True at real items; masked ones are not shown.
      propensities: the chance θ that each position is looked at, such as ``power_propensities``.
      click_fn: grades to the chance γ of a click on an item that is looked at.

    Returns:
      0 and 1 for each item, in its place; 0 at masked items.

    Raises:
      LearnError: shapes differ, or there are no propensities.

    Cost: one sort.
    References: Richardson, Dominowska and Ragno 2007, "Predicting clicks: estimating the click-through rate for new
      ads".

    >>> scores, labels = jnp.array([3.0, 2.0, 1.0]), jnp.array([4.0, 4.0, 4.0])
    >>> position_clicks(jax.random.key(0), scores, labels, propensities=jnp.array([1.0, 1.0, 0.0])).tolist()
    [1.0, 1.0, 0.0]
    """
    s, y, _, lists = prepare(scores, labels, where)
    chance = propensities_at(propensities, s, where=lists.where) * click_fn(y).astype(jnp.result_type(float))
    return _draw(key, neutralise(chance, lists.where))


def trust_clicks(
    key: Array,
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    propensities: Real[ArrayLike, " k"],
    true_clicks: Real[ArrayLike, " k"],
    false_clicks: Real[ArrayLike, " k"],
    click_fn: Callable[[Array], Array] = click_probabilities,
) -> Float[Array, "*batch n"]:
    r"""Draw clicks of users who trust the ranker: what stands high looks relevant.

    .. math:: P(c_i = 1) = \theta_r (\epsilon^+_r \gamma(y_i) + \epsilon^-_r (1 - \gamma(y_i))), \quad r = r_i

    Args:
      key: a random key.
      scores: the scores of the ranker whose ranking is shown; they give the ranks r.
      labels: grades.
      where: True at real items; masked ones are not shown.
      propensities: the chance θ that each position is looked at.
      true_clicks: the chance ε⁺ that a relevant item is clicked there.
      false_clicks: the chance ε⁻ that an irrelevant one is.
      click_fn: grades to the chance γ of being relevant.

    Returns:
      0 and 1 for each item, in its place; 0 at masked items.

    Raises:
      LearnError: shapes differ.

    Cost: one sort.
    References: Agarwal et al. 2019, "Addressing trust bias for unbiased learning-to-rank".

    >>> scores, labels, one = jnp.array([2.0, 1.0]), jnp.array([0.0, 4.0]), jnp.ones(2)
    >>> clicks = trust_clicks(
    ...     jax.random.key(0), scores, labels, propensities=one, true_clicks=one, false_clicks=jnp.array([1.0, 0.0]))
    >>> clicks.tolist()
    [1.0, 1.0]
    """
    s, y, _, lists = prepare(scores, labels, where)
    theta, right, wrong = (propensities_at(p, s, where=lists.where) for p in (propensities, true_clicks, false_clicks))
    gamma = click_fn(y).astype(theta.dtype)
    return _draw(key, neutralise(theta * (right * gamma + wrong * (1 - gamma)), lists.where))


def cascade_clicks(
    key: Array,
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    after_click: Real[ArrayLike, ""] = 0.0,
    after_skip: Real[ArrayLike, ""] = 1.0,
    click_fn: Callable[[Array], Array] = click_probabilities,
) -> Float[Array, "*batch n"]:
    r"""Draw clicks of users who read from the top, and may stop at every item.

    .. math:: P(E_{k+1} = 1 \mid E_k = 1) = \lambda_c^{c_k} \lambda_s^{1 - c_k}, \quad
        P(c_k = 1 \mid E_k = 1) = \gamma(y_{\pi(k)})

    With the defaults this is the cascade model: users read on until the first click. A larger ``after_click`` gives the
    dependent click model.

    Args:
      key: a random key.
      scores: the scores of the ranker whose ranking is shown.
      labels: grades.
      where: True at real items; masked ones are not shown.
      after_click: the chance of reading on after a click.
      after_skip: the chance of reading on after an item that was not clicked.
      click_fn: grades to the chance γ of a click on an item that is read.

    Returns:
      0 and 1 for each item, in its place; 0 at masked items.

    Raises:
      LearnError: shapes differ.

    Cost: one sort.
    References: Craswell et al. 2008, "An experimental comparison of click position-bias models"; Guo, Liu and Wang
      2009, "Efficient multiple-click models in web search".

    >>> scores, labels = jnp.array([3.0, 2.0, 1.0]), jnp.array([4.0, 4.0, 4.0])
    >>> cascade_clicks(jax.random.key(0), scores, labels).tolist()
    [1.0, 0.0, 0.0]
    """
    s, y, _, lists = prepare(scores, labels, where)
    place = ranks(s, where=lists.where) - 1
    order = scatter_last(place, iota_like(place))
    chance = neutralise(click_fn(y).astype(jnp.result_type(float)), lists.where)
    first, second = jax.random.split(key)
    wanted = _draw(first, take_last(chance, order))
    stay = jnp.where(wanted > 0, jnp.asarray(after_click, chance.dtype), jnp.asarray(after_skip, chance.dtype))
    read = product_before(_draw(second, stay))
    return lax.stop_gradient(scatter_last(order, wanted * read))
