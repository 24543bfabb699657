"""Searches, costs and shared folders of what is no classifier."""

import shlex
from dataclasses import replace

import pytest
import torch
import yaml

import drkd
from drkd import HubModel, InputError, push_run
from drkd.cli.trials import study_command
from drkd.config import BenchConfig, CompareConfig, TrainConfig, TuneConfig, resolve
from drkd.runs.summary import RunSummary
from drkd.runs.training import train
from drkd.studies import searching
from drkd.studies.benchmarking import bench
from drkd.studies.comparison import plan, with_controls
from drkd.studies.contenders import Contender
from drkd.studies.search_trainings import load_for, why_refused
from drkd.studies.searching import TrialDone
from drkd.studies.stages import augmentations, stages_of
from drkd.tasks.loading import load_deployed

SMALL = {"data": "shapes", "image_size": 16, "batch_size": 8, "limit_train": 16, "limit_test": 4, "epochs": 1}


def test_segmenters_are_searched_by_miou(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "announce", lambda *_: None)
    given = {"task": "segmentation", "model": "small_fcn", **SMALL, "trials": 1, "jobs": 1, "methods": ["dr_kd"]}
    given |= {"search": ["method"], "out": str(tmp_path / "run")}
    events = []
    tuned = drkd.tune(**given, on_trial=events.append)
    found = tuned.results
    assert found.task == "segmentation"
    assert found.trials[0].variant.startswith("dr_kd:")
    folder = tmp_path / "run/trainings/clean-labels/seed-0"
    done = [event for event in events if isinstance(event, TrialDone)]
    assert len(done) == 2
    for event in done:
        assert RunSummary.read(folder / event.variant.replace(":", ",")).val.miou == event.val_score
    assert RunSummary.read(tmp_path / "run" / found.best_run).test.miou == found.best_test_score
    assert "Validation mIoU %" in str(tuned)
    config, source = resolve(TuneConfig, given)
    chosen = replace(tuned, results=replace(found, options={"augment": "flip"}))
    words = shlex.split(study_command(chosen, config, source))
    options = {name[2:].replace("-", "_"): value for name, value in zip(words[2::2], words[3::2], strict=True)}
    compared, _ = resolve(CompareConfig, options)
    (baseline, *_, last) = plan(compared, with_controls(compared), tmp_path / "compared")
    assert (baseline.config.task, baseline.config.augment, baseline.config.lr) == ("segmentation", "flip", 0.001)
    assert last.method == found.trials[0].variant


@pytest.mark.parametrize(
    ("task", "tried"),
    [
        ("detection", ["flip+crop", "ssd", "flip+jitter"]),
        ("segmentation", ["scale_crop+flip+jitter:0.2", "flip", "scale_crop:0.75,1.33+flip"]),
    ],
)
def test_augmentation_is_tried_that_the_task_knows(task, tried, tmp_path):
    config, source = resolve(TuneConfig, {"task": task, **SMALL})
    data = load_for(config, tmp_path)
    assert [each["augment"] for each in augmentations(config, data)] == tried
    assert "augment" in stages_of(config, source)
    assert all(why_refused(config, "dr_kd", tmp_path, {"augment": each}) is None for each in tried)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_search_leaves_out_what_does_not_go_together(task, tmp_path):
    config, _ = resolve(TuneConfig, {"task": task, "data": "shapes"})
    assert "ps_kd" not in config.methods
    moving = {"detection": {"augment": "ssd"}, "segmentation": {"augment": "scale_crop+flip"}}[task]
    assert why_refused(config, "dr_kd", tmp_path, moving) is None
    assert why_refused(config, "ps_kd", tmp_path, {"augment": "flip"}) is None
    assert "remember" in why_refused(config, "ps_kd", tmp_path, moving)
    with pytest.raises(InputError, match="needs the validation"):
        drkd.tune(task=task, data="shapes", validation=0, out=str(tmp_path / "run"))


def test_methods_are_refused_for_each_network(tmp_path):
    given = {"task": "detection", "data": "shapes", "networks": ["small_ssd", "retinanet_mobilenet_v3"]}
    with pytest.raises(InputError, match="change from step to step in retinanet_mobilenet_v3"):
        drkd.tune(**given, methods=["ps_kd"], out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("task", "model"), [("detection", "small_ssd"), ("segmentation", "small_fcn")])
def test_the_task_s_own_step_is_measured(task, model):
    tiny = {"task": task, "model": model, "image_size": 32, "batch_size": 2, "classes": 3, "rounds": 1, "device": "cpu"}
    found = bench(BenchConfig(**tiny, methods=["dr_kd"]))
    assert list(found.methods) == ["cross_entropy", "dr_kd"]
    assert all(cost.objective_share is None and cost.peak_mib > 0 for cost in found.methods.values())
    memory = Contender("ps_kd", BenchConfig(**tiny))
    before = [parameter.clone() for parameter in memory.state.student.parameters()]
    memory.step()
    assert any(not torch.equal(*pair) for pair in zip(before, memory.state.student.parameters(), strict=True))
    defaults, _ = resolve(TrainConfig, {"task": task})
    for option in ("optimizer", "clip_norm"):
        assert getattr(memory.stepper.settings, option) == getattr(defaults, option)
    with pytest.raises(InputError, match="cs_kd"):
        Contender("cs_kd", BenchConfig(**tiny))


def test_several_labels_are_measured():
    tiny = BenchConfig(task="multilabel", model="mlp", image_size=4, batch_size=2, classes=3, rounds=1, device="cpu")
    contender = Contender("dr_kd", tiny)
    contender.step()
    assert contender.batch.labels.shape == (2, 3)


@pytest.mark.parametrize(
    ("task", "model", "tag"),
    [("detection", "small_ssd", "object-detection"), ("segmentation", "small_fcn", "image-segmentation")],
)
def test_a_pushed_folder_answers_as_the_run(task, model, tag, tmp_path):
    given = {**SMALL, "image_size": 32, "task": task, "model": model, "method": "cross_entropy", "validation": 0}
    train(*resolve(TrainConfig, given), tmp_path / "run")
    folder = push_run(tmp_path / "run", "me/mine").folder
    _, header, body = (folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header)["pipeline_tag"] == tag
    assert "side has 32 pixels" in body or "side had 32 pixels" in body
    pixels = torch.randint(256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    expected, _ = load_deployed(tmp_path / "run")
    shared = HubModel.from_pretrained(str(folder))
    with torch.no_grad():
        torch.testing.assert_close(shared(pixels), expected(pixels), rtol=0, atol=0)
        shared.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    code = body.split("```python\n")[1].split("```")[0].replace('"me/mine"', repr(str(folder)))
    exec(code, {})  # what the card says runs
