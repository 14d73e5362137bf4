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


def test_temperature_sweep_of_the_sort():
    ax = plot.temperature_sweep(np.array([3.0, 1.0, 2.0]), temperatures=np.array([1e-3, 1e6]), operator="sort")
    ends = np.array([line.get_ydata() for line in ax.get_lines()])
    np.testing.assert_allclose(ends[:, 0], [3, 2, 1])
    np.testing.assert_allclose(ends[:, 1], 2, atol=1e-4)
    assert ax.get_xlabel() == "temperature (1 / score)"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["3", "2", "1"]
    assert plot.temperature_sweep(np.array([3.0, 1.0]), legend=False).get_legend() is None


def test_alignment_marks_the_maximum():
    ax = plot.alignment(np.array([[0.1, 0.9], [0.8, 0.2]]), ["a", "b"], ["x", "y"])
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="2 query tokens"):
        plot.alignment(np.ones((1, 2)), ["a", "b"], ["x", "y"])


def test_alignment_of_any_text_and_missing_numbers(tmp_path):
    values = np.array([[np.nan, 0.2, -0.5], [np.nan] * 3, [0.1, -np.inf, np.nan]])
    ax = plot.alignment(values, ["$\\frac$", "$", "a$b"], ["$x$", "&<", "_^{"])
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), [[1, 0], [0, 2]])
    assert ax.images[0].get_clim() == (-0.5, 0.2)
    ax.figure.savefig(tmp_path / "picture.png")
    for shape in ((0, 0), (0, 2), (2, 0)):
        assert (
            len(plot.alignment(np.zeros(shape), "ab"[: shape[0]], "xy"[: shape[1]]).collections[0].get_offsets()) == 0
        )


QRELS = {f"q{i}": {"a": 1, "b": 0, "c": 2} for i in range(4)}
RUNS = {
    "good": {f"q{i}": {"c": 3.0, "a": 2.0, "b": 1.0} for i in range(4)},
    "poor": {f"q{i}": {"b": 3.0, "x": 2.0, "c": 1.0, "a": 0.5 + i} for i in range(4)},
}


def test_query_differences_are_sorted_and_counted():
    ax = plot.query_differences({"q1": 0.5, "q2": 0.1, "q3": 0.4, "q4": 1.0}, {"q3": 0.4, "q2": 0.3, "q1": 0.2})
    assert [bar.get_height() for bar in ax.patches] == [pytest.approx(0.3), pytest.approx(-0.2)]
    assert ax.get_title() == "run - other: 1 better, 1 equal, 1 worse"
    with pytest.raises(ValueError, match="no query in common"):
        plot.query_differences({"q1": 0.5}, {"q2": 0.5})


def test_precision_recall_is_interpolated():
    ax = plot.precision_recall(QRELS, RUNS)
    good, poor = (line.get_ydata() for line in ax.get_lines())
    np.testing.assert_allclose(good, 1)
    # Ranks of a and c: 4 and 3; 3 and 4; 2 and 4; 1 and 4.
    assert poor[0] == pytest.approx(np.mean([0.5, 0.5, 0.5, 1.0]))
    assert poor[10] == pytest.approx(0.5)


def test_quality_grows_with_depth():
    ax = plot.quality_depth(QRELS, RUNS, metric="recall", depths=(1, 2, 4))
    good, poor = (line.get_ydata() for line in ax.get_lines())
    np.testing.assert_allclose(good, [0.5, 1, 1])
    np.testing.assert_allclose(poor, [1 / 8, 1 / 4, 1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["good", "poor"]
