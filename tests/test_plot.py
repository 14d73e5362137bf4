"""Plots draw what they are given, on the axes they are given, and show nothing."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from jrank import plot


def test_axes_are_used_or_made():
    ax = Figure().add_subplot()
    assert plot.training_curve([1, 2], [3.0, 2.0], ax=ax) is ax
    assert plot.training_curve([1, 2], [3.0, 2.0]) is not ax


def test_quality_latency_joins_the_points_that_nothing_beats():
    ax = plot.quality_latency({"slow good": (100, 0.9), "fast": (1, 0.5), "beaten": (50, 0.4)})
    line = ax.get_lines()[0]
    assert list(line.get_xdata()) == [1, 100]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["slow good", "fast", "beaten"]


def test_training_curve_smooths_from_the_first_step():
    losses = np.arange(40.0)
    ax = plot.training_curve(range(40), losses, metric_steps=[20], metric_values=[0.5])
    smooth = ax.get_lines()[1].get_ydata()
    # A window of 2: the mean of each value with the one before it.
    np.testing.assert_allclose(smooth, np.concatenate([[0], (losses[1:] + losses[:-1]) / 2]))
    assert plot.training_curve([], []) is not None


def test_temperature_sweep_goes_from_hard_to_mean():
    ax = plot.temperature_sweep(np.array([3.0, 1.0, 2.0]), temperatures=np.array([1e-3, 1e6]))
    ends = np.array([line.get_ydata() for line in ax.get_lines()])
    np.testing.assert_allclose(ends[:, 0], [3, 2, 1])
    np.testing.assert_allclose(ends[:, 1], 2, atol=1e-4)


def test_alignment_marks_the_maximum():
    ax = plot.alignment(np.array([[0.1, 0.9], [0.8, 0.2]]), ["a", "b"], ["x", "y"])
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="2 query tokens"):
        plot.alignment(np.ones((1, 2)), ["a", "b"], ["x", "y"])
