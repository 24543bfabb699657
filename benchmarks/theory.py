"""The numbers, tables and figures of docs/theory.md, computed with drkd's own functions in float64.

    python benchmarks/theory.py [--out DIR]    # writes docs/theory/*.md and docs/images/theory-*.svg, or below DIR

A function per section of the page, in its order. Errors that are rounding alone are printed as measured; the tables
give a bound for them, so that every machine writes the same tables.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import drkd

BLUE, RED, GREEN = "#0072b2", "#d55e00", "#009e73"
TF_KD_REG = {  # alpha, T, multiplier, learning rate: the public settings that run; they serve every data set
    "MobileNetV2": (0.95, 40.0, 1.0, 0.1),
    "ShuffleNetV2": (0.95, 10.0, 1.0, 0.1),
    "ResNet18": (0.1, 20.0, 100.0, 0.1),
    "GoogLeNet": (0.1, 40.0, 50.0, 0.05),
}
SELF_KD = {  # alpha, T, multiplier: the public settings of Tf-KD_self and DR-KD
    "MobileNetV2, ShuffleNetV2": (0.95, 20.0, 1.0),
    "ResNet18": (0.95, 6.0, 50.0),
    "GoogLeNet": (0.4, 20.0, 50.0),
    "DenseNet121": (0.9, 20.0, 50.0),
    "ResNeXt29": (0.9, 20.0, 100.0),
}
CLASSES = {"CIFAR-10": 10, "CIFAR-100": 100, "Tiny ImageNet": 200}
LEARNING_RATE, WEIGHT_DECAY = 0.1, 5e-4
ECHO = torch.nn.Identity()  # a teacher whose logits are its inputs


class Page:
    """Writes what the page includes: tables and figures, and at the end the list of the identities checked."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.checked: list[list[str]] = []
        for folder in ("theory", "images"):
            (out / folder).mkdir(parents=True, exist_ok=True)

    def table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
        print(f"\n{name}", *lines, sep="\n")
        text = "\n".join(["<!-- made by benchmarks/theory.py -->", "", *lines, ""])
        (self.out / "theory" / f"{name}.md").write_text(text, encoding="utf-8", newline="\n")

    def figure(self, name: str, drawing: Figure) -> None:
        drawing.savefig(self.out / "images" / f"theory-{name}.svg", metadata={"Date": None, "Creator": None})

    def identity(self, words: str, over: str, errors: Sequence[float]) -> None:
        print(f"\n{words}: largest relative error {max(errors):.1e}")
        self.checked.append([words, over, "below 1e-12" if max(errors) < 1e-12 else f"{max(errors):.1e}"])


def batch(classes: int, rows: int = 256) -> tuple[Tensor, Tensor, Tensor]:
    """Student logits, teacher logits, labels: normal, deviation 2, plus 3 (student) or 6 (teacher) on the label."""
    rng = np.random.default_rng(classes)
    labels = torch.from_numpy(rng.integers(0, classes, rows))
    noise = torch.from_numpy(2 * rng.normal(size=(2, rows, classes)))
    right = torch.nn.functional.one_hot(labels, classes)
    return noise[0] + 3 * right, noise[1] + 6 * right, labels


def gradient(method: Callable, logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> Tensor:
    """The derivative to the logits of every row's loss: of an objective, or of a plain loss without reduction."""
    leaf = logits.clone().requires_grad_()
    loss = method(leaf, labels, inputs=teacher)["loss"] if isinstance(method, drkd.Objective) else method(leaf, labels)
    return torch.autograd.grad(loss.sum(), leaf)[0]


def distance(one: Tensor, other: Tensor) -> float:
    """Relative to the second: the norm of the difference over its norm."""
    return ((one - other).norm() / other.norm()).item()


def learned_smoothing(page: Page) -> None:
    """1: KD is label smoothing with a learned distribution; what the temperature does to it."""
    z, v, y = batch(100)
    p, uniform, matching = z.softmax(1), torch.full_like(z, 1 / 100), (z - v - (z - v).mean(1, keepdim=True)) / 100
    kd = gradient(drkd.kd(ECHO, 0.1, 1.0, reduction="none"), z, y, 0 * v)
    smoothing = gradient(drkd.label_smoothing(0.1, reduction="none"), z, y)
    page.identity("KD from a uniform teacher at $T = 1$ is label smoothing", "K = 100", [distance(kd, smoothing)])
    rows, errors = [], []
    for t in (1, 2, 5, 10, 20, 40, 100):
        q = (v / t).softmax(1)
        tempered = drkd.kd(ECHO, 1.0, t, reduction="none")  # T^2 CE, both sides softened
        soft, flat = gradient(tempered, z, y, v), gradient(tempered, z, y, 0 * v)
        plain = gradient(partial(drkd.soft_cross_entropy, target_temperature=t), z, v)
        errors += [distance(soft, t * ((z / t).softmax(1) - q)), distance(plain, p - q)]
        pairs = (q, uniform), (plain, p - uniform), (soft, flat), (soft, matching)
        rows.append((t, *(distance(*pair) for pair in pairs)))
    page.identity("the soft gradients are $p - v_T$ and $T (z_T - v_T)$", "K = 100; T = 1 to 100", errors)
    header = ["T", "teacher from uniform", "student at 1: from label smoothing"]
    header += ["student at T: from a uniform teacher", "student at T: from logit matching"]
    page.table("temperature", header, [[f"{t}", *(f"{x:.3f}" for x in rest)] for t, *rest in rows])
    axes = Figure(figsize=(5, 3.3), layout="constrained").subplots()
    axes.set_prop_cycle(color=(BLUE, RED, GREEN))
    axes.loglog([t for t, *_ in rows], np.array(rows)[:, 2:], marker="o", markersize=3, label=header[2:])
    axes.set(xlabel="temperature", ylabel="relative distance of the gradients", ylim=(4e-3, 4))
    axes.legend(fontsize=7, frameon=False, loc="lower left")
    page.figure("temperature", axes.figure)


def virtual_target(k: int, t: float, *, code: bool) -> tuple[float, float]:
    """What the softened virtual teacher gives the label and each other class: the paper's formula, or the code's."""
    batch = drkd.StudentBatch(torch.zeros(1, k, dtype=torch.float64), torch.tensor([0]))
    teacher = drkd.Virtual(0.99, probs_as_logits=code)(batch).logits
    return tuple((teacher / t).softmax(1)[0, :2].tolist())


def virtual_teacher(page: Page) -> None:
    """2: the virtual teacher in the paper and in the public code."""
    rows = []
    for k, t in product((10, 100), (1, 5, 10, 20, 40)):
        rows.append([f"{k}", f"{t}", *(f"{x:.5g}" for code in (False, True) for x in virtual_target(k, t, code=code))])
    page.table("virtual", ["K", "T", "paper: label", "paper: others", "code: label", "code: others"], rows)
    temperatures, drawing = np.geomspace(1, 40, 60), Figure(figsize=(8.8, 3.3), layout="constrained")
    for axes, k in zip(drawing.subplots(1, 2), (10, 100), strict=True):
        for code, words, colour in ((False, "paper", BLUE), (True, "public code", RED)):
            on_label = [virtual_target(k, t, code=code)[0] for t in temperatures]
            axes.loglog(temperatures, on_label, color=colour, label=words)
        axes.axhline(1 / k, color="#555555", linewidth=0.8, linestyle="--", label="uniform")
        axes.set(title=f"K = {k}", xlabel="temperature", ylabel="probability of the label", ylim=(0.6 / k, 1.5))
        axes.legend(fontsize=8, frameon=False)
    page.figure("virtual", drawing)


def scaled_smoothing(k: int, alpha: float, t: float, multiplier: float) -> tuple[float, float]:
    """The s and epsilon with which the public Tf-KD_reg is s * CE(label smoothing epsilon)."""
    published = drkd.tf_kd_reg(0.99, alpha, t, convention="reference", multiplier=multiplier)
    weights = published.effective_weights(num_classes=k)
    s = sum(weights.values())
    return s, weights["soft"] * k * virtual_target(k, t, code=True)[1] / s


def public_regulariser(page: Page) -> None:
    """3: Tf-KD_reg as coded is scaled label smoothing. The last two columns are for 4."""
    rows, errors = [], []
    for (data, k), (network, (alpha, t, m, lr)) in product(CLASSES.items(), TF_KD_REG.items()):
        s, epsilon = scaled_smoothing(k, alpha, t, m)
        z, _, y = batch(k)
        published = drkd.tf_kd_reg(0.99, alpha, t, convention="reference", multiplier=m, reduction="none")
        smoothing = torch.nn.CrossEntropyLoss(label_smoothing=epsilon, reduction="none")
        errors.append(distance(gradient(published, z, y), s * gradient(smoothing, z, y)))
        at_one = scaled_smoothing(k, alpha, 1.0, m)[1]
        numbers = f"{s:.4g}", f"{epsilon:.4g}", f"{at_one:.4g}", f"{s * lr:.4g}", f"{WEIGHT_DECAY / s:.2g}"
        rows.append([data, network, *(f"{x:g}" for x in (alpha, t, m)), *numbers])
    header = ["data", "network", "alpha", "T", "m", "$s$", "$\\epsilon$", "at T = 1", "$s \\eta$", "$\\lambda / s$"]
    page.table("regulariser", header, rows)
    page.identity("Tf-KD_reg as coded is $s$ times label smoothing $\\epsilon$", "the 12 rows", errors)


def trained(objective: drkd.Objective, lr: float, weight_decay: float, scale: float = 1.0) -> Tensor:
    """The weights of a 20-32-100 network after 200 steps of SGD with momentum; the learning rate falls at step 150."""
    rng = np.random.default_rng(4)
    inputs, labels = torch.from_numpy(rng.normal(size=(256, 20))), torch.from_numpy(rng.integers(0, 100, 256))
    layers = [torch.from_numpy(0.3 * rng.normal(size=size)).requires_grad_() for size in ((20, 32), (32, 100))]
    optimizer = torch.optim.SGD(layers, lr=lr, momentum=0.9, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [150], gamma=0.2)
    for step in range(200):
        rows = torch.arange(64 * step, 64 * (step + 1)) % 256
        loss = scale * objective((inputs[rows] @ layers[0]).tanh() @ layers[1], labels[rows])["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return torch.cat([layer.detach().flatten() for layer in layers])


def scaled_loss(page: Page) -> None:
    """4: a loss times s is the loss at another learning rate and weight decay."""
    smoothing, rows, errors = drkd.label_smoothing(0.1), [], []
    plain = trained(smoothing, LEARNING_RATE, WEIGHT_DECAY)
    for s in (0.0595, 0.5, 1.9):
        scaled = trained(smoothing, LEARNING_RATE, WEIGHT_DECAY, scale=s)
        errors.append(distance(scaled, trained(smoothing, s * LEARNING_RATE, WEIGHT_DECAY / s)))
        rows.append([f"{s:g}", f"{distance(scaled, plain):.2f}"])
    page.table("steps", ["$s$", "distance from $s = 1$"], rows)
    page.identity("a loss times $s$ is $s \\eta$ and $\\lambda / s$", "these $s$; 200 steps", errors)
    published = trained(drkd.tf_kd_reg(0.99, 0.95, 40.0, convention="reference"), LEARNING_RATE, WEIGHT_DECAY)
    s, epsilon = scaled_smoothing(100, 0.95, 40.0, 1.0)
    twin = trained(drkd.label_smoothing(epsilon), s * LEARNING_RATE, WEIGHT_DECAY / s)
    page.identity("MobileNetV2's CIFAR-100 row, trained both ways", "200 steps", [distance(published, twin)])


def rectification(page: Page) -> None:
    """5: what the swap changes in the target, and in the gradient."""
    rows, entropies, changes, over = [], [], [], "K = 10, 100; T = 1, 4, 20"
    for k, t in product((10, 100), (1.0, 4.0, 20.0)):
        z, v, y = batch(k)
        both = torch.stack([y, v.argmax(1)], 1)  # label and top
        wrong, gap = both[:, 0] != both[:, 1], v.gather(1, both).diff().squeeze(1)
        entropies.append(distance(*(drkd.soft_cross_entropy(w / t, w / t) for w in (drkd.swap(v, y), v))))
        plain = gradient(drkd.tf_kd_self(ECHO, 1.0, t, reduction="none"), z, y, v)
        rectified = gradient(drkd.dr_kd(ECHO, 1.0, t, reduction="none"), z, y, v)
        label, top = (v / t).softmax(1).gather(1, both).T
        pull = t * (top - label)
        expected = torch.zeros_like(z).scatter(1, both, torch.stack([-pull, pull], 1))
        changes.append(distance(rectified - plain, expected))
        numbers = *(x[wrong].mean() for x in (top, label, pull, gap / k)), expected[wrong].norm() / plain[wrong].norm()
        rows.append([f"{k}", f"{t:g}", *(f"{number.item():.3f}" for number in numbers)])
    page.table("swap", ["K", "T", "old top", "label", "T times the difference", "its limit", "share"], rows)
    page.identity("the swap keeps the entropy", over, entropies)
    page.identity("DR-KD minus Tf-KD_self, all classes and rows", over, changes)


def weights_by_classes(page: Page) -> None:
    """5: the public code's weight of the soft target by K, and the swap's pull on the label's logit."""
    rows, pulls = [], []
    for network, settings in SELF_KD.items():
        published = drkd.dr_kd(ECHO, *settings[:2], convention="reference", multiplier=settings[2])
        weights = [published.effective_weights(num_classes=k) for k in CLASSES.values()]
        numbers = *settings, *(weight["soft"] for weight in weights), weights[0]["ce"]
        rows.append([network, *(f"{number:.4g}" for number in numbers)])
    page.table("weights", ["network", "alpha", "T", "m", "K = 10", "K = 100", "K = 200", "labels"], rows)
    own, public = drkd.dr_kd(ECHO, 0.95, 6.0), drkd.dr_kd(ECHO, 0.95, 6.0, convention="reference", multiplier=50.0)
    for k in (10, 100, 200, 1000):
        top, label, *_ = (torch.tensor([5.0, 3.0] + [0.0] * (k - 2), dtype=torch.float64) / 6).softmax(0).tolist()
        ours, theirs = (each.effective_weights(num_classes=k)["soft"] * (top - label) / 6 for each in (own, public))
        pulls.append([f"{k}", f"{ours:.3g}", f"{theirs:.3g}", f"{theirs / (1 - 0.95):.2g}"])
    page.table("pull", ["K", "drkd", "public code", "public code, over $1 - \\alpha$"], pulls)


SECTIONS = (learned_smoothing, virtual_teacher, public_regulariser, scaled_loss, rectification, weights_by_classes)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "docs")
    page = Page(parser.parse_args(arguments).out)
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": "drkd"}):
        warnings.filterwarnings("ignore", message=".*weighs its soft target")  # extreme weights are the subject here
        for section in SECTIONS:
            section(page)
    page.table("identities", ["identity", "checked over", "largest relative error"], page.checked)


if __name__ == "__main__":
    main()
