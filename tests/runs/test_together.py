"""Options of a training that were made apart from each other, in pairs: the same promises hold."""

import shutil

import pytest
import torch

import drkd
from drkd import InputError
from drkd.config import CompareConfig, TrainConfig, as_yaml, resolve
from drkd.data.loader import Loader
from drkd.data.mixing import Mixing
from drkd.methods.registry import get_method
from drkd.models.files import ModelInfo, write_model
from drkd.runs import features
from drkd.runs.building import refuse_without_teacher
from drkd.runs.evaluating import evaluate_run
from drkd.runs.events import EpochDone
from drkd.runs.training import train
from drkd.studies.comparison import plan
from drkd.targets import Cached

QUICK = {"epochs": 2, "limit_train": 60, "limit_test": 60, "model": "small_cnn", "lr": 0.02, "batch_size": 20}
FROZEN = {"freeze": "backbone", "augment": "none"}

PAIRS = {
    "swa of frozen blocks under float16": {"average": "swa:0.5", "freeze": 2, "precision": "float16"},
    "weights of classes on features": {**FROZEN, "class_weights": [1] * 9 + [5], "average": "ema"},
    "balanced sampling on features": {**FROZEN, "sampler": "balanced", "method": "dr_kd"},
    "mixed, balanced and averaged": {"mixup": 0.5, "cutmix": 1.0, "sampler": "balanced", "average": "swa:0.5"},
    "the classifier first, remembered and mixed": {"head_epochs": 1, "method": "ps_kd", "mixup": 0.5},
    "an average that teaches blocks at rates of their own": {
        **{"method": "online_dr_kd", "source": "ema", "average": "ema", "layer_decay": 0.5, "head_lr": 0.1},
    },
}


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(features, "_remembered", {})


def written(file, seed=7):
    torch.manual_seed(seed)
    network = drkd.create_model("small_cnn", num_classes=10, image_size=8, channels=1)
    info = ModelInfo("small_cnn", tuple("0123456789"), 8, 1, (0.3,), (0.4,))
    write_model(file, network.state_dict(), info)
    return file


def run(out, on_event=lambda event: None, **options):
    given = {**QUICK, "method": "cross_entropy", "checkpoint_every": "2", **options}
    return train(*resolve(TrainConfig, given), out, on_event=on_event)


def cut(event):
    if isinstance(event, EpochDone) and event.row["epoch"] == 1:
        raise KeyboardInterrupt


@pytest.mark.parametrize("options", PAIRS.values(), ids=PAIRS)
def test_what_is_cut_in_the_middle_resumes_to_the_bit(tmp_path, options):
    options = {**options, "weights": written(tmp_path / "start.safetensors")}
    whole = run(tmp_path / "whole", **options)
    for _ in range(2):  # the first one may be the teacher
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", cut, **options)
    run(tmp_path / "cut", **options)
    for name in ("model.safetensors", "metrics.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    again = evaluate_run(tmp_path / "whole", data=None, split="test").metrics
    assert again.nll == pytest.approx(whole.test.nll, rel=1e-5)


@pytest.mark.parametrize("method", ["cross_entropy", "dr_kd"])
def test_what_is_refused_at_the_start_leaves_nothing_in_the_way_of_the_next_try(tmp_path, method):
    options = {"weights": written(tmp_path / "start.safetensors"), "method": method, "epochs": 1}
    with pytest.raises(InputError, match=r"^--freeze 99 leaves nothing to train"):
        run(tmp_path / "run", freeze=99, **options)
    assert [path.name for path in tmp_path.rglob("*")] == ["start.safetensors"]
    assert run(tmp_path / "run", freeze=2, **options).epochs == 1


def test_features_of_another_backbone_are_not_gone_on_with(tmp_path):
    options = {**FROZEN, "weights": written(tmp_path / "start.safetensors")}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", cut, **options)
    written(tmp_path / "start.safetensors", seed=8)
    with pytest.raises(InputError, match="with another frozen backbone"):
        run(tmp_path / "run", **options)


def test_the_features_that_a_teacher_asked_for_are_kept_for_later_runs(tmp_path):
    options = {**FROZEN, "weights": written(tmp_path / "start.safetensors"), "cache_size": "10MB", "epochs": 1}
    run(tmp_path / "run", method="tf_kd_self", **options)
    assert [path.parent.parent.name for path in tmp_path.rglob("epoch-0-*.npy")] == ["teacher-cache"]
    assert (tmp_path / "teacher-cache").is_dir()
    shutil.rmtree(tmp_path / "teacher-cache")
    run(tmp_path / "other" / "run", **options)  # remembered, but not in this folder
    assert len(list(tmp_path.glob("other/teacher-cache/*/epoch-0-*.npy"))) == 1


def test_what_a_comparison_planned_can_be_trained_alone(tmp_path):
    compared = resolve(CompareConfig, {"sampler": "balanced", "out": str(tmp_path)})[0]
    for training in plan(compared, ["cross_entropy", "dr_kd", "ps_kd"], tmp_path):
        file = tmp_path / f"{training.method}.yaml"
        file.write_text(as_yaml(training.config, dict.fromkeys(TrainConfig.model_fields, "comparison")))
        alone, source = resolve(TrainConfig, {}, file)
        refuse_without_teacher(alone, source, [get_method(alone.method)])
        assert alone == training.config


def test_the_configuration_of_a_teacher_that_was_trained_first_can_be_trained_alone(tmp_path):
    run(tmp_path / "run", method="dr_kd", cache_size="1MB", cache=tmp_path / "kept", epochs=1)
    alone, source = resolve(TrainConfig, {}, tmp_path / "run/teacher/config.yaml")
    refuse_without_teacher(alone, source, [get_method(alone.method)])
    assert (alone.method, alone.cache) == ("cross_entropy", None)


def test_rare_classes_do_not_count_twice_over_and_no_cache_mistakes_their_views(tmp_path):
    both = {"sampler": "balanced", "class_weights": "balanced"}
    with pytest.raises(InputError, match=r"^rare classes would count twice over"):
        run(tmp_path / "run", **both)
    assert not (tmp_path / "run").exists()
    data = drkd.load_data("digits", limit_train=60)
    with pytest.raises(InputError, match=r"^rare classes would count twice over"):
        drkd.fit(torch.nn.Linear(8, 10), drkd.cross_entropy(class_weights="balanced"), data, sampler="balanced")
    cached = Cached(drkd.Frozen(torch.nn.Linear(8, 10)), drkd.TeacherCache(tmp_path, {}, limit=10), samples=60)
    with pytest.raises(InputError, match="one view of each sample, but --sampler balanced shows several"):
        drkd.fit(torch.nn.Linear(8, 10), drkd.dr_kd(cached), data, sampler="balanced")


def test_balanced_weights_go_by_the_votes():
    votes = torch.tensor([[3.0, 1.0]] * 6 + [[0.0, 4.0]] * 2)
    data = drkd.from_tensors((torch.rand(8, 3), votes), (torch.rand(2, 3), torch.tensor([0, 1])), validation=0)
    objective = drkd.cross_entropy(class_weights="balanced")
    objective.prepare(Loader(data, data.train, batch_size=8, training=False))
    weights = objective.row_weights.weights
    assert (weights * data.train.probs.double().sum(dim=0)).tolist() == pytest.approx([4.0, 4.0])


def test_a_sample_that_comes_again_is_mixed_anew():
    classes = [0] * 30 + [1] * 2
    data = drkd.from_tensors((torch.rand(32, 3), torch.tensor(classes)), (torch.rand(2, 3), torch.tensor([0, 1])))
    loader = Loader(data, data.train, batch_size=32, training=True, needs=frozenset({"balanced"}))
    loader.mixing = Mixing(mixup=1.0, prob=1.0)
    (batch,) = loader.batches()
    weights = batch.labels.weight[batch.index == int((data.train.labels == 1).nonzero()[0])]
    assert len(weights) >= 7
    assert len(set(weights.tolist())) == len(weights)
