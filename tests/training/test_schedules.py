import math

import numpy as np
import pytest

from jrank.errors import TrainError
from jrank.training import decay_mask, epoch_order, warmup_schedule


def test_linear_schedule_is_two_straight_lines():
    rate = warmup_schedule(2.0, 10, warmup=0.2)
    assert [rate(step) for step in range(10)] == pytest.approx([1, 2, 2, 1.75, 1.5, 1.25, 1, 0.75, 0.5, 0.25])
    assert rate(10) == rate(1000) == 0


def test_cosine_schedule_ends_at_its_floor():
    rate = warmup_schedule(1.0, 100, warmup=0, decay="cosine", floor=0.1)
    expected = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
    assert [rate(step) for step in range(100)] == pytest.approx(expected)
    assert rate(100) == pytest.approx(0.1)


def test_constant_schedule_rises_and_stays():
    rate = warmup_schedule(3.0, 8, warmup=3, decay="constant")
    assert [rate(step) for step in (0, 1, 2, 3, 7, 50)] == pytest.approx([1, 2, 3, 3, 3, 3])


def test_warmup_may_take_all_steps():
    rate = warmup_schedule(1.0, 4, warmup=1.0)
    assert [rate(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((0.0, 10), {}),
        ((float("nan"), 10), {}),
        ((1.0, 0), {}),
        ((1.0, 10), {"decay": "exponential"}),
        ((1.0, 10), {"warmup": 1.5}),
        ((1.0, 10), {"warmup": 11}),
        ((1.0, 10), {"floor": 2.0}),
    ],
)
def test_schedule_refuses_values_out_of_range(arguments, options):
    with pytest.raises(TrainError) as caught:
        warmup_schedule(*arguments, **options)
    assert caught.value.reason == "invalid_parameter"


def test_decay_mask_spares_biases_and_norms_also_when_layers_are_stacked():
    params = {
        "layers": [{"attention": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}}],
        "stacked": {"bias": np.ones((6, 2)), "LayerNorm": {"weight": np.ones((6, 2))}, "kernel": np.ones((6, 2, 2))},
        "embedding": np.ones((5, 2)),
        "temperature": np.ones(()),
    }
    assert decay_mask(params) == {
        "layers": [{"attention": {"kernel": True, "bias": False}}],
        "stacked": {"bias": False, "LayerNorm": {"weight": False}, "kernel": True},
        "embedding": True,
        "temperature": False,
    }


def test_epoch_order_depends_on_seed_and_epoch_alone():
    first = epoch_order(50, seed=1, epoch=2)
    np.testing.assert_array_equal(first, epoch_order(50, seed=1, epoch=2))
    assert sorted(first.tolist()) == list(range(50))
    assert first.tolist() != epoch_order(50, seed=1, epoch=3).tolist()
    assert first.tolist() != epoch_order(50, seed=2, epoch=2).tolist()
