"""What the neighbours' papers say, from the formulas, with derivatives on paper: each loss gives (value, gradient).

z student logits (N, K), y labels (N,), t temperature, w weight. A soft target enters as cross-entropy, whose gradient
is that of the KL divergence; the divergence itself is `kl`.
"""

import numpy as np

from oracles.public_code import onehot, softmax


def hard(z, y):
    """Cross-entropy of each row and its gradient."""
    p = softmax(z)
    return -np.log(p[np.arange(len(y)), y]), p - onehot(y, z.shape[1])


def soft(z, q, t=1.0):
    """T^2 CE(q, softmax(z / t)) of each row and its gradient."""
    p = softmax(z / t)
    return -t * t * (q * np.log(p)).sum(axis=1), t * (p - q)


def kl(q, z, t=1.0):
    p = softmax(z / t)
    return (q * (np.log(q) - np.log(p))).sum(axis=1)


def class_means(z, y):
    """OLS: row c is the mean of softmax(z) over the rows of class c that are predicted right, uniform without any."""
    k = z.shape[1]
    means = np.full((k, k), 1 / k)
    for c in range(k):
        right = [softmax(row[None])[0] for row, label in zip(z, y, strict=True) if label == c == row.argmax()]
        if right:
            means[c] = np.mean(right, axis=0)
    return means


def ols(z, y, means, a):
    (ce, ce_grad), (soft_ce, soft_grad) = hard(z, y), soft(z, means[y])
    return ((1 - a) * ce + a * soft_ce).mean(), ((1 - a) * ce_grad + a * soft_grad) / len(y)


def max_sup(z, y, w):
    ce, ce_grad = hard(z, y)
    penalty = z.max(axis=1) - z.mean(axis=1)
    return (ce + w * penalty).mean(), (ce_grad + w * (onehot(z.argmax(axis=1), z.shape[1]) - 1 / z.shape[1])) / len(y)


def cs_kd(z, y, partner, w, t):
    """The partners' logits are constants: the gradient is that of the first half only."""
    (ce, ce_grad), (soft_ce, soft_grad) = hard(z, y), soft(z, softmax(partner / t), t)
    return (ce + w * soft_ce).mean(), (ce_grad + w * soft_grad) / len(y)


def dlb(z, y, last, w, t):
    """`last`: what was said at the last step of the first rows of `z`; those of the new batch come after them."""
    (ce, ce_grad), replayed = hard(z, y), len(last)
    soft_ce, soft_grad = soft(z[:replayed], softmax(last / t), t)
    grad = ce_grad / len(y)
    grad[:replayed] += w * soft_grad / replayed
    return ce.mean() + w * soft_ce.mean(), grad


def hard_mean(z, y):
    ce, ce_grad = hard(z, y)
    return ce.mean(), ce_grad / len(y)
