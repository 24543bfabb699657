"""Frozen backbones are asked once: the same training as through the whole network, which is whole at the end."""

import pytest
import torch
from torch import nn

import drkd
from drkd import InputError
from drkd.config import TrainConfig, resolve
from drkd.data.datasets import Split
from drkd.data.images import LazyImages
from drkd.data.keys import image_keys
from drkd.models.files import ModelInfo, write_model
from drkd.runs import features, training
from drkd.runs.evaluating import evaluate_run
from drkd.runs.events import EpochDone
from drkd.runs.features import Fitted, choose_fitted
from drkd.tasks.loading import load_deployed
from drkd.training import features as extraction
from drkd.utils.files import read_tensors

QUICK = {"epochs": 3, "limit_train": 100, "limit_test": 100, "model": "mlp", "lr": 0.02, "batch_size": 25}
FROZEN = {"freeze": "backbone", "augment": "none", "method": "cross_entropy"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "mlp.safetensors"
    torch.manual_seed(7)
    network = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    info = ModelInfo("mlp", tuple("0123456789"), 8, 1, (0.3,), (0.4,))
    write_model(file, network.state_dict(), info)
    return file


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """How many images the backbone is asked about, split by split; nothing is remembered from other tests."""
    counts = []

    def count(network, data, name):
        counts.append(len(getattr(data, name)))
        return extraction.features_of(network, data, name)

    monkeypatch.setattr(features, "features_of", count)
    monkeypatch.setattr(features, "_remembered", {})
    return counts


def run(out, weights, **options):
    return training.train(*resolve(TrainConfig, {**QUICK, **FROZEN, "weights": weights, **options}), out)


@pytest.mark.parametrize("method", ["cross_entropy", "dr_kd", "ps_kd", "online_dr_kd:ema", "dlb"])
def test_it_is_the_same_training_up_to_rounding(tmp_path, weights, monkeypatch, method, asked):
    name, _, source = method.partition(":")
    options = {"method": name, "label_noise": 0.2, **({"source": source} if source else {})}
    fast = run(tmp_path / "fast", weights, **options)
    assert asked == [100, 144, 100]
    monkeypatch.setattr(
        training, "choose_fitted", lambda _, data, student, teacher, out: Fitted(student, data, teacher)
    )
    slow = run(tmp_path / "slow", weights, **options)
    assert asked == [100, 144, 100]
    ours, theirs = (read_tensors(tmp_path / path / "model.safetensors") for path in ("fast", "slow"))
    given = read_tensors(weights)
    assert {each for each in ours if not torch.equal(ours[each], given[each])} == {"5.weight", "5.bias"}
    for each, tensor in theirs.items():
        assert torch.allclose(ours[each], tensor, rtol=1e-4, atol=1e-6), each
    assert (fast.test.accuracy, fast.train_accuracy) == (slow.test.accuracy, slow.train_accuracy)
    assert fast.test.nll == pytest.approx(slow.test.nll, rel=1e-4)
    assert fast.teacher_train_accuracy == slow.teacher_train_accuracy
    assert fast.data_size == slow.data_size
    assert (tmp_path / "fast/config.yaml").read_text() == (tmp_path / "slow/config.yaml").read_text()


def test_the_whole_network_is_what_the_run_gives(tmp_path, weights):
    out = tmp_path / "run"
    summary = run(out, weights, keep_epochs=[0])
    network, info = drkd.load_model(out)
    data = drkd.load_data("digits", limit_train=100, limit_test=100)
    assert (info.image_size, info.model) == (8, "mlp")
    assert drkd.evaluate(network, data).accuracy == summary.test.accuracy
    assert evaluate_run(out, data=None, split="val").metrics.nll == pytest.approx(summary.val.nll, rel=1e-5)
    first = read_tensors(out / "epochs/epoch-0.safetensors")
    assert set(first) == set(network.state_dict())
    assert not torch.equal(first["5.weight"], network.state_dict()["5.weight"])
    deployed, _ = load_deployed(out)
    answers = deployed(data.test.inputs).argmax(dim=1)
    assert (answers == data.test.labels).double().mean().item() == summary.test.accuracy


def test_it_resumes_to_the_bit(tmp_path, weights):
    run(tmp_path / "whole", weights, method="ps_kd")

    def stop(event):
        if isinstance(event, EpochDone) and event.row["epoch"] == 1:
            raise KeyboardInterrupt

    config, source = resolve(TrainConfig, {**QUICK, **FROZEN, "weights": weights, "method": "ps_kd"})
    with pytest.raises(KeyboardInterrupt):
        training.train(config, source, tmp_path / "cut", on_event=stop)
    training.train(config, source, tmp_path / "cut")
    ours, theirs = ((tmp_path / path / "model.safetensors").read_bytes() for path in ("cut", "whole"))
    assert ours == theirs


def test_a_comparison_asks_once_for_all_seeds_and_methods(tmp_path, weights, asked, monkeypatch):
    """Also where each seed holds out other images: the mean is the same there, as that of pretrained weights is."""
    monkeypatch.setattr("drkd.data.datasets.measure_statistics", lambda split: ((0.3,), (0.4,)))
    options = {**QUICK, **FROZEN, "limit_train": None, "epochs": 1, "batch_size": 400}
    del options["method"]
    comparison = drkd.compare(
        methods=["cross_entropy", "dr_kd", "ps_kd"],
        **options,
        weights=weights,
        seeds=2,
        label_noise=[0.0, 0.4],
        jobs=1,
        out=tmp_path / "compared",
    )
    assert not comparison.results.failures
    assert sum(asked) == 1797 - 260  # all but the test images that the limit leaves out
    monkeypatch.setattr(features, "_remembered", {})
    (kept,) = (tmp_path / "teacher-cache").glob("*/epoch-0-*.npy")
    config, source = resolve(
        TrainConfig,
        {**options, "method": "cross_entropy", "weights": weights, "epochs": 1, "seed": 1, "cache_size": "1GB"},
    )
    training.train(config, source, tmp_path / "later")
    assert sum(asked) == 1797 - 260
    assert kept.stat().st_size < 1537 * 128 * 4 + 200


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"augment": "shift"}, "images are augmented; with --augment none a training takes seconds"),
        ({"method": "kd"}, "the teacher has a different one"),
    ],
)
def test_where_it_cannot_be_asked_once_the_user_is_told(tmp_path, weights, asked, options, reason):
    if options.get("method") == "kd":
        torch.manual_seed(8)
        teacher = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        torch.save(teacher.state_dict(), tmp_path / "teacher.pt")
        options = {**options, "teacher": tmp_path / "teacher.pt"}
    summary = run(tmp_path / "run", weights, **options)
    assert f"the frozen backbone runs in every step, not once: {reason}" in summary.notes
    assert asked == []


def test_a_backbone_of_random_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^--freeze backbone would keep random weights fixed; use pretrained ones"):
        run(tmp_path / "run", None)
    with pytest.raises(InputError, match=r"^--freeze 1 would keep random weights"):
        drkd.compare(methods=["ps_kd"], freeze=1, label_noise=0.0, seeds=1, out=tmp_path / "compared")
    assert not (tmp_path / "compared").exists()


def test_a_network_that_goes_on_after_its_linear_layer_is_refused():
    data = drkd.load_data("digits", augment="none", limit_train=40)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LogSoftmax(dim=1))
    with pytest.raises(InputError, match=r"^the logits of Sequential do not come from its last linear layer"):
        drkd.extract_features(network, data)
    with pytest.raises(InputError, match='augment="none"'):
        drkd.extract_features(network, drkd.load_data("digits", augment="shift", limit_train=40))


def test_images_are_known_by_what_they_show(tmp_path):
    images = torch.arange(3 * 4, dtype=torch.uint8).view(3, 1, 2, 2)
    keys = image_keys(Split(images, torch.zeros(3)))
    assert len(set(keys.tolist())) == 3
    assert (image_keys(Split(images.flip(0), torch.ones(3))) == keys[::-1]).all()
    assert image_keys(Split(images.view(3, 1, 1, 4), torch.zeros(3)))[0] != keys[0]
    files = []
    for number in range(2):
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(b"the same")
    of_files = image_keys(Split(LazyImages(files, 4, 3), torch.zeros(2)))
    assert of_files[0] != of_files[1]
    assert image_keys(Split(LazyImages(files, 4, 3, workers=3), torch.zeros(2)))[1] == of_files[1]
    assert image_keys(Split(LazyImages(files, 5, 3), torch.zeros(2)))[1] != of_files[1]
    in_table = image_keys(Split(LazyImages([b"the same", b"the same"], 4, 3), torch.zeros(2)))
    assert in_table[0] == in_table[1]


def test_everything_is_trained_where_nothing_is_frozen(tmp_path):
    config = TrainConfig()
    data, student = drkd.load_data("digits", limit_train=20), nn.Linear(1, 1)
    assert choose_fitted(config, data, student, None, out=tmp_path) == Fitted(student, data, None)
