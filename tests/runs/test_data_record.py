"""A run notices that its data have changed, and measures on no image that it was trained on."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import drkd
from drkd import InputError
from drkd.config import CompareConfig, TrainConfig, resolve
from drkd.data.record import DataRecord, FileRecord, describe_changes
from drkd.export.exporting import export_run
from drkd.runs.data_record import read_record
from drkd.runs.evaluating import evaluate_run
from drkd.runs.events import ignore_event
from drkd.runs.summary import RunSummary
from drkd.runs.training import train
from drkd.studies import comparison
from image_files import ROWS, noise, write_parquet

QUICK = {"model": "mlp", "method": "cross_entropy", "epochs": 2, "batch_size": 16, "augment": "none"}


def write_photos(root, count=40):
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise(1000 * label + number).save(root / name / f"{number}.png")
    return root


def run(photos, out, **options):
    return train(*resolve(TrainConfig, {**QUICK, "data": str(photos), **options}), out)


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


class StoppedError(Exception):
    pass


def stop(_):
    raise StoppedError


def test_a_run_keeps_which_files_were_in_which_split(photos, tmp_path):
    summary = run(photos, tmp_path / "run")
    record, data = read_record(tmp_path / "run"), drkd.load_data(photos)
    assert summary.data_fingerprint == record.fingerprint == data.record.fingerprint
    assert RunSummary.read(tmp_path / "run").data_fingerprint == record.fingerprint
    state = json.loads((tmp_path / "run" / "checkpoints" / "last" / "state.json").read_text())
    assert state["data"] == record.fingerprint
    for split in ("train", "val", "test"):
        assert set(record.images(split)) == set(getattr(data, split).names)
    assert len(record.files) == 80


def test_the_fingerprint_knows_neither_place_nor_time(photos, tmp_path):
    other = shutil.copytree(photos, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert drkd.load_data(photos).record.fingerprint == drkd.load_data(other).record.fingerprint


def test_resuming_with_other_data_is_refused_and_says_what_changed(photos, tmp_path):
    config, source = resolve(TrainConfig, {**QUICK, "data": str(photos)})
    with pytest.raises(StoppedError):
        train(config, source, tmp_path / "run", on_event=stop)
    noise(7).save(photos / "cat" / "new.png")
    (photos / "dog" / "3.png").rename(photos / "cat" / "3b.png")
    with pytest.raises(
        InputError, match=r"photos has changed.*1 file added \(cat/new.png\), 1 relabelled \(cat/3b.png\); give the"
    ):
        run(photos, tmp_path / "run", resume=True)
    (photos / "cat" / "new.png").unlink()
    (photos / "cat" / "3b.png").rename(photos / "dog" / "3.png")
    assert run(photos, tmp_path / "run", resume=True).epochs == 2


def test_a_finished_run_is_not_taken_for_one_of_other_data(photos, tmp_path):
    summary = run(photos, tmp_path / "run")
    assert run(photos, tmp_path / "run", resume=True) == summary
    (photos / "cat" / "0.png").unlink()
    with pytest.raises(InputError, match=r"1 file removed \(cat/0.png\)"):
        run(photos, tmp_path / "run", resume=True)
    shutil.rmtree(photos)
    assert run(photos, tmp_path / "run", resume=True) == summary  # nothing is read where nothing is left to do


def test_evaluate_and_export_say_so_and_measure_on_test_images_only(photos, tmp_path):
    summary = run(photos, tmp_path / "run")
    for number in range(0, 40, 5):
        (photos / "cat" / f"{number}.png").unlink()
    with pytest.warns(UserWarning, match="has changed since the training: 8 files removed"):
        evaluate_run(tmp_path / "run", data=None, split="test")
    with pytest.warns(UserWarning, match="has changed since the training"):
        export_run(tmp_path / "run", "torch")
    trained = read_record(tmp_path / "run").images("train")
    assert not set(trained) & set(drkd.load_data(photos).test.names)
    assert summary.test is not None


def test_evaluate_refuses_images_that_were_trained_on(photos, tmp_path):
    run(photos, tmp_path / "run")
    trained = sorted(read_record(tmp_path / "run").images("train"))[0]
    for name in ("cat", "dog"):  # its owner divides the folder by hand
        for part in ("train", "test"):
            (photos / part / name).mkdir(parents=True)
        for path in list((photos / name).iterdir()):
            part = "test" if f"{name}/{path.name}" == trained or path.stem in ("1", "2") else "train"
            path.rename(photos / part / name / path.name)
        (photos / name).rmdir()
    with (
        pytest.warns(UserWarning, match="has changed since the training"),
        pytest.raises(InputError, match=f"images of the test split of .* were trained on: .*test/{trained}"),
    ):
        evaluate_run(tmp_path / "run", data=None, split="test")


@pytest.mark.parametrize("change", ["rename", "copyfile"])
def test_a_trained_image_under_a_new_name_is_never_measured_on(photos, tmp_path, change):
    run(photos, tmp_path / "run")
    first = photos / sorted(read_record(tmp_path / "run").images("train"))[0]
    names = [f"again-{number}.png" for number in range(40)]  # some of them are of the test split, by their hash
    for name in names:
        shutil.copyfile(first, first.with_name(name))
    taken = {Path(name).name for name in drkd.load_data(photos).test.names} & set(names)
    for name in names:
        first.with_name(name).unlink()
    new = first.with_name(sorted(taken)[0])
    shutil.copyfile(first, new) if change == "copyfile" else first.rename(new)
    said = r"1 file (added|renamed) \(cat/again-\d+\.png\)"
    with (
        pytest.warns(UserWarning, match=said),
        pytest.raises(InputError, match=r"1 images of the test split of .* were trained on: cat/again-\d+\.png"),
    ):
        evaluate_run(tmp_path / "run", data=None, split="test")
    with pytest.warns(UserWarning, match=said), pytest.raises(InputError, match="were trained on"):
        export_run(tmp_path / "run", "torch")


def test_other_content_of_the_same_size_is_noticed(photos, tmp_path, monkeypatch):
    run(photos, tmp_path / "run")
    file = photos / sorted(read_record(tmp_path / "run").images("test"))[0]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"1 file of other content \("):
        run(photos, tmp_path / "run", resume=True)
    monkeypatch.setattr(drkd.data.record, "HASHED_BYTES", 100)  # of more data, names and sizes are known
    assert {each.content for each in drkd.load_data(photos).record.files.values()} == {None}
    assert run(photos, tmp_path / "run", resume=True)


def test_rows_of_a_table_cannot_be_found_again_so_other_tables_are_refused(tmp_path):
    table = tmp_path / "table"
    table.mkdir()
    write_parquet(table / "train.parquet", ROWS)
    run(table, tmp_path / "run")
    assert evaluate_run(tmp_path / "run", data=None, split="test").samples == 8
    write_parquet(table / "train.parquet", ROWS[1:])
    for split in ("val", "test"):
        with (
            pytest.warns(UserWarning, match="has changed"),
            pytest.raises(InputError, match=f"its {split} split may hold samples that were trained on; give the"),
        ):
            evaluate_run(tmp_path / "run", data=None, split=split)
    with pytest.raises(InputError, match="has changed since the training"):
        run(table, tmp_path / "run", resume=True)


def test_a_comparison_does_not_pair_seeds_of_different_data(photos, tmp_path):
    options = {"data": str(photos), "model": "mlp", "epochs": 1, "methods": ["label_smoothing"], "seeds": 2, "jobs": 1}
    config, source = resolve(CompareConfig, {**options, "augment": "none", "batch_size": 16})
    comparison.run(config, source, tmp_path / "run", on_event=ignore_event)
    (tmp_path / "run" / "results.json").unlink()
    shutil.rmtree(tmp_path / "run" / "trainings" / "clean-labels" / "seed-1" / "label_smoothing")
    (photos / "cat" / "0.png").unlink()
    with pytest.raises(InputError, match=r"has changed since the training.*1 file removed \(cat/0.png\)"):
        comparison.run(config, source, tmp_path / "run", on_event=ignore_event)


def test_an_edited_record_is_noticed(photos, tmp_path):
    run(photos, tmp_path / "run")
    path = tmp_path / "run" / "data.json"
    path.write_text(path.read_text().replace('"test"', '"train"'))
    with pytest.raises(InputError, match="was changed after it was written"):
        evaluate_run(tmp_path / "run", data=None, split="test")


def test_fit_resumes_only_on_the_tensors_that_it_began_with(tmp_path):
    def fit(shift, **options):
        inputs, labels = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) + shift, torch.arange(40) % 2
        data = drkd.from_tensors((inputs[:30], labels[:30]), (inputs[30:], labels[30:]))
        student = torch.nn.Linear(4, 2)
        return drkd.fit(student, drkd.cross_entropy(), data, batch_size=8, epochs=2, out=str(tmp_path), **options)

    first = fit(0.0)
    assert fit(0.0, resume=True).history == first.history
    with pytest.raises(InputError, match="began with other data"):
        fit(1.0, resume=True)


def test_changes_are_named():
    old = {name: FileRecord(0, 10) for name in ("a/1", "a/2", "a/3", "a/4")}
    assert describe_changes(old, old) == ""
    assert describe_changes(old, {**old, "a/1": FileRecord(0, 11)}) == "1 file of another size (a/1)"
    assert describe_changes(old, {**old, "a/1": FileRecord(1, 10)}) == "1 file relabelled (a/1)"
    assert describe_changes(old, {}) == "4 files removed (a/1, a/2, a/3, ...)"


def test_another_image_of_the_same_name_and_size_is_not_the_one_that_was_there(tmp_path):
    """Uncompressed images have the same size, and are often numbered in each folder."""
    trained = {"train/cat/1.bmp": FileRecord(0, 100, "train", "a")}
    before = DataRecord(("cat", "dog"), {**trained, "test/cat/1.bmp": FileRecord(0, 100, "test", "b")})

    def found(content, name="test/cat/1.bmp"):
        now = DataRecord(before.classes, {**trained, name: FileRecord(0, 100, "test", content)})
        return before.trained_on(now, "test"), describe_changes(before.files, now.files)

    assert found("c") == ([], "1 file of other content (test/cat/1.bmp)")
    assert found("c", "test/dog/1.bmp") == ([], "1 file added (test/dog/1.bmp), 1 removed (test/cat/1.bmp)")
    assert found("b", "test/dog/1.bmp") == ([], "1 file relabelled (test/dog/1.bmp)")
    assert found("a") == (["test/cat/1.bmp"], "1 file of other content (test/cat/1.bmp)")
    assert found(None, "tests/cat/1.bmp")[0] == []  # no split's folder
    assert found(None, "testing/cat/1.bmp")[0] == ["testing/cat/1.bmp"]  # contents are unknown: by name and size
