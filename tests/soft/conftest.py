"""Independent float64 re-computations of the exact operators, in plain NumPy."""

import types

import numpy as np
import pytest


def isotonic(y, weights=None):
    """Increasing isotonic regression by the textbook minimax formula."""
    y = np.asarray(y, np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, np.float64)
    n = len(y)
    s, m = np.concatenate([[0], np.cumsum(y * w)]), np.concatenate([[0], np.cumsum(w)])
    mean = np.array([[(s[b + 1] - s[a]) / (m[b + 1] - m[a]) if b >= a else np.nan for b in range(n)] for a in range(n)])
    return np.array([max(min(mean[a, b] for b in range(i, n)) for a in range(i + 1)) for i in range(n)])


def log_isotonic(s, w):
    """Increasing isotonic regression of s - w with means in the sense of exp: log sum exp(s) - log sum exp(w)."""
    s, w = np.asarray(s, np.float64), np.asarray(w, np.float64)
    n = len(s)

    def level(a, b):
        return np.logaddexp.reduce(s[a : b + 1]) - np.logaddexp.reduce(w[a : b + 1])

    return np.array([max(min(level(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)])


def rank_l2(x, t):
    x = np.asarray(x, np.float64)
    order = np.argsort(x, kind="stable")
    s, rho = x[order] / t, np.arange(1, len(x) + 1.0)
    out = np.empty(len(x))
    out[order] = s - isotonic(s - rho)
    return out


def sort_l2(x, t):
    x = np.sort(np.asarray(x, np.float64))
    z = np.arange(1, len(x) + 1.0) / t
    return z - isotonic(z - x)


def rank_kl(x, t):
    x = np.asarray(x, np.float64)
    order = np.argsort(x, kind="stable")
    s, rho = x[order] / t, np.log(np.arange(1, len(x) + 1.0))
    out = np.empty(len(x))
    out[order] = np.exp(s - log_isotonic(s, rho))
    return out


def sort_kl(x, t):
    """Ascending values are those of the descending sort of -x, negated; there the level falls along the list."""
    w = np.sort(-np.asarray(x, np.float64))[::-1]
    z = np.arange(len(w), 0, -1.0) / t
    level = -log_isotonic_flipped(z, w)
    return -(z + level)


def log_isotonic_flipped(z, w):
    """Decreasing fit of z - w, computed as the increasing fit of the reversed lists."""
    return log_isotonic(z[::-1], w[::-1])[::-1]


def differences(fn, x, step=1e-6):
    """Jacobian of fn by central differences: [..., n]."""
    x = np.asarray(x, np.float64)
    columns = []
    for i in range(len(x)):
        d = np.zeros_like(x)
        d[i] = step
        columns.append((np.asarray(fn(x + d)) - np.asarray(fn(x - d))) / (2 * step))
    return np.stack(columns, axis=-1)


@pytest.fixture(scope="session")
def oracle():
    names = {"isotonic": isotonic, "log_isotonic": log_isotonic, "differences": differences}
    return types.SimpleNamespace(rank={"l2": rank_l2, "kl": rank_kl}, sort={"l2": sort_l2, "kl": sort_kl}, **names)
