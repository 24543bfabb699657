"""What the papers' public code computes, from the formulas: each function gives (loss, gradient to the student logits).

z student logits (N, K), v teacher logits (N, K), y labels (N,), a alpha, t temperature, m multiplier. The KL divergence
is averaged over N * K there. The gradients are the derivatives on paper, not automatic ones.
"""

import numpy as np


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def onehot(y, k):
    return np.eye(k)[y]


def cross_entropy(z, y):
    p = softmax(z)
    return -np.log(p[np.arange(len(y)), y]).mean(), (p - onehot(y, z.shape[1])) / len(y)


def kd(z, v, y, a, t, m=1.0):
    n, k = z.shape
    ce, ce_grad = cross_entropy(z, y)
    q, p = softmax(v / t), softmax(z / t)
    kl = (q * (np.log(q) - np.log(p))).sum() / (n * k)
    return (1 - a) * ce + a * t * t * m * kl, (1 - a) * ce_grad + a * t * t * m * (p - q) / (t * n * k)


def tf_kd_reg(z, y, a, t, m, correct_prob=0.99):
    n, k = z.shape
    ce, ce_grad = cross_entropy(z, y)
    teacher = np.full((n, k), (1 - correct_prob) / (k - 1))
    teacher[np.arange(n), y] = correct_prob
    u, p = softmax(teacher / t), softmax(z)
    kl = (u * (np.log(u) - np.log(p))).sum() / (n * k)
    return (1 - a) * ce + a * m * kl, (1 - a) * ce_grad + a * m * (p - u) / (n * k)


def label_smoothing(z, y, e):
    n, k = z.shape
    target = np.full((n, k), e / (k - 1))
    target[np.arange(n), y] = 1 - e
    p = softmax(z)
    return -(target * np.log(p)).sum() / n, (p - target) / n


def swapped(v, y):
    out = v.copy()
    for i, label in enumerate(y):
        top = int(np.argmax(v[i]))
        if v[i, top] > v[i, label]:
            out[i, top], out[i, label] = v[i, label], v[i, top]
    return out


def dr_kd(z, v, y, a, t, m=1.0):
    return kd(z, swapped(v, y), y, a, t, m)
