"""What is averaged is what is measured, chosen, kept and deployed; the training itself does not notice."""

import copy
from fractions import Fraction

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import drkd
from drkd import Ema, InputError
from drkd.config import FitSettings, TrainConfig, resolve
from drkd.data.loader import Loader
from drkd.runs.training import train
from drkd.tasks.loading import load_model
from drkd.training.averaging import first_averaged_epoch
from drkd.training.step import Stepper

SMALL = {"epochs": 4, "batch_size": 30, "lr": 0.1, "schedule": "constant"}
KINDS = ["ema:0.6", "swa:0.5"]


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=100, augment="shift")


def network():
    """With batch norm, and with dropout, which draws random numbers in training mode."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 10)
    )


def after_epochs(data, average=None, **options):
    """The student's state as `on_epoch` sees it, epoch by epoch; the rows; the student."""
    student, states = network(), []
    keep = lambda row: states.append({name: value.double() for name, value in student.state_dict().items()})
    done = drkd.fit(student, drkd.cross_entropy(), data, average=average, on_epoch=keep, **{**SMALL, **options})
    return states, done, student


def losses(done):
    return [{name: value for name, value in row.items() if not name.startswith("val_")} for row in done.history]


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize("decay", [0.6, 1.0])
def test_ema_by_hand(data, decay):
    """An epoch is one step here, so the plain training shows every step's weights."""
    one_step = {"batch_size": 100, "epochs": 5}
    plain, expected = after_epochs(data, **one_step)[:2]
    found, done, _ = after_epochs(data, f"ema:{decay}", **one_step)
    average = {name: value.double() for name, value in network().state_dict().items()}
    for step, (now, ours) in enumerate(zip(plain, found, strict=True), start=1):
        kept = min(1 - 1 / (step + 1), decay)
        for name, value in now.items():
            counts = name.endswith("num_batches_tracked")
            average[name] = value if counts else kept * average[name] + (1 - kept) * value
            assert torch.allclose(ours[name], average[name], rtol=1e-5, atol=1e-6), (step, name)
    assert losses(done) == losses(expected)


@pytest.mark.parametrize(("begin", "first"), [(0.0, 0), (0.5, 1), (0.9, 3)])
def test_swa_by_hand(data, begin, first):
    """The mean of the weights at the ends of epochs; each batch norm has the mean of its batches' statistics."""
    plain, expected = after_epochs(data)[:2]
    found, done, _ = after_epochs(data, f"swa:{begin}")
    loader = Loader(data, data.train, batch_size=SMALL["batch_size"], training=True, seed=0)
    for epoch, ours in enumerate(found):
        if epoch < first:
            same(ours, plain[epoch])
            continue
        states = plain[first : epoch + 1]
        mean = {name: torch.stack([state[name] for state in states]).mean(0) for name in ours}
        hidden = [b.inputs.flatten(1).double() @ mean["1.weight"].T + mean["1.bias"] for b in loader.batches(epoch)]
        mean["2.running_mean"] = torch.stack([values.mean(0) for values in hidden]).mean(0)
        mean["2.running_var"] = torch.stack([values.var(0) for values in hidden]).mean(0)
        mean["2.num_batches_tracked"] = torch.tensor(len(hidden)).double()
        for name, value in mean.items():
            assert torch.allclose(ours[name], value, rtol=1e-4, atol=1e-5), (epoch, name)
    assert losses(done) == losses(expected)


@pytest.mark.parametrize("begin", ["0", "0.07", "0.25", "0.3", "0.5", "0.55", "0.75", "0.9", "0.99"])
def test_swa_begins_once_its_fraction_of_the_training_is_done(begin):
    """Not before, at the first epoch that ends then; by exact fractions, of up to 100 epochs."""
    for epochs in range(1, 101):
        first = first_averaged_epoch(FitSettings(epochs=epochs, average=f"swa:{begin}"))
        done = [epoch for epoch in range(epochs) if Fraction(epoch + 1, epochs) >= Fraction(begin)]
        assert first == done[0]


def test_frozen_norms_and_dropout_are_frozen_where_swa_measures_the_others(data):
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(64, 12), nn.BatchNorm1d(12), nn.Dropout(0.5))
    first[1].running_mean.fill_(3.0)
    student = nn.Sequential(nn.Flatten(), *first, nn.Linear(12, 12), nn.BatchNorm1d(12), nn.Linear(12, 10))
    options = {**SMALL, "epochs": 1, "average": "swa:0", "freeze": 1, "select": "last"}
    drkd.fit(student, drkd.cross_entropy(), data, **options)
    assert (first[1].running_mean == 3).all()
    loader = Loader(data, data.train, batch_size=SMALL["batch_size"], training=True, seed=0)
    means = torch.stack([student[:5](batch.inputs).mean(0) for batch in loader.batches(0)])
    assert torch.allclose(student[5].running_mean, means.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", KINDS)
def test_the_epoch_is_chosen_by_the_average_and_the_average_is_kept(data, average):
    states, done, student = after_epochs(data, average, epochs=8, lr=0.4)
    accuracies = [row["val_accuracy"] for row in done.history]
    first = 0 if average.startswith("ema") else 3
    assert done.best_epoch == max(range(first, 8), key=lambda epoch: (accuracies[epoch], epoch))
    same({name: value.double() for name, value in student.state_dict().items()}, states[done.best_epoch])
    assert drkd.evaluate(student, data, "val").accuracy == accuracies[done.best_epoch]
    assert accuracies != [row["val_accuracy"] for row in after_epochs(data, epochs=8, lr=0.4)[1].history]


def test_an_epoch_without_an_average_is_not_chosen(data):
    """With a learning rate that destroys what was learned, the best epochs are the early ones."""
    options = {"epochs": 6, "lr": 0.3, "schedule": "step", "milestones": [0.5], "gamma": 1.0}
    plain = after_epochs(data, **options)[1]
    averaged = after_epochs(data, "swa:0.9", **options)[1]
    assert averaged.best_epoch >= 4
    assert averaged.history[:4] == plain.history[:4]


@pytest.mark.parametrize("average", [*KINDS, "shared"])
def test_a_training_cut_within_an_epoch_ends_as_if_nothing_had_happened(data, tmp_path, average):
    def start(out, cut=False):
        student = network()
        method = drkd.online_dr_kd(source=Ema(student, 0.6)) if average == "shared" else drkd.cross_entropy()

        def stop(row):
            if cut and row["epoch"] == 2:
                raise KeyboardInterrupt

        kind = "ema" if average == "shared" else average
        options = {**SMALL, "average": kind, "checkpoint_every": 2, "resume": True, "out": tmp_path / out}
        history = drkd.fit(student, method, data, on_epoch=stop, **options).history
        return history, student.state_dict()

    whole = start("whole")
    with pytest.raises(KeyboardInterrupt):
        start("cut", cut=True)
    resumed = start("cut")
    assert resumed[0] == whole[0]
    same(resumed[1], whole[1])
    last = sorted((tmp_path / "whole" / "checkpoints" / "last").iterdir())
    assert ("average.safetensors" in [file.name for file in last]) == (average != "shared")
    for file in last:
        other = tmp_path / "cut" / "checkpoints" / "last" / file.name
        assert file.suffix == ".json" or file.read_bytes() == other.read_bytes()  # JSON holds times


def test_a_checkpoint_of_another_average_is_refused(data, tmp_path):
    after_epochs(data, "ema", out=tmp_path, epochs=1)
    for other in (None, "swa", "ema:0.5"):
        with pytest.raises(InputError, match=r"started with average=ema:0\.99, now it is"):
            after_epochs(data, other, out=tmp_path, epochs=1, resume=True)


def taught(data, monkeypatch, average, decay=0.6):
    """A training by an average of the student: the student, its teacher, and how often any average was updated."""
    student, updates, update = network(), [], Ema.update

    def counted(ema, epoch=0):
        updates.append(ema)
        update(ema, epoch)

    monkeypatch.setattr(Ema, "update", counted)
    ema = Ema(student, decay)
    done = drkd.fit(student, drkd.online_dr_kd(source=ema), data, average=average, select="last", **SMALL)
    return student, ema, len(updates) / done.step


@pytest.mark.parametrize("average", ["ema", "ema:0.6"])
def test_the_average_that_teaches_is_deployed_at_no_further_cost(data, monkeypatch, average):
    student, ema, updates_per_step = taught(data, monkeypatch, average)
    same(student.state_dict(), ema.average.state_dict())
    assert updates_per_step == 1


def test_another_decay_is_another_average(data, monkeypatch):
    student, ema, updates_per_step = taught(data, monkeypatch, "ema:0.5")
    assert not torch.equal(student[1].weight, ema.average[1].weight)
    assert updates_per_step == 2


def test_without_average_the_student_is_deployed(data, monkeypatch):
    student, ema, updates_per_step = taught(data, monkeypatch, None)
    assert not torch.equal(student[1].weight, ema.average[1].weight)
    assert updates_per_step == 1


def test_a_skipped_step_is_not_averaged(data, monkeypatch, tmp_path):
    """A scaled gradient that overflows skips its step."""
    step = Stepper.step
    skips = lambda stepper, batch: step(stepper, batch) and stepper.state.result.step % 2 == 0
    monkeypatch.setattr(Stepper, "step", skips)
    done = after_epochs(data, "ema", out=tmp_path)[1]
    saved = load_file(tmp_path / "checkpoints" / "last" / "average.safetensors")
    assert saved["updates"] == done.step / 2


def test_a_run_keeps_measures_and_loads_the_average(tmp_path):
    options = {"method": "cross_entropy", "limit_train": 60, "epochs": 3, "keep_epochs": [1], "average": "ema:0.6"}
    config, source = resolve(TrainConfig, options)
    summary = train(config, source, tmp_path / "run")
    data = drkd.load_data("digits", limit_train=60)
    torch.manual_seed(0)
    student, states = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1), []
    keep = lambda row: states.append(copy.deepcopy(student.state_dict()))
    done = drkd.fit(student, drkd.cross_entropy(), data, settings=config, on_epoch=keep)
    for path, epoch, measured in (
        ("model.safetensors", done.best_epoch, summary.test),
        ("epochs/epoch-1.safetensors", 1, summary.kept_epochs["1"]),
    ):
        loaded, info = load_model(tmp_path / "run" / path)
        same(loaded.state_dict(), states[epoch])
        assert measured == drkd.evaluate(loaded, data, temperature=info.temperature)
    checkpoint = tmp_path / "run" / "checkpoints" / "last"
    best, trained = (load_file(checkpoint / f"{name}.safetensors") for name in ("best", "student"))
    same(best, states[done.best_epoch])
    assert any(not torch.equal(value, states[-1][name]) for name, value in trained.items())


def test_a_self_teacher_is_not_averaged(tmp_path):
    config, source = resolve(TrainConfig, {"method": "dr_kd", "limit_train": 60, "epochs": 2, "average": "ema"})
    train(config, source, tmp_path / "run")
    plain, source = resolve(TrainConfig, {"method": "cross_entropy", "limit_train": 60, "epochs": 2})
    train(plain, source, tmp_path / "plain")
    files = [tmp_path / run / "model.safetensors" for run in ("run/teacher", "plain")]
    same(*map(load_file, files))


def test_a_detector_is_averaged_too(tmp_path):
    pytest.importorskip("torchvision")
    from drkd.tasks.detection import AtPositions, DetectionData, DetectionSplit, create_detector

    box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    images = list(torch.randint(0, 256, (4, 3, 48, 64), dtype=torch.uint8))
    split = DetectionSplit.of(images, [box] * 4)
    data = DetectionData("made up", ("cell",), 64, train=split, val=split, test=split)
    torch.manual_seed(0)
    start = create_detector("small_ssd", num_classes=1, image_size=64)
    student = copy.deepcopy(start)
    ema = Ema(AtPositions(student), 0.9)
    drkd.fit(student, drkd.online_dr_kd(source=ema), data, epochs=1, batch_size=2, average="ema", select="last")
    same(student.state_dict(), ema.average.detector.state_dict())
    drkd.fit(start, drkd.cross_entropy(), data, epochs=2, batch_size=2, average="swa:0")
    counted = [value.item() for name, value in start.state_dict().items() if name.endswith("num_batches_tracked")]
    assert set(counted) == {2}  # the two batches of one epoch, and none before
