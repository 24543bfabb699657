"""OLS, MaxSup, CS-KD, DLB and the student swap through `drkd.fit`: they learn, and resume to the bit."""

import pytest
import torch

import drkd
from drkd.data.loader import Loader
from drkd.methods.registry import create

METHODS = ("ols", "max_sup", "cs_kd", "dlb")


def network(name="mlp"):
    torch.manual_seed(0)
    return drkd.create_model(name, num_classes=10, image_size=8, channels=1)


def weights(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=120)


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize(("every", "into_the_epoch"), [("epoch", 0), (3, 4), (4, 2)])
@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(data, tmp_path, name, every, into_the_epoch):
    """Five steps an epoch: gone on with at an epoch's end, and after 4 and 2 steps of one."""

    def start(out, cut_after=None, resume=False):
        def cut(row):
            if row["epoch"] == cut_after:
                raise PowerCutError

        student = network("small_cnn")
        options = {"epochs": 4, "batch_size": 25, "out": out, "checkpoint_every": every}
        done = drkd.fit(student, create(name, {}), data, **options, resume=resume, on_epoch=cut)
        return weights(student), done.history, (out / "metrics.csv").read_bytes()

    whole = start(tmp_path / "whole")
    with pytest.raises(PowerCutError):
        start(tmp_path / "cut", cut_after=2 if every == 4 else 1)
    last = (tmp_path / "cut" / "checkpoints" / "last").resolve().name
    assert int(last.removeprefix("step-")) % 5 == into_the_epoch
    resumed = start(tmp_path / "cut", resume=True)
    assert torch.equal(resumed[0], whole[0])
    assert resumed[1:] == whole[1:]


@pytest.mark.parametrize("name", METHODS)
def test_two_epochs_on_digits_learn(name):
    """Chance is 10%; every part of the loss is among the columns and was of effect."""
    digits = drkd.load_data("digits")
    student = network()
    done = drkd.fit(student, create(name, {}), digits, epochs=2, batch_size=25)
    assert drkd.evaluate(student, digits, "val").accuracy > 0.7
    soft = "max" if name == "max_sup" else "soft"
    for row in done.history:
        assert row[soft] > 0.01
        assert row["loss"] == pytest.approx(row["ce"] + row[soft])
    assert done.history[1]["ce"] < done.history[0]["ce"]


@pytest.mark.parametrize("name", METHODS)
def test_each_method_trains_another_network_than_cross_entropy(data, name):
    """The batches' new rows are the same, so what differs is the method's doing."""
    ours, plain = network(), network()
    drkd.fit(ours, create(name, {}), data, epochs=2, batch_size=25)
    drkd.fit(plain, drkd.cross_entropy(), data, epochs=2, batch_size=25)
    assert not torch.allclose(weights(ours), weights(plain), atol=1e-3)


@pytest.mark.parametrize("name", ["cs_kd", "dlb"])
def test_train_accuracy_is_over_the_rows_that_count(data, name):
    """Partners are not counted, replayed rows are: by hand, for an epoch whose weights do not move."""
    student = network()
    objective = create(name, {})
    done = drkd.fit(student, objective, data, epochs=1, batch_size=25, lr=1e-12)
    loader = Loader(data, data.train, batch_size=25, training=True, needs=objective.needs)
    right, rows = 0, 0
    for batch in loader.batches():
        counted = batch.labels != -100
        right += int((network()(batch.inputs).argmax(1) == batch.labels)[counted].sum())
        rows += int(counted.sum())
    assert rows == {"cs_kd": 120, "dlb": 120 + 100}[name]
    assert done.history[0]["train_accuracy"] == pytest.approx(right / rows)


def test_student_swap_leaves_the_measured_accuracy_alone(data):
    """Swapped logits are always right; the accuracy reported is that of the unswapped."""
    student, teacher = network(), network()
    objective = drkd.dr_kd(teacher, 0.5, student_swap=True)
    done = drkd.fit(student, objective, data, epochs=1, batch_size=120, lr=1e-12)
    batch = next(Loader(data, data.train, batch_size=120, training=True).batches())
    expected = (network()(batch.inputs).argmax(1) == batch.labels).double().mean().item()
    assert done.history[0]["train_accuracy"] == pytest.approx(expected)
    assert expected < 0.5


@pytest.mark.parametrize("rectify", ["smooth", "drop"])
def test_rectifiers_by_name_train_and_report_what_they_changed(data, rectify):
    teacher = network()
    done = drkd.fit(network(), drkd.dr_kd(teacher, rectify=rectify), data, epochs=2, batch_size=50)
    swapped = drkd.fit(network(), drkd.dr_kd(teacher), data, epochs=2, batch_size=50)
    assert [row["rectified"] for row in done.history] == [row["rectified"] for row in swapped.history]
    assert done.history[1]["loss"] != swapped.history[1]["loss"]
