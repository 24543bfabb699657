"""`--teacher-folds`: networks that teach what they were not trained on."""

import re
import shutil
from dataclasses import replace

import pytest
import torch

import drkd
from drkd import CrossFitted, InputError
from drkd.config import CompareConfig, TrainConfig, resolve
from drkd.data.folds import fold_numbers, leave_out
from drkd.models.files import ModelInfo, write_model
from drkd.runs import training
from drkd.runs.estimating import with_self_teacher
from drkd.runs.features import choose_fitted
from drkd.runs.summary import RunSummary
from drkd.studies.comparison import compare, plan
from drkd.studies.suspects import find_suspects
from drkd.tasks.loading import load_model

QUICK = {"epochs": 2, "limit_train": 90, "limit_test": 60, "model": "mlp", "batch_size": 30, "lr": 0.05}


def run(out, **options):
    return training.train(*resolve(TrainConfig, {**QUICK, "teacher_folds": 2, **options}), out)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("folds") / "run"
    return out, run(out, label_noise=0.2)


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=90, limit_test=60, label_noise=0.2)


def test_no_teacher_was_trained_on_what_it_answers_for(done, data):
    out, _ = done
    fold = fold_numbers(data, 2, of_train=True)
    for number in (1, 2):
        expected = leave_out(data, number, 2, of_train=True)
        assert len(expected.train) == int((fold != number).sum())
        summary = RunSummary.read(out / "teacher" / f"fold-{number}-of-2")
        assert (summary.method, summary.data_fingerprint) == ("cross_entropy", expected.record.fingerprint)
        assert summary.data_size["train"] == len(expected.train)
        assert summary.data_size["val"] == len(data.val)


def test_it_is_the_training_with_these_networks_by_hand(done, data):
    out, summary = done
    networks = [load_model(out / "teacher" / f"fold-{number}-of-2")[0] for number in (1, 2)]
    torch.manual_seed(0)
    by_hand = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    fold = fold_numbers(data, 2, of_train=True) - 1
    options = {name: QUICK[name] for name in ("epochs", "batch_size", "lr")}
    drkd.fit(by_hand, drkd.dr_kd(CrossFitted(networks, fold)), data, schedule="cosine", **options)
    found, _ = load_model(out)
    for ours, theirs in zip(by_hand.state_dict().values(), found.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    with torch.no_grad():
        inputs = (data.train.inputs.float() / 255 - data.mean[0]) / data.std[0]
        guesses = torch.stack([network(inputs).argmax(1) for network in networks])
    right = guesses[fold, torch.arange(len(fold))] == data.train.labels
    assert summary.teacher_train_accuracy == pytest.approx(right.float().mean().item())
    runs = [RunSummary.read(out / "teacher" / f"fold-{number}-of-2") for number in (1, 2)]
    assert summary.teacher_seconds == pytest.approx(sum(each.train_seconds for each in runs))
    assert summary.teacher_seconds_per_epoch == pytest.approx(sum(each.seconds_per_epoch for each in runs))
    assert summary.teacher.path == str(out / "teacher")


def test_what_is_missing_is_trained_and_the_rest_is_not(done, tmp_path):
    out, summary = done
    again = tmp_path / "run"
    shutil.copytree(out, again, symlinks=True)
    (again / "summary.json").unlink()
    shutil.rmtree(again / "teacher" / "fold-2-of-2")
    kept = (again / "teacher" / "fold-1-of-2" / "summary.json").read_bytes()
    resumed = run(again, label_noise=0.2)
    assert resumed.test == summary.test
    assert resumed.teacher.sha256 == summary.teacher.sha256
    assert (again / "teacher" / "fold-1-of-2" / "summary.json").read_bytes() == kept


def test_teachers_that_are_there_teach_another_run(done, tmp_path):
    out, _ = done
    other = run(tmp_path / "run", label_noise=0.2, method="tf_kd_self", teacher=str(out / "teacher"))
    assert other.teacher.path == str(out / "teacher")
    assert not (tmp_path / "run" / "teacher").exists()
    with pytest.raises(InputError, match=rf"fold-1-of-2; give --teacher {re.escape(str(out / 'teacher'))}$"):
        run(tmp_path / "parent", label_noise=0.2, teacher=str(out))
    with pytest.raises(InputError, match=r"holds the teachers of folds: add --teacher-folds 2$"):
        run(tmp_path / "one", label_noise=0.2, teacher=str(out / "teacher"), teacher_folds=None)
    with pytest.raises(InputError, match=r"needs a finished run in .*fold-1-of-3"):
        run(tmp_path / "three", label_noise=0.2, teacher=str(out / "teacher"), teacher_folds=3)
    shutil.copytree(out / "teacher" / "fold-1-of-2", tmp_path / "wrong" / "fold-2-of-2", symlinks=True)
    shutil.copytree(out / "teacher" / "fold-1-of-2", tmp_path / "wrong" / "fold-1-of-2", symlinks=True)
    with pytest.raises(InputError, match=r"was trained without the fold 1/2:train, but is needed for 2/2:train"):
        run(tmp_path / "fourth", label_noise=0.2, teacher=str(tmp_path / "wrong"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "cross_entropy"}, "no effect with cross_entropy"),
        ({"method": "dr_kd_clean_view"}, "no effect with dr_kd_clean_view"),
        ({"method": "ps_kd"}, "choose dr_kd or tf_kd_self"),
        ({"fold": "1/5"}, "--teacher-folds 2 and --fold 1/5 divide the same images"),
        ({"task": "segmentation"}, "--teacher-folds has no effect with --task segmentation"),
        ({"teacher_folds": 1}, "teacher.folds"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_suspects_need_networks_that_left_their_images_out(done, tmp_path):
    with pytest.raises(InputError, match="give a run without --teacher-folds"):
        find_suspects(done[0], out=tmp_path / "found")


def test_a_frozen_backbone_is_asked_once_for_all_of_them(tmp_path, monkeypatch, data):
    file = tmp_path / "mlp.safetensors"
    torch.manual_seed(7)
    network = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    write_model(file, network.state_dict(), ModelInfo("mlp", tuple("0123456789"), 8, 1, (0.3,), (0.4,)))
    asked = []
    from drkd.runs import features
    from drkd.training.features import features_of

    monkeypatch.setattr(features, "features_of", lambda *given: asked.append(given[2]) or features_of(*given))
    monkeypatch.setattr(features, "_remembered", {})
    config = {"weights": file, "freeze": "backbone", "augment": "none"}
    summary = run(tmp_path / "run", **config)
    assert asked == ["train", "val", "test"]
    settings, _ = resolve(TrainConfig, {**QUICK, **config, "teacher_folds": 2})
    plain = drkd.load_data("digits", limit_train=90, limit_test=60, augment="none")
    networks = [load_model(tmp_path / "run" / "teacher" / f"fold-{number}-of-2")[0] for number in (1, 2)]
    teacher = CrossFitted(networks, fold_numbers(plain, 2, of_train=True) - 1)
    student, _ = load_model(tmp_path / "run")
    fitted = choose_fitted(settings, plain, student, teacher, out=tmp_path / "run")
    index = torch.arange(20)
    inputs = (plain.train.inputs[:20].float() / 255 - plain.mean[0]) / plain.std[0]
    batch = drkd.StudentBatch(torch.zeros(20, 10), plain.train.labels[:20], inputs, index)
    expected = teacher(batch).logits
    found = fitted.teacher(replace(batch, inputs=fitted.data.train.inputs[:20])).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert summary.teacher_train_accuracy is not None


def test_a_comparison_trains_them_once_and_pairs_what_differs_in_the_rectification(tmp_path):
    folded = ["tf_kd_self:teacher_folds=2", "dr_kd:teacher_folds=2"]
    done = compare(methods=["dr_kd", *folded], seeds=1, label_noise=[0], jobs=1, out=tmp_path / "run", **QUICK)
    (panel,) = done.results.panels
    assert list(panel.methods) == ["cross_entropy", "cross_entropy_2x", "dr_kd", *folded]
    home = tmp_path / "run" / "trainings" / "clean-labels" / "seed-0"
    seconds = [RunSummary.read(home / "teachers-2" / f"fold-{n}-of-2").train_seconds for n in (1, 2)]
    for name in folded:
        assert panel.methods[name].teacher_seconds == pytest.approx([sum(seconds)])
        assert panel.methods[name].teacher_seconds_per_epoch[0] < sum(seconds) / 2  # of two epochs each
        assert panel.settings[name]["teacher_folds"] == 2
    assert panel.methods["dr_kd"].teacher_seconds == panel.methods["cross_entropy"].train_seconds
    assert "teacher_folds" not in panel.settings["cross_entropy"]
    pairs = {(each.method, each.baseline) for each in done.results.comparisons if each.metric == "accuracy"}
    control = {(name, "cross_entropy_2x") for name in ("dr_kd", *folded)}
    assert pairs == {(name, "cross_entropy") for name in list(panel.methods)[1:]} | control | {(folded[1], folded[0])}


def test_the_option_of_a_comparison_is_for_the_methods_that_take_it(tmp_path):
    config = CompareConfig(methods=["kd", "dr_kd", "ps_kd"], seeds=1, teacher_folds=3, teacher=None)
    names = ["cross_entropy", "dr_kd", "ps_kd"]
    planned = {each.method: each for each in plan(config, names, tmp_path)}
    assert list(planned) == [
        "cross_entropy",
        *(f"teacher {number}/3:train" for number in (1, 2, 3)),
        "dr_kd",
        "ps_kd",
    ]
    assert planned["dr_kd"].config.teacher_folds == 3
    assert planned["dr_kd"].config.teacher == str(planned["teacher 1/3:train"].out.parent)
    assert planned["dr_kd"].taught_by is planned["teacher 3/3:train"]
    assert planned["teacher 2/3:train"].taught_by is planned["teacher 1/3:train"]
    assert planned["ps_kd"].config.teacher_folds is None
    with pytest.raises(InputError, match="--teacher-folds 2 applies to none of ps_kd"):
        compare(methods=["ps_kd"], teacher_folds=2, out=tmp_path / "none", **QUICK)
    for method in ("ps_kd:teacher_folds=2", "kd:teacher_folds=2", "dr_kd:teacher_folds=x", "dr_kd:teacher_folds=1"):
        with pytest.raises(InputError, match=r"teacher.folds"):
            compare(methods=[method], out=tmp_path / "none", teacher=str(tmp_path), **QUICK)
    assert not (tmp_path / "none").exists()


def test_the_estimate_plans_one_after_the_other(tmp_path):
    settings, _ = resolve(TrainConfig, {**QUICK, "teacher_folds": 2})
    planned = with_self_teacher(settings, tmp_path)
    assert [each.out.name for each in planned] == ["fold-1-of-2", "fold-2-of-2", tmp_path.name]
    assert [each.after and each.after.name for each in planned] == [None, "fold-1-of-2", "fold-2-of-2"]


def test_pairs_are_of_as_many_teachers_and_of_as_many_epochs(tmp_path):
    folded, single = ["tf_kd_self", "dr_kd"], ["tf_kd_self:teacher_folds=null", "dr_kd:teacher_folds=null"]
    sizes = {**QUICK, "epochs": 1, "seeds": 1, "label_noise": [0], "jobs": 1}
    methods = [*single, *folded, "dr_kd:teacher_folds=3"]  # which costs three trainings
    done = compare(methods=methods, teacher_folds=2, out=tmp_path / "run", **sizes)
    pairs = {(each.method, each.baseline) for each in done.results.comparisons if each.metric == "accuracy"}
    assert {pair for pair in pairs if "tf_kd_self" in pair[1]} == {(folded[1], folded[0]), (single[1], single[0])}
    (panel,) = done.results.panels
    assert "teacher_folds" not in panel.settings["cross_entropy"]
    assert {ours for ours, theirs in pairs if theirs == "cross_entropy_2x"} == {*single, *folded}
    assert panel.costs_double == [*single, *folded]  # of which the sentences speak
