"""Every public name of drkd once, with types: `mypy --strict` and `pyright` in strict mode accept this file.

python examples/api.py      (ten seconds on one core; needs drkd[onnx])
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import drkd

IMAGES, LABELS, INDEX = torch.rand(8, 1, 8, 8), torch.arange(8), torch.arange(8)


def network() -> nn.Module:
    """The same weights every time."""
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # torch's own
    return drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)


def methods(teacher: nn.Module, student: nn.Module) -> Iterator[drkd.Objective]:
    """Every method; the last two are put together by hand."""
    yield from (drkd.cross_entropy(), drkd.label_smoothing(0.1), drkd.ols(), drkd.max_sup(), drkd.tf_kd_reg())
    yield from (drkd.kd(teacher), drkd.tf_kd_self(teacher), drkd.dr_kd(teacher, alpha=0.5, temperature=4.0))
    yield from (drkd.ps_kd(), drkd.online_dr_kd(source=drkd.Ema(student, decay=0.9)), drkd.cs_kd(), drkd.dlb())
    yield from (drkd.kd_clean_view(teacher), drkd.tf_kd_self_clean_view(teacher), drkd.dr_kd_clean_view(teacher))
    hard = drkd.Term(drkd.OneHot(), 0.7, name="ce")
    kinds: list[drkd.Target] = [drkd.Uniform(), drkd.Virtual(), drkd.Rectified(drkd.Frozen(teacher)), drkd.Memory(8)]
    kinds += [drkd.ClassMean(), drkd.LastBatch(), drkd.CleanView(teacher), drkd.Partner()]
    kinds += [drkd.CrossFitted([teacher, student], INDEX % 2)]
    soft = [drkd.Term(kind, 0.3, name=type(kind).__name__) for kind in kinds]
    yield drkd.Objective("by hand", [hard, soft[0], soft[2]])
    yield drkd.Objective("penalty", [hard, drkd.Penalty(lambda logits: logits.square().mean(dim=1), 0.01, name="size")])


def in_your_own_loop(objective: drkd.Objective, student: nn.Module) -> dict[str, Tensor]:
    """One step with integer labels or mixed ones."""
    mixed = drkd.MixedLabels(torch.eye(10)[LABELS])
    logits: Tensor = student(IMAGES)
    losses = objective(logits, mixed if objective.name == "cross_entropy" else LABELS, inputs=IMAGES, index=INDEX)
    losses["loss"].backward()
    objective.update(progress=1.0, epoch=1)
    parts: dict[str, Tensor] = losses
    return parts


def arithmetic(student: Tensor, teacher: Tensor) -> tuple[float, float]:
    """What the losses are made of; and a target asked by hand, its answers on disk."""
    swapped = drkd.swap(teacher, LABELS)
    answer: drkd.TargetOutput = drkd.Virtual()(drkd.StudentBatch(student, LABELS))
    assert answer.logits is not None
    with tempfile.TemporaryDirectory() as folder:
        cache = drkd.TeacherCache(Path(folder), {"teacher": "its hash"}, limit=10**6)
        cache.write(0, np.zeros((8, 10), dtype=np.float16))
        assert drkd.Cached(drkd.Frozen(network()), cache, samples=8).needs == {"inputs", "index"}
    return drkd.soft_cross_entropy(student, swapped).mean().item(), drkd.kl_divergence(
        student, answer.logits
    ).mean().item()


def trained(data: drkd.Data) -> drkd.Metrics:
    """`fit`, its data, and what the tests split says."""
    result: drkd.TrainResult = drkd.fit(student := network(), drkd.dr_kd(network()), data, epochs=2, batch_size=50)
    twice: drkd.SelfDistillation = drkd.self_distill(network(), data, drkd.dr_kd, epochs=2, batch_size=50)
    own = drkd.from_tensors((IMAGES, LABELS), (IMAGES, LABELS), validation=0.0)
    split: drkd.Split = drkd.as_data(own, validation=0.0).train
    classifier, seen = drkd.extract_features(network(), drkd.load_data("digits", limit_train=100, augment="none"))
    assert len(split) == 8
    assert seen.train.inputs.shape[1] == classifier.in_features
    print(f"{result.step} steps, self-teacher {twice.self_teacher_test.accuracy:.2f}, preprocessing", preprocessing())
    temperature: float = drkd.fit_temperature(torch.randn(50, 10), torch.arange(50) % 10)
    return drkd.evaluate(student, data, "test", temperature=temperature)


def preprocessing() -> drkd.Preprocessing:
    """What pretrained weights would ask for; there are none for a network from scratch."""
    start: drkd.Start | None = drkd.find_start("mlp")
    found = None if start is None else start.preprocessing
    return found or drkd.Preprocessing(image_size=8, mean=(0.5,), std=(0.5,))


def studies(folder: Path) -> Path:
    """A comparison, a search, suspect labels, and a row of a paper, which takes a minute; a run of the comparison."""
    small = drkd.compare(
        methods=["dr_kd"], label_noise=[0], seeds=1, epochs=2, limit_train=100, jobs=1, out=folder / "c"
    )
    compared: drkd.Comparison = small
    numbers: drkd.ComparisonResults = compared.results
    tuned: drkd.Tuned = drkd.tune(search=["method"], trials=1, epochs=1, limit_train=100, jobs=1, out=folder / "t")
    reproduced: Callable[..., drkd.Reproduction] = drkd.reproduce  # ("tf_kd/cifar100/mobilenetv2-self", miniature=True)
    run = next(compared.out.rglob("cross_entropy/summary.json")).parent
    suspects: drkd.Suspects = drkd.find_suspects(run, asked="memory")
    summary: drkd.RunSummary = drkd.RunSummary.read(run)
    print(len(numbers.panels), summary.method, tuned.best, suspects.images[0].image, reproduced.__name__)
    return run


def deployed(run: Path, folder: Path) -> None:
    """From a run to files, predictions and a model card."""
    info: drkd.ModelInfo = drkd.load_model(run)[1]
    file = drkd.export_run(run, "onnx", tolerance=drkd.Tolerance(1e-3, 0.99, 0.01)).path
    answers = drkd.open_session(file, threads=1)(np.zeros((1, 1, 8, 8), dtype=np.uint8))
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(folder / "black.png")
    for found in drkd.predict_files(run, folder / "black.png", boxes=drkd.BoxOptions()):
        shown: drkd.Prediction | drkd.FoundBox | drkd.FoundMask = found
        print(shown.file, shown.counts if isinstance(shown, drkd.FoundMask) else shown.label, answers.shape, info.model)
    milliseconds = drkd.bench_files([file], calls=3, memory=False).files
    hub: drkd.HubModel = drkd.HubModel.from_pretrained(str(drkd.push_run(run, out=folder / "hub").folder))
    print(len(milliseconds), hub.info.classes)


def main() -> None:
    """Everything, on 100 digits."""
    for objective in methods(network(), student := network()):
        if objective.needs <= {"inputs", "index"} and "clean_view" not in objective.name:  # others need a loader
            print(f"{objective.name:20} {in_your_own_loop(objective, student)['loss'].item():.3f}")
    print(arithmetic(torch.randn(8, 10), torch.randn(8, 10)), drkd.__version__)
    data: drkd.Data = drkd.load_data("digits", limit_train=100)
    print(f"accuracy {trained(data).accuracy:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        deployed(studies(Path(folder)), Path(folder))
    for refused in (drkd.InputError, drkd.NonFiniteLossError, drkd.ParityError, drkd.StorageError):
        print(refused.__name__, "is a", refused.__mro__[1].__name__)


if __name__ == "__main__":
    main()
