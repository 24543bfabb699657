import csv

import pytest
import torch
import yaml

import drkd
from drkd import InputError
from drkd.config import TrainConfig, resolve
from drkd.models.files import ModelInfo, write_model
from drkd.runs.directory import kept_epoch
from drkd.runs.events import EpochDone, Estimated, Progressed
from drkd.runs.summary import RunSummary
from drkd.runs.training import train
from drkd.targets import state_hash
from drkd.targets.teacher_cache import TeacherCache
from drkd.utils.device import choose_device
from drkd.utils.files import read_tensors

QUICK = {"epochs": 3, "limit_train": 100}


def run(out, **options):
    return train(*resolve(TrainConfig, {**QUICK, **options}), out)


def history(out):
    with (out / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "dr_kd"
    return out, run(out, method="dr_kd")


def test_a_run_directory_is_complete(finished):
    out, summary = finished
    files = {"config.yaml", "data.json", "metrics.csv", "timing.csv", "model.safetensors", "summary.json"}
    assert {path.name for path in out.iterdir()} == files | {"checkpoints", "teacher", "mistakes.json"}
    rows = history(out)
    assert len(rows) == 3
    assert [float(row["rectified"]) for row in rows] == summary.rectified_fraction_per_epoch
    assert yaml.safe_load((out / "config.yaml").read_text())["epochs"] == 3
    assert "epochs: 3  # command line" in (out / "config.yaml").read_text()


def test_the_self_teacher_is_trained_first_and_known_by_its_hash(finished):
    out, summary = finished
    teacher, _ = drkd.load_model(out / "teacher")
    assert summary.teacher.sha256 == state_hash(teacher)
    data = drkd.load_data("digits", limit_train=100)
    assert summary.teacher_train_accuracy == drkd.evaluate(teacher, data, "train").accuracy
    assert 0 < summary.teacher_train_accuracy < 1


def test_the_summary_is_the_file_s(finished):
    out, summary = finished
    assert RunSummary.read(out) == summary


def test_events_report_every_epoch_of_the_teacher_and_of_the_run(tmp_path):
    events = []
    train(*resolve(TrainConfig, {**QUICK, "method": "dr_kd"}), tmp_path, name="mine", on_event=events.append)
    (told,) = [event.estimate for event in events[:1] if isinstance(event, Estimated)]
    assert (told.trainings, told.epochs) == (2, 3)
    assert 0 < told.seconds < 600
    events = [event for event in events[1:] if not isinstance(event, Progressed)]
    assert all(isinstance(event, EpochDone) for event in events)
    assert [(event.run, event.row["epoch"]) for event in events] == [
        *(("cross_entropy", epoch) for epoch in range(3)),
        *(("mine", epoch) for epoch in range(3)),
    ]


def test_the_teacher_equals_a_cross_entropy_run(finished, tmp_path):
    run(tmp_path / "ce", method="cross_entropy")
    taught, plain = (read_tensors(path / "model.safetensors") for path in (finished[0] / "teacher", tmp_path / "ce"))
    assert all(torch.equal(value, plain[name]) for name, value in taught.items())


def test_a_given_teacher_gives_the_same_student(finished, tmp_path):
    out, summary = finished
    again = run(tmp_path / "again", method="dr_kd", teacher=str(out / "teacher"))
    assert again.test == summary.test
    files = [(path / "model.safetensors").read_bytes() for path in (out, tmp_path / "again")]
    assert files[0] == files[1]
    assert (out / "metrics.csv").read_bytes() == (tmp_path / "again" / "metrics.csv").read_bytes()


def test_a_teacher_may_be_a_file_of_weights(finished, tmp_path):
    out, summary = finished
    torch.save(read_tensors(out / "teacher" / "model.safetensors"), tmp_path / "teacher.pt")
    assert run(tmp_path / "again", method="dr_kd", teacher=str(tmp_path / "teacher.pt")).test == summary.test


def test_a_finished_run_is_not_touched(finished):
    with pytest.raises(InputError, match="holds a finished run"):
        run(finished[0], method="dr_kd")
    assert run(finished[0], method="dr_kd", resume=True) == finished[1]


def test_a_run_with_other_settings_is_refused_by_name(finished):
    with pytest.raises(InputError, match=r"other settings \(lr\)"):
        run(finished[0], method="dr_kd", lr=0.5, resume=True)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not a run directory"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "nowhere"}, "no data set or folder"),
        ({"method": "kd"}, "kd needs a teacher"),
        ({"method": "ols", "teacher": "x"}, "ols takes no teacher"),
        ({"limit_train": 5}, "training split needs at least 10 samples, one of each class, got 5"),
        ({"teacher": "nowhere"}, "there is no file"),
        ({"model": "mpl"}, "did you mean mlp"),
        ({"method": "ps_kd", "temperature": 2.0}, "ps_kd takes no temperature"),
        ({"limit_train": 10**6}, "exceeds"),
        ({"device": "warp"}, "device 'warp' cannot be used"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_teacher_of_other_classes_is_refused(finished, tmp_path):
    torch.manual_seed(0)
    net = drkd.create_model("mlp", num_classes=3, image_size=8, channels=1)
    info = ModelInfo("mlp", ("a", "b", "c"), 8, 1, mean=(0.5,), std=(0.25,))
    write_model(tmp_path / "model.safetensors", net.state_dict(), info)
    with pytest.raises(InputError, match="has other classes than digits"):
        run(tmp_path / "out", teacher=str(tmp_path / "model.safetensors"))


def test_warnings_are_noted(tmp_path):
    summary = run(tmp_path / "out", method="tf_kd_reg", alpha=0.9, temperature=20.0, lr=0.001)
    assert any("weighs its soft target 360 times" in note for note in summary.notes)


def test_another_network_can_be_taught(finished, tmp_path):
    summary = run(tmp_path / "out", method="kd", model="small_cnn", teacher=str(finished[0]))
    assert summary.teacher.path == str(finished[0])


def test_a_tiny_validation_split_is_noted(tmp_path):
    from PIL import Image

    for shade, name in ((50, "dark"), (200, "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(30):
            Image.new("RGB", (8, 8), (shade,) * 3).save(tmp_path / "data" / name / f"{i}.png")
    summary = run(tmp_path / "out", data=str(tmp_path / "data"), limit_train=None, method="cross_entropy")
    assert summary.notes == ["the epoch is chosen on 3 validation samples only: the choice is close to chance"]


def test_auto_device_exists():
    assert torch.empty(0, device=choose_device("auto")).device.type


def test_kept_epochs_are_the_network_as_it_was_then(tmp_path):
    """The first of three epochs at a constant rate is the end of a run of one epoch."""
    steady = {"method": "cross_entropy", "schedule": "constant", "validation": 0.0}
    summary = run(tmp_path / "three", **steady, keep_epochs="0,2")
    alone = run(tmp_path / "one", **steady, epochs=1)
    first, last = (kept_epoch(tmp_path / "three", epoch) for epoch in (0, 2))
    assert first.read_bytes() == (tmp_path / "one" / "model.safetensors").read_bytes()
    assert last.read_bytes() == (tmp_path / "three" / "model.safetensors").read_bytes()
    assert not kept_epoch(tmp_path / "three", 1).exists()
    assert summary.kept_epochs == {"0": alone.test, "2": summary.test}
    taught = run(tmp_path / "taught", method="kd", teacher=str(first))
    assert taught.teacher.sha256 == state_hash(drkd.load_model(tmp_path / "one")[0])


def test_kept_epochs_survive_an_interruption(tmp_path, monkeypatch):
    """Interrupted right before the checkpoint of the epoch that is kept."""
    options = {"method": "cross_entropy", "keep_epochs": "1"}
    run(tmp_path / "whole", **options)

    def interrupt(event):
        if event.row["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*resolve(TrainConfig, {**QUICK, **options}), tmp_path / "cut", on_event=interrupt)
    kept_epoch(tmp_path / "cut", 1).unlink()
    run(tmp_path / "cut", **options, resume=True)
    kept = [kept_epoch(tmp_path / path, 1).read_bytes() for path in ("whole", "cut")]
    assert kept[0] == kept[1]


def test_an_epoch_that_never_comes_cannot_be_kept(tmp_path):
    with pytest.raises(InputError, match="--keep-epochs counts from 0 to 2 here, got 3"):
        run(tmp_path / "out", keep_epochs="0,3")
    assert not (tmp_path / "out").exists()


def test_without_validation_the_last_epoch_is_taken(tmp_path):
    summary = run(tmp_path / "out", method="cross_entropy", validation=0.0)
    assert (summary.best_epoch, summary.select) == (2, "last")
    assert summary.val is None
    assert not summary.notes
    rows = history(tmp_path / "out")
    assert "val_accuracy" not in rows[0]


def test_the_last_epoch_is_taken_where_it_is_asked_for(tmp_path):
    summary = run(tmp_path / "out", method="cross_entropy", select="last", lr=0.5)
    assert (summary.best_epoch, summary.select) == (2, "last")
    assert summary.val.accuracy == float(history(tmp_path / "out")[2]["val_accuracy"])


def test_milestones_and_gamma_reach_the_training(tmp_path):
    run(tmp_path / "out", method="cross_entropy", schedule="step", milestones="0.34,0.67", gamma=0.5, lr=0.08)
    rates = [float(row["lr"]) for row in history(tmp_path / "out")]
    assert rates == pytest.approx([0.08, 0.04, 0.02])


@pytest.mark.parametrize("rectify", ["swap", "smooth", "drop"])
def test_rectifiers_by_name(finished, tmp_path, rectify):
    teacher = str(finished[0] / "teacher")
    summary = run(tmp_path / rectify, method="dr_kd", rectify=rectify, teacher=teacher, epochs=1)
    assert 0 < summary.rectified_fraction_per_epoch[0] < 1
    loss = history(tmp_path / rectify)[0]["soft"]
    swapped = history(finished[0])[0]["soft"]
    assert (loss == swapped) == (rectify == "swap")


CNN = {"model": "small_cnn", "image_size": 32, "limit_train": 60, "limit_test": 40, "epochs": 2, "lr": 0.01}


@pytest.fixture
def passes(monkeypatch):
    """The epochs that teachers' caches wrote, in order."""
    written, write = [], TeacherCache.write
    monkeypatch.setattr(
        TeacherCache, "write", lambda self, epoch, answers: written.append(epoch) or write(self, epoch, answers)
    )
    return written


def test_a_teacher_is_asked_once_for_all_runs_on_the_same_images(tmp_path, passes):
    """Whatever the method; another seed or augmentation is other images, an altered teacher another teacher."""
    first = run(tmp_path / "first", method="dr_kd", cache_size="1MB", **CNN)
    teacher = {"teacher": str(tmp_path / "first" / "teacher"), "cache_size": "1MB", **CNN}
    assert passes == [0, 1]
    again = run(tmp_path / "again", method="dr_kd", **teacher)
    run(tmp_path / "other", method="tf_kd_self", alpha=0.9, **teacher)
    assert passes == [0, 1]
    assert again.test == first.test
    assert (tmp_path / "again" / "metrics.csv").read_text() == (tmp_path / "first" / "metrics.csv").read_text()
    run(tmp_path / "seed", method="dr_kd", seed=1, **teacher)
    run(tmp_path / "augment", method="dr_kd", augment="crop_flip", **teacher)
    assert passes == [0, 1] * 3
    assert len(list((tmp_path / "teacher-cache").iterdir())) == 3


def test_the_cache_stays_out_where_it_saves_nothing(tmp_path, passes):
    """No size; a teacher that is cheaper to ask than to look up; a teacher that sees plain images only."""
    run(tmp_path / "off", method="dr_kd", **CNN)
    run(tmp_path / "cheap", method="dr_kd", cache_size="1MB", epochs=2, limit_train=60)
    summary = run(tmp_path / "clean", method="dr_kd_clean_view", cache_size="1MB", **CNN)
    assert passes == []
    assert summary.method == "dr_kd_clean_view"
    assert summary.teacher_train_accuracy is not None


def test_a_full_cache_is_noted_and_changes_nothing(tmp_path):
    whole = run(tmp_path / "whole", method="dr_kd", cache_size="1MB", **CNN)
    half = run(tmp_path / "half", method="dr_kd", cache_size="1.5KB", cache=str(tmp_path / "small"), **CNN)
    assert half.test == whole.test
    assert any("teacher cache" in note and "raise --cache-size" in note for note in half.notes)
    assert not any("teacher cache" in note for note in whole.notes)


def test_the_memory_format_is_the_networks_unless_it_is_given(tmp_path, monkeypatch):
    chosen = []

    def fit(*args, settings, **options):
        chosen.append(settings.memory_format)
        raise InterruptedError

    monkeypatch.setattr("drkd.runs.training.fit", fit)
    for number, options in enumerate(
        ({"model": "vgg19_bn"}, {"model": "small_cnn"}, {"model": "vgg19_bn", "memory_format": "channels_last"})
    ):
        with pytest.raises(InterruptedError):
            run(tmp_path / str(number), method="cross_entropy", image_size=32, **options)
    assert chosen == ["contiguous", "auto", "channels_last"]
