"""`--precision auto`: the faster precision is chosen once, written down, and kept."""

import itertools
import json

import pytest
import torch

import drkd
from drkd import InputError
from drkd.cli.trials import study_command
from drkd.config import TrainConfig, TuneConfig, read_options, resolve
from drkd.runs import estimating, precision
from drkd.runs.building import build_student
from drkd.runs.events import StartNoted
from drkd.runs.precision import FILE, PrecisionChoice, choose, faster, ratio_of_steps, read_choice, settled
from drkd.runs.training import train
from drkd.studies.found import TuneResults
from drkd.studies.tuning import Tuned
from drkd.tasks import get_task

QUICK = {"epochs": 1, "limit_train": 60, "model": "mlp", "validation": 0.0}


def config_of(**options):
    return resolve(TrainConfig, {**QUICK, **options})


@pytest.fixture
def measured(monkeypatch):
    """What steps and passes are said to take in bfloat16, and how often each was asked."""
    ratios, asked = {"step": 0.5, "teacher": 0.5}, []

    def pretend(what):
        def ratio(*_):
            asked.append(what)
            return ratios[what]

        return ratio

    monkeypatch.setattr(precision, "ratio_of_steps", pretend("step"))
    monkeypatch.setattr(precision, "ratio_of_passes", pretend("teacher"))
    return ratios, asked


def test_the_choice_is_recorded_kept_on_resuming_and_trains_as_if_it_had_been_asked_for(measured, tmp_path):
    ratios, asked = measured
    told = []
    first = train(*config_of(precision="auto", method="dr_kd"), tmp_path / "auto", on_event=told.append)
    assert asked == ["step", "teacher"]
    assert read_choice(tmp_path / "auto").bfloat16_over_float32 == {"step": 0.5, "teacher": 0.5}
    sentence = (
        "--precision auto takes bfloat16: a step takes 0.50 of its time in float32; --teacher-precision auto takes "
        "bfloat16: the teacher takes 0.50 of its time in float32"
    )
    assert sentence in first.notes
    assert [event.notes for event in told if isinstance(event, StartNoted)] == [(sentence,)]
    assert read_options(tmp_path / "auto" / "config.yaml")["precision"] == "auto"
    assert read_options(tmp_path / "auto" / "teacher" / "config.yaml")["precision"] == "bfloat16"

    named = config_of(precision="bfloat16", teacher_precision="bfloat16", method="dr_kd")
    train(*named, tmp_path / "named")
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("auto", "named")]
    assert models[0] == models[1]

    ratios.update(step=2.0, teacher=2.0)  # it would now choose otherwise
    (tmp_path / "auto" / "summary.json").unlink()
    (tmp_path / "auto" / "model.safetensors").unlink()
    train(*config_of(precision="auto", method="dr_kd", resume=True), tmp_path / "auto")
    assert asked == ["step", "teacher"]
    assert (tmp_path / "auto" / "model.safetensors").read_bytes() == models[0]


@pytest.mark.parametrize(
    ("options", "taught", "expected"),
    [
        ({"precision": "auto"}, True, ("float32", "bfloat16")),
        ({"precision": "auto"}, False, ("float32", None)),
        ({"precision": "auto", "teacher_precision": "float32"}, True, ("float32", None)),
        ({"teacher_precision": "auto"}, True, (None, "bfloat16")),
    ],
)
def test_a_teacher_has_a_choice_of_its_own(measured, options, taught, expected):
    measured[0]["step"] = 0.95  # less than a tenth is saved
    config, _ = config_of(method="dr_kd", **options)
    choice = choose(config, None, None, None, taught=taught)
    assert (choice.precision, choice.teacher_precision) == expected
    settled = choice.applied(config)
    assert settled.precision == "float32"
    assert settled.teacher_precision == (expected[1] or options.get("teacher_precision"))


def test_bfloat16_has_to_win_by_a_margin():
    assert [faster(ratio) for ratio in (0.5, 0.9, 0.91, 1.5, None)] == ["bfloat16"] * 2 + ["float32"] * 3


def test_steps_are_the_loop_s_own_in_turns_and_leave_no_trace(monkeypatch):
    config, _ = config_of(precision="auto", batch_size=8)
    task = get_task("classification")
    data = task.load(config)
    student = build_student(config, data)
    before = [tensor.clone() for tensor in student.state_dict().values()]
    state = torch.get_rng_state()
    seconds = itertools.cycle([4.0, 1.0])  # of float32 and of bfloat16, in turns
    readings = itertools.chain.from_iterable((0.0, spent) for spent in seconds)
    monkeypatch.setattr(precision, "_clock", lambda network: lambda: next(readings))
    assert ratio_of_steps(config, data, student) == 0.25
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(student.state_dict().values(), before, strict=True))


def test_a_pass_that_bfloat16_cannot_make_is_float32():
    config, _ = config_of(precision="auto")
    data = get_task("classification").load(config)

    class Refusing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(64, 10)

        def forward(self, inputs):
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("not implemented for BFloat16")
            return self.layer(inputs.flatten(1))

    choice = choose(config, data, Refusing(), None, taught=False)
    assert choice == PrecisionChoice("float32", None, {}, choice.processor)


def test_a_comparison_chooses_once_for_all(measured, tmp_path):
    _, asked = measured
    options = {**QUICK, "validation": 0.1, "label_noise": [0], "seeds": 2, "jobs": 1}
    with pytest.warns(UserWarning, match="--precision auto takes bfloat16"):
        drkd.compare(methods=["cross_entropy", "tf_kd_self"], precision="auto", out=tmp_path / "run", **options)
    assert asked == ["step", "teacher"]
    found = {
        (path.parent.name, read_options(path)["precision"], read_options(path)["teacher_precision"])
        for path in (tmp_path / "run" / "trainings").rglob("config.yaml")
    }
    plain = {(name, "bfloat16", None) for name in ("cross_entropy", "cross_entropy_2x")}
    assert found == {*plain, ("tf_kd_self", "bfloat16", "bfloat16")}


def test_where_a_measurement_says_nothing_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="--precision auto measures one process on this machine"):
        train(*config_of(precision="auto", devices=2), tmp_path / "run")
    with pytest.raises(InputError, match=r"--teacher-precision auto measures .* says nothing about --launcher ray"):
        drkd.compare(teacher_precision="auto", launcher="ray", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    with pytest.raises(InputError, match="fit cannot choose a precision"):
        drkd.fit(student, drkd.cross_entropy(), drkd.load_data("digits", limit_train=60), precision="auto")


def test_a_precision_of_the_teacher_without_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="--teacher-precision has no effect with cross_entropy, ps_kd, whose steps"):
        drkd.compare(methods=["ps_kd"], teacher_precision="bfloat16", out=tmp_path / "run")


def test_who_reads_a_run_reads_what_it_chose(tmp_path):
    record = {"precision": "bfloat16", "teacher_precision": None, "bfloat16_over_float32": {}, "processor": ""}
    (tmp_path / FILE).write_text(json.dumps(record))
    assert settled({"precision": "auto", "lr": 0.1}, tmp_path) == {"precision": "bfloat16", "lr": 0.1}
    assert settled({"precision": "float16"}, tmp_path / "none") == {"precision": "float16"}


@pytest.mark.parametrize(("ratio", "said"), [(0.5, True), (0.95, False), (None, False)])
def test_the_estimate_of_what_takes_long_says_that_bfloat16_takes_less(monkeypatch, ratio, said):
    monkeypatch.setattr(estimating, "LONG", 0.0)
    monkeypatch.setattr(estimating, "ratio_of_steps", lambda *_: ratio)
    config, _ = config_of(method="cross_entropy")
    data = get_task("classification").load(config)
    found = estimating.estimate_training(config, data, build_student(config, data), estimating.Path("none"), None)
    assert any(way.startswith("--precision auto, which chooses bfloat16 here") for way in found.cheaper) == said


def test_the_command_that_a_search_advises_names_what_was_chosen(tmp_path):
    config, source = resolve(TuneConfig, {"precision": "auto", "methods": ["dr_kd"], "out": str(tmp_path)})
    record = {"precision": "bfloat16", "teacher_precision": "float32", "bfloat16_over_float32": {}, "processor": ""}
    (tmp_path / FILE).write_text(json.dumps(record))
    results = TuneResults(0.1, 0.9, {}, "dr_kd:lr=0.1", 0.95, [], {}, recipe_val_score=0.9)
    found = Tuned(results.best, results, tmp_path)
    assert "--precision bfloat16 --teacher-precision float32" in study_command(found, config, source)
    alone = study_command(found, config, source, command="train")  # cross-entropy takes no teacher
    assert "--precision bfloat16" in alone
    assert "--teacher-precision" not in alone
