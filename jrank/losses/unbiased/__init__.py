"""Unbiased learning to rank: from clicks, which follow what was shown, to a loss and a value of relevance.

Clicks are simulated (``position_clicks``, ``cascade_clicks``, ``trust_clicks``) or logged; propensities, the chances
that a position is looked at, are estimated from logs (``position_em``, ``regression_em``, ``harvest_propensities``);
``ips_t12n``, ``snips_t12n`` and ``dr_t12n`` turn any loss of labels into a loss of clicks; ``off_policy_ranking`` says
what another ranker would have earned.

>>> import jax
>>> import jax.numpy as jnp
>>> from jrank import losses
>>> shown, labels = jnp.array([3.0, 2.0, 1.0]), jnp.array([4.0, 0.0, 4.0])
>>> theta = power_propensities(3)
>>> clicks = position_clicks(jax.random.key(0), shown, labels, propensities=theta)
>>> loss = ips_t12n(losses.softmax_loss, clip=0.1)
>>> value = loss(jnp.zeros(3), clicks, propensities=propensities_at(theta, shown))
"""

from jrank.losses.unbiased._clicks import (
    cascade_clicks,
    click_probabilities,
    position_clicks,
    power_propensities,
    propensities_at,
    trust_clicks,
)
from jrank.losses.unbiased._off_policy import Estimate, off_policy_ranking, off_policy_value
from jrank.losses.unbiased._propensity import (
    ClickModel,
    harvest_propensities,
    position_em,
    randomized_propensities,
    regression_em,
)
from jrank.losses.unbiased._weighting import dr_labels, dr_t12n, ips_labels, ips_t12n, ips_weights, snips_t12n

__all__ = [
    "ClickModel",
    "Estimate",
    "cascade_clicks",
    "click_probabilities",
    "dr_labels",
    "dr_t12n",
    "harvest_propensities",
    "ips_labels",
    "ips_t12n",
    "ips_weights",
    "off_policy_ranking",
    "off_policy_value",
    "position_clicks",
    "position_em",
    "power_propensities",
    "propensities_at",
    "randomized_propensities",
    "regression_em",
    "snips_t12n",
    "trust_clicks",
]
