"""Trainings with mixed images: to the bit, resumed to the bit, without effect where none is asked for."""

import pytest
import torch

import drkd
from drkd.config import FitSettings, TrainConfig
from drkd.methods.registry import create
from drkd.objective.objective import Objective
from drkd.runs.building import describe_weights
from drkd.tasks import get_task

MIXED = {"epochs": 3, "batch_size": 40, "mixup": 0.2, "cutmix": 1.0}


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=100)


def network(seed=0):
    torch.manual_seed(seed)
    return drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)


def weights(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


def make(name, **settings):
    return create(name, settings, teacher=network(seed=1), student=network(), epochs=3)


@pytest.mark.parametrize("name", ["dr_kd", "ps_kd", "ols"])
def test_a_training_that_was_stopped_resumes_to_the_bit(data, name, tmp_path):
    whole, resumed = network(), network()
    expected = drkd.fit(whole, make(name), data, **MIXED)
    objective = make(name)
    update, calls = objective.update, []

    def stop(**progress):
        update(**progress)
        calls.append(progress)
        if len(calls) == 5:  # in the middle of the second epoch, of 3 steps; a checkpoint was written after 4
            raise KeyboardInterrupt

    objective.update = stop
    with pytest.raises(KeyboardInterrupt):
        drkd.fit(resumed, objective, data, out=tmp_path, checkpoint_every="2", **MIXED)
    found = drkd.fit(resumed, make(name), data, out=tmp_path, resume=True, **MIXED)
    assert found.history == expected.history
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("name", ["cs_kd", "dlb"])
def test_methods_that_pair_images_refuse_at_once(data, name):
    message = f"`{name}` takes no --mixup and --cutmix: it needs .*; leave them out"
    with pytest.raises(drkd.InputError, match=message):
        drkd.fit(network(), make(name), data, epochs=1, cutmix=1.0)
    with pytest.raises(drkd.InputError, match=message):
        describe_weights(TrainConfig(method=name, mixup=0.2))
    drkd.fit(network(), make(name), data, settings=FitSettings(epochs=1, mix_prob=1.0))  # nothing is mixed


@pytest.mark.parametrize("name", ["ps_kd", "online_dr_kd", "ols"])
def test_methods_that_remember_want_images_that_are_not_mixed(data, name):
    with pytest.raises(
        drkd.InputError, match=f"`{name}` learns from unmixed images, and with --mix-prob 1 there are none"
    ):
        drkd.fit(network(), make(name), data, epochs=1, mixup=0.2, mix_prob=1.0)


@pytest.mark.filterwarnings("ignore:`online_dr_kd` had nothing to rectify")
def test_a_memory_keeps_what_was_said_of_plain_images(data):
    objective = make("online_dr_kd", alpha=0.5)
    drkd.fit(network(), objective, data, epochs=1, batch_size=40, cutmix=1.0, mix_prob=0.6)
    seen = objective.terms[1].target.target.seen
    assert 0.2 < seen.float().mean().item() < 0.7


def test_the_loss_of_a_step_is_that_of_its_mixed_batch(data):
    """Also the accuracy, which goes by the heavier class."""
    from drkd.data.loader import Loader
    from drkd.data.mixing import Mixing

    seen = []

    class Watched(Objective):
        def forward(self, logits, labels, **others):
            seen.append((logits.detach(), labels))
            return super().forward(logits, labels, **others)

    objective = Watched("watched", list(drkd.cross_entropy().terms))
    history = drkd.fit(network(), objective, data, epochs=1, batch_size=40, mixup=1.0).history
    loader = Loader(data, data.train, batch_size=40, training=True)
    loader.mixing = Mixing(mixup=1.0)
    correct = loss = 0.0
    for (logits, labels), batch in zip(seen, loader.batches(0), strict=True):
        assert torch.equal(labels.probs, batch.labels.probs)
        loss += torch.nn.functional.cross_entropy(logits, labels.probs, reduction="sum").item()
        correct += (logits.argmax(1) == labels.probs.argmax(1)).sum().item()
    assert history[0]["loss"] == pytest.approx(loss / len(data.train), rel=1e-5)
    assert history[0]["train_accuracy"] == pytest.approx(correct / len(data.train))


def test_a_cached_teacher_knows_how_images_were_mixed_and_in_which_precision_it_was_asked(data, tmp_path):
    from drkd.tasks.classification import with_cache

    def key(**settings):
        config = TrainConfig(method="dr_kd", model="cnn", cache_size="1MB", cache=str(tmp_path), **settings)
        teacher = drkd.create_model("cnn", num_classes=10, image_size=8, channels=1)
        torch.nn.init.zeros_(next(teacher.parameters()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("drkd.tasks.classification.CHEAP", 0)
            torch.manual_seed(0)
            return with_cache(teacher, config, data, tmp_path / "run").cache.belongs_to

    plain, mixed, larger = key(), key(mixup=0.2), key(mixup=0.2, batch_size=64)
    assert "mixing" not in plain
    assert mixed["mixing"] == {"mixup": 0.2, "cutmix": 0.0, "mix_prob": 0.5, "batch_size": 128}
    assert larger["mixing"] != mixed["mixing"]
    assert "teacher_precision" not in plain
    assert key(teacher_precision="bfloat16") == {**plain, "teacher_precision": "bfloat16"}


def test_detection_mixes_nothing():
    task = get_task("detection")
    config = TrainConfig(task="detection", model="small_ssd", mixup=0.2)
    with pytest.raises(drkd.InputError, match="detection takes no --mixup and --cutmix: boxes cannot be mixed"):
        task.check_settings(config, drkd.cross_entropy())
