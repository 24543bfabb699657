from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

import drkd
from drkd import NonFiniteLossError
from drkd.config import ScheduleOptions
from drkd.data.augment_names import parse_augmentation
from drkd.data.datasets import Split
from drkd.data.images import LazyImages
from drkd.data.loader import Loader
from drkd.methods.registry import create
from drkd.training.learning_rate import learning_rate

SMALL = {"epochs": 3, "batch_size": 50}


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=120)


def network(name="mlp", seed=0):
    torch.manual_seed(seed)
    return drkd.create_model(name, num_classes=10, image_size=8, channels=1)


def weights(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


def test_sgd_training_equals_a_loop_written_out(data):
    """Momentum, weight decay, warm-up, schedule, clipping and the choice of the epoch, from their definitions."""
    student, ours = network(), network()
    plan = {"lr": 0.05, "epochs": 3, "warmup_epochs": 1.0, "schedule": "cosine"}
    schedule = ScheduleOptions(**plan)
    done = drkd.fit(ours, drkd.cross_entropy(), data, batch_size=50, clip_norm=0.5, weight_decay=1e-3, **plan)
    loader = Loader(data, data.train, batch_size=50, training=True)
    parameters = list(student.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    best, best_accuracy, step = None, -1.0, 0
    for epoch in range(3):
        for batch in loader.batches(epoch):
            rate = learning_rate(step, schedule, steps_per_epoch=len(loader))
            loss = nn.functional.cross_entropy(student(batch.inputs), batch.labels)
            gradients = torch.autograd.grad(loss, parameters)
            norm = torch.sqrt(sum((g**2).sum() for g in gradients))
            with torch.no_grad():
                for p, g, v in zip(parameters, gradients, velocity, strict=True):
                    v.mul_(0.9).add_(g * min(1.0, 0.5 / (norm + 1e-6)) + 1e-3 * p)
                    p.sub_(rate * v)
            step += 1
        accuracy = drkd.evaluate(student, data, "val").accuracy
        if accuracy >= best_accuracy:
            best, best_accuracy, best_epoch = weights(student), accuracy, epoch
    assert torch.allclose(weights(ours), best, atol=1e-6)
    assert done.best_epoch == best_epoch
    assert done.history[best_epoch]["val_accuracy"] == pytest.approx(best_accuracy)


def test_adamw_trains(data):
    done = drkd.fit(network(), drkd.cross_entropy(), data, optimizer="adamw", lr=0.01, epochs=12, batch_size=50)
    assert done.history[-1]["loss"] < 0.7 * done.history[0]["loss"]


@pytest.mark.parametrize("method", ["cross_entropy", "dr_kd", "ps_kd", "online_dr_kd"])
def test_two_runs_are_equal_to_the_bit(data, method):
    runs = []
    for _ in range(2):
        student = network("small_cnn")
        objective = create(method, {}, teacher=network("small_cnn", seed=1), epochs=3)
        runs.append((drkd.fit(student, objective, data, **SMALL).history, weights(student)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])


@pytest.mark.parametrize("method", ["dr_kd", "ps_kd", "online_dr_kd"])
@pytest.mark.parametrize("every", ["epoch", 2])
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(data, tmp_path, method, every):
    def start(out, resume=False, on_epoch=None):
        student = network("small_cnn")
        objective = create(method, {}, teacher=network("small_cnn", seed=1), epochs=4)
        options = {"epochs": 4, "batch_size": 25, "out": out, "checkpoint_every": every}
        done = drkd.fit(student, objective, data, **options, resume=resume, on_epoch=on_epoch)
        return weights(student), done.history, (out / "metrics.csv").read_bytes()

    class PowerCutError(Exception):
        pass

    def cut(row):
        if row["epoch"] == 1:
            raise PowerCutError

    whole = start(tmp_path / "whole")
    with pytest.raises(PowerCutError):
        start(tmp_path / "cut", on_epoch=cut)
    resumed = start(tmp_path / "cut", resume=True)
    assert torch.equal(resumed[0], whole[0])
    assert resumed[1:] == whole[1:]


@pytest.mark.parametrize(
    ("augment", "class_weights", "sampler"),
    [("crop_flip", None, "shuffled"), ("crop_flip+trivial+jitter+erasing", [1.0] * 9 + [5.0], "balanced")],
)
def test_a_run_resumes_with_another_number_of_workers_to_the_bit(data, tmp_path, augment, class_weights, sampler):
    """Images are decoded from files here."""
    files = [tmp_path / f"{number}.png" for number in range(60)]
    for file, pixels in zip(files, data.train.inputs, strict=False):
        Image.fromarray(pixels[0].numpy()).save(file)
    split = Split(LazyImages(files, 8, 1), data.train.labels[:60])
    lazy = replace(data, train=split, augmentation=parse_augmentation(augment))

    def start(out, workers, resume=False, stop=None):
        student = network("small_cnn")
        stop = (lambda row: 1 / 0 if row["epoch"] == 1 else None) if stop else None
        options = {"epochs": 3, "batch_size": 25, "checkpoint_every": 2, "resume": resume, "sampler": sampler}
        objective = drkd.ps_kd(class_weights=class_weights)
        done = drkd.fit(student, objective, lazy, out=out, workers=workers, on_epoch=stop, **options)
        return done.history, weights(student)

    whole = start(tmp_path / "whole", workers=None)
    with pytest.raises(ZeroDivisionError):
        start(tmp_path / "cut", workers=0, stop=True)
    resumed = start(tmp_path / "cut", workers=3, resume=True)
    assert resumed[0] == whole[0]
    assert torch.equal(resumed[1], whole[1])


def test_the_last_step_is_saved_whenever_checkpoints_are_due(data, tmp_path):
    """What follows it, such as measuring the test split, may be cut."""
    options = {**SMALL, "out": tmp_path, "checkpoint_every": 1000}
    whole = drkd.fit(network(), drkd.cross_entropy(), data, **options)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == [f"step-{whole.step}"]
    no_step = drkd.fit(network(seed=1), drkd.cross_entropy(), data, **options, resume=True)
    assert no_step.history == whole.history


def test_resume_in_the_running_average_too(data, tmp_path):
    def start(out, epochs_before_cut=None):
        student = network()
        objective = drkd.online_dr_kd(source=drkd.Ema(student))
        stop = lambda row: 1 / 0 if row["epoch"] == epochs_before_cut else None
        return weights(student), drkd.fit(
            student, objective, data, **SMALL, out=out, resume=True, on_epoch=stop
        ).history

    whole = start(tmp_path / "whole")[1]
    with pytest.raises(ZeroDivisionError):
        start(tmp_path / "cut", epochs_before_cut=0)
    assert start(tmp_path / "cut")[1] == whole


def test_the_student_is_left_at_its_best_epoch_in_eval_mode(data):
    student = network()
    done = drkd.fit(student, drkd.cross_entropy(), data, epochs=6, batch_size=50, lr=0.3)
    accuracies = [row["val_accuracy"] for row in done.history]
    assert done.best_epoch == max(range(6), key=lambda epoch: (accuracies[epoch], epoch))
    assert drkd.evaluate(student, data, "val").accuracy == accuracies[done.best_epoch]
    assert not student.training


def test_the_last_epoch_is_kept_where_it_is_asked_for(data, tmp_path):
    settings = {"epochs": 6, "batch_size": 50, "lr": 0.5, "schedule": "constant"}
    student, longer = network(), network()
    done = drkd.fit(student, drkd.cross_entropy(), data, select="last", out=tmp_path, **settings)
    accuracies = [row["val_accuracy"] for row in done.history]
    assert done.best_epoch == 5
    assert drkd.evaluate(student, data, "val").accuracy == accuracies[5] < max(accuracies)
    unchosen = drkd.fit(longer, drkd.cross_entropy(), data, **settings)
    assert unchosen.history == done.history
    assert unchosen.best_epoch < 5
    assert (tmp_path / "checkpoints" / "best").resolve() == (tmp_path / "checkpoints" / "last").resolve()


def test_the_test_split_is_never_read(data):
    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError("the test split was read")

    blind = drkd.Data(**{**vars(data), "test": Untouchable()})
    assert drkd.fit(network(), drkd.cross_entropy(), blind, **SMALL).step == 9


def test_rows_name_every_part_of_the_loss(data):
    done = drkd.fit(network(), drkd.dr_kd(network(seed=1)), data, **SMALL)
    row = done.history[0]
    assert list(row) == [
        *("epoch", "lr", "loss", "ce", "soft", "soft_kl", "rectified", "train_accuracy", "val_accuracy", "val_nll")
    ]
    assert row["loss"] == pytest.approx(row["ce"] + row["soft"])
    assert 0 < row["rectified"] < 1


def test_a_teacher_without_mistakes_is_warned_of(data):
    right = lambda inputs: torch.zeros(len(inputs), 10)  # a tie everywhere: the label attains the maximum
    with pytest.warns(UserWarning, match="nothing to rectify"):
        drkd.fit(network(), drkd.dr_kd(right), data, **SMALL)


@pytest.mark.parametrize("batch_size", [120, 60, 40])
def test_parts_are_means_over_the_batches_on_which_their_term_has_a_weight(data, tmp_path, batch_size):
    """Every target is changed; in the first batch, which may be the first epoch, the rising weight is 0."""
    asked = []

    def teacher(inputs):
        asked.append(len(inputs))
        return torch.zeros(len(inputs), 10)

    objective = drkd.dr_kd(teacher, rectify=lambda logits, labels: logits + 1.0, alpha_schedule="rising")
    done = drkd.fit(network(), objective, data, epochs=2, batch_size=batch_size, out=tmp_path)
    first, second = done.history
    assert second["rectified"] == 1.0
    assert first.get("rectified") == (None if batch_size >= len(data.train) else 1.0)
    assert sum(asked) == 2 * len(data.train) - min(batch_size, len(data.train))


def test_an_explosion_stops_at_once_and_names_step_and_method(data):
    with pytest.raises(NonFiniteLossError, match=r"step \d+: the loss of `cross_entropy` is NaN or infinite"):
        drkd.fit(network(), drkd.cross_entropy(), data, lr=1e6, **SMALL)


class Steep(nn.Module):
    """A network with a finite value and an infinite slope at 0."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, inputs):
        return (self.layer(inputs.flatten(1)) * 0).sqrt()


def test_a_gradient_that_is_not_finite_stops_before_the_update(data, tmp_path):
    """And keeps the last good checkpoint."""
    student = Steep()
    before = weights(student)
    with pytest.raises(
        NonFiniteLossError, match=r"step 0: the gradient of `cross_entropy` of layer.weight and 1 more is"
    ):
        drkd.fit(student, drkd.cross_entropy(), data, **SMALL)
    assert torch.equal(weights(student), before)


@pytest.mark.parametrize("distributions", [False, True])
def test_rows_that_the_objective_ignores_do_not_count_in_the_means(data, distributions):
    """Class 3 is ignored; at a learning rate of almost nothing each batch is answered as by the untrained network."""
    student, start, labels = network(), network(), data.train.labels
    votes = nn.functional.one_hot(labels, 10).float() if distributions else None
    marked = replace(data, train=replace(data.train, probs=votes))
    options = {"epochs": 1, "batch_size": 8, "lr": 1e-12, "select": "last"}
    (row,) = drkd.fit(student, drkd.cross_entropy(ignore_index=3), marked, **options).history
    batches = list(Loader(data, data.train, batch_size=8, training=True).batches())
    logits = torch.cat([start.train()(batch.inputs) for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    counted = labels != 3
    assert 0 < (~counted).sum() < len(labels)
    expected = nn.functional.cross_entropy(logits[counted], labels[counted])
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)
    right = logits[counted].argmax(1) == labels[counted]
    assert row["train_accuracy"] == pytest.approx(right.double().mean().item())
