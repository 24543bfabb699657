from datetime import datetime

import pytest
from PIL import Image

import drkd.runs.directory
from drkd import InputError, load_data
from drkd.config import CompareConfig, TrainConfig, TuneConfig, resolve
from drkd.data.checking import check_data
from drkd.runs.directory import inspect_run_dir, new_run_dir, one_writer, open_run_dir, opened_run_dir
from drkd.runs.events import ignore_event
from drkd.runs.training import train
from drkd.studies import comparison, reproduction, tuning
from drkd.utils.folders import remove_empty_folders

CONFIG, SOURCE = resolve(TrainConfig, {})
QUICK = {"method": "cross_entropy", "epochs": 1, "limit_train": 100}


@pytest.mark.parametrize("left", [".config.yaml.1234.tmp", ".lock"])
def test_what_a_process_killed_at_its_first_write_leaves_is_no_obstacle(tmp_path, left):
    (tmp_path / left).write_text("half")
    assert inspect_run_dir(tmp_path, CONFIG, finished="summary.json") == "new"
    with one_writer(tmp_path):
        open_run_dir(tmp_path, CONFIG, SOURCE)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert inspect_run_dir(tmp_path, CONFIG, finished="summary.json") == "unfinished"


@pytest.mark.parametrize("name", ["notes.txt", ".notes.tmp"])
def test_other_people_s_files_are_left_alone(tmp_path, name):
    (tmp_path / ".config.yaml.1234.tmp").write_text("half")
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="exists and is not a run directory"):
        inspect_run_dir(tmp_path, CONFIG, finished="summary.json")
    assert (tmp_path / name).read_text() == "mine"


def test_new_run_directories_of_the_same_second_differ(tmp_path, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(drkd.runs.directory, "datetime", Clock)
    names = [new_run_dir("train") for _ in range(3)]
    assert [path.name for path in names] == [f"train-20260102-030405{end}" for end in ("", "-2", "-3")]
    assert all(path.is_dir() for path in names)
    (names[1] / "config.yaml").write_text("")
    remove_empty_folders()
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / names[1]]


def start_training(out):
    train(CONFIG, SOURCE, out)


def start_comparison(out):
    comparison.run(*resolve(CompareConfig, {}), out, on_event=ignore_event)


def start_search(out):
    tuning.run(*resolve(TuneConfig, {}), out, on_trial=ignore_event)


def start_reproduction(out):
    reproduction.reproduce("tf_kd/cifar100/mobilenetv2-self", miniature=True, out=out)


@pytest.mark.parametrize("start", [start_training, start_comparison, start_search, start_reproduction])
def test_a_second_writer_is_refused_and_the_first_keeps_its_files(tmp_path, start):
    out = tmp_path / "run"
    with one_writer(out):
        (out / ".config.yaml.1234.tmp").write_text("half")
        with pytest.raises(InputError, match=r"run is in use by process \d+ on .*; wait for it"):
            start(out)
        assert {path.name for path in out.iterdir()} == {".config.yaml.1234.tmp", ".lock"}
    assert not (out / ".lock").exists()


def test_a_run_is_locked_as_long_as_it_trains(tmp_path):
    held = []
    config, source = resolve(TrainConfig, {**QUICK, "method": "dr_kd"})
    lock = tmp_path / "run" / ".lock"
    train(config, source, tmp_path / "run", on_event=lambda _: held.append(lock.exists()))
    assert len(held) >= 2
    assert all(held)  # while its teacher is trained, too
    assert not list(tmp_path.rglob(".lock"))


def refuse_in(out, write):
    """A comparison in `out` whose data is refused; `write` happens meanwhile."""
    with one_writer(out), opened_run_dir(out, CONFIG, SOURCE):
        write()
        raise InputError("refused")


def test_a_refusal_removes_only_what_it_has_made(tmp_path):
    def begin_another_run_beside_it():
        (tmp_path / "new" / "run" / "trainings" / "clean-labels").mkdir(parents=True)
        (tmp_path / "new" / "other").mkdir()
        (tmp_path / "new" / "other" / "config.yaml").write_text("theirs")

    with pytest.raises(InputError, match="refused"):
        refuse_in(tmp_path / "new" / "run", begin_another_run_beside_it)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.yaml", "new", "other"]


def test_a_refusal_leaves_what_others_have_put_into_its_folder(tmp_path):
    def write_notes():
        (tmp_path / "run" / "trainings").mkdir()
        (tmp_path / "run" / "trainings" / "notes.txt").write_text("mine")

    with pytest.raises(InputError, match="refused"):
        refuse_in(tmp_path / "run", write_notes)
    assert (tmp_path / "run" / "trainings" / "notes.txt").read_text() == "mine"


def test_a_refusal_before_anything_is_trained_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="no data set"):
        train(*resolve(TrainConfig, {"data": "nowhere"}), tmp_path / "a" / "run")
    with pytest.raises(InputError, match="no data set"):
        comparison.run(
            *resolve(CompareConfig, {"data": "nowhere", "jobs": 1}), tmp_path / "b" / "run", on_event=ignore_event
        )
    assert list(tmp_path.iterdir()) == []


def write_photos(root):
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for number in range(30):
            Image.new("RGB", (8, 8), (number, label, 0)).save(root / name / f"{number}.png")
    return root


@pytest.mark.parametrize("below", ["", "run", "cat/run", "../photos/run"])
@pytest.mark.parametrize("name", ["", "imagenet:"])
def test_a_run_inside_its_data_is_refused(tmp_path, below, name):
    photos = write_photos(tmp_path / "photos")
    out = photos / below
    config, source = resolve(TrainConfig, {**QUICK, "data": f"{name}{photos}", "out": str(out)})
    with pytest.raises(
        InputError, match=r"is inside the data in .*, where it would be read as data; choose another folder"
    ):
        train(config, source, out)
    assert {path.name for path in photos.iterdir()} == {"cat", "dog"}


@pytest.mark.parametrize("home", ["runs/first", "first", "cat/first", "runs/reproduce/cnn-dr_kd-0123/seed-0"])
def test_runs_inside_the_data_are_left_out(tmp_path, monkeypatch, home):
    photos = write_photos(tmp_path / "photos")
    before = load_data(photos)
    train(*resolve(TrainConfig, {**QUICK, "data": str(photos), "limit_train": None}), photos / home)
    Image.new("RGB", (8, 8)).save(photos / home / "cases.png")
    monkeypatch.chdir(photos)
    with pytest.warns(UserWarning, match="holds drkd runs and is skipped; move it out of the data"):
        after = load_data(".")
    assert after.classes == ("cat", "dog")
    assert after.record.fingerprint == before.record.fingerprint
    assert check_data(".").count("warning") == {"own output": 1}


@pytest.mark.filterwarnings("ignore:.*without an image's extension")
def test_classes_may_be_called_as_runs_are(tmp_path):
    write_photos(tmp_path / "runs")
    (tmp_path / "runs" / "cat" / "config.yaml").write_text("of somebody else")
    assert load_data(tmp_path / "runs").classes == ("cat", "dog")
