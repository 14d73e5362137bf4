"""Lists for the tests of losses, and their formulas in NumPy."""

import jax
import numpy as np

S = np.array([2.0, 1.0, 3.0, 0.5], np.float32)
Y = np.array([2.0, 0.0, 1.0, 0.0], np.float32)


def sample(seed, n=11):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n).astype(np.float32), rng.integers(0, 4, size=n).astype(np.float32)


def ev(loss, scores, labels, **options):
    """A loss, compiled as a whole: operation by operation takes longer."""
    return jax.jit(lambda s, y: loss(s, y, **options))(scores, labels)


def discount(place):
    return 1 / np.log2(np.asarray(place, float) + 1)


def softplus(x):
    return np.logaddexp(0, x)


def mrr(y, k=99):
    return max([1 / (r + 1) for r, v in enumerate(y) if v >= 1 and r < k], default=0.0)


def ap(y):
    rel = (y >= 1).astype(float)
    return np.sum(rel * np.cumsum(rel) / np.arange(1, len(y) + 1)) / max(rel.sum(), 1)


def err(y):
    p = (2.0**y - 1) / 2 ** y.max(initial=0)
    return np.sum(p * np.append(1, np.cumprod(1 - p)[:-1]) / np.arange(1, len(y) + 1))


def ndcg(y, k=99):
    g = 2.0**y - 1
    d = discount(np.arange(1, len(y) + 1)) * (np.arange(len(y)) < k)
    best = np.sum(np.sort(g)[::-1] * d)
    return np.sum(g * d) / (best if best else 1)


def log_prob(s, order):
    left, total = list(range(len(s))), 0.0
    for i in order:
        total += s[i] - np.log(np.sum(np.exp(s[left])))
        left.remove(i)
    return total
