r"""Which differences between systems are real: paired tests, intervals, corrections.

An item is a query, and two arrays are paired query by query. NumPy arrays are computed on the host, one comparison at a
time; arrays of JAX on their device, with leading axes for many comparisons at once, and under ``jit``.

>>> import numpy as np
>>> from jrank import stats
>>> a = np.array([0.5, 0.6, 0.7, 0.4, 0.9])
>>> b = np.array([0.3, 0.5, 0.6, 0.4, 0.5])
>>> round(stats.paired_t(a, b).p_value, 4)
0.0777
>>> stats.holm(np.array([0.01, 0.04, 0.03])).tolist()
[0.03, 0.06, 0.06]
"""

from jrank.stats._corrections import CORRECTIONS, benjamini_hochberg, bonferroni, holm
from jrank.stats._effects import EFFECTS, effect_size
from jrank.stats._intervals import bootstrap_interval, t_interval
from jrank.stats._paired import TESTS, TestResult, paired_t, randomization, sign, wilcoxon

__all__ = [
    "CORRECTIONS",
    "EFFECTS",
    "TESTS",
    "TestResult",
    "benjamini_hochberg",
    "bonferroni",
    "bootstrap_interval",
    "effect_size",
    "holm",
    "paired_t",
    "randomization",
    "sign",
    "t_interval",
    "wilcoxon",
]
