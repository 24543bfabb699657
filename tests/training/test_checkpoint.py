import errno
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import drkd
from drkd import InputError, StorageError
from drkd.training import checkpoint
from drkd.training.checkpoint import CheckpointPolicy, TrainState
from spoiling import flip


def state(step=0):
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    found = TrainState(net, drkd.cross_entropy(), optimizer, torch.amp.GradScaler("cpu", enabled=False))
    found.best = dict(net.state_dict())
    found.result.step = step
    return found


def test_restore_puts_everything_back(tmp_path):
    saved = state(step=3)
    saved.sums.totals = {"loss": (0.5, 5.0), "ce": (0.1 + 0.2, 4.0)}
    saved.save(tmp_path, best=True)
    numbers = torch.rand(3)
    other = state()
    assert other.restore(tmp_path)
    assert torch.equal(other.student.weight, saved.student.weight)
    momenta = [o.optimizer.state_dict()["state"][0]["momentum_buffer"] for o in (saved, other)]
    assert torch.equal(*momenta)
    assert list(other.sums.totals.items()) == [("loss", (0.5, 5.0)), ("ce", (0.1 + 0.2, 4.0))]
    assert other.result == saved.result
    assert torch.equal(torch.rand(3), numbers)


def test_sums_of_an_older_version_are_refused(tmp_path):
    saved = state()
    saved.sums.totals = {"loss": 0.5, "rows": 5.0}
    saved.save(tmp_path, best=True)
    with pytest.raises(InputError, match="written within an epoch by an older drkd"):
        state().restore(tmp_path)


def test_nothing_to_restore(tmp_path):
    assert not state().restore(tmp_path)


def test_last_and_best_are_kept_and_two_complete_ones(tmp_path):
    for step, best in ((1, True), (2, False), (3, False), (4, False)):
        state(step).save(tmp_path, best=best)
    assert (tmp_path / "last").resolve().name == "step-4"
    assert (tmp_path / "best").resolve().name == "step-1"
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-1", "step-3", "step-4"]
    assert not list(tmp_path.glob(".*"))


def test_checkpoints_hold_no_code_path_or_time(tmp_path):
    state(1).save(tmp_path / "checkpoints", best=True)
    files = sorted(path for path in (tmp_path / "checkpoints" / "step-1").iterdir())
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    assert str(tmp_path) not in "".join(path.read_bytes().decode("latin-1") for path in files)


@pytest.mark.parametrize(
    ("every", "after_steps", "after_epoch"),
    [("epoch", [False] * 4, True), (2, [False, True, False, True], False), ("1000s", [False] * 4, False)],
)
def test_due(every, after_steps, after_epoch):
    due = CheckpointPolicy(every)
    assert [due.after_step(step) for step in (1, 2, 3, 4)] == after_steps
    assert due.after_epoch(5) is after_epoch


@pytest.mark.parametrize("every", ["0", "0s", "-1", "5m", ""])
def test_due_refuses_what_it_does_not_know(every):
    with pytest.raises(InputError, match="checkpoint_every"):
        CheckpointPolicy(every)


def trained(step):
    """A state whose weights are all the number of its step."""
    one = state(step)
    with torch.no_grad():
        one.student.weight.fill_(step)
    return one


@pytest.fixture
def three(tmp_path):
    """Three checkpoints, of steps 1 (the best), 2 and 3."""
    for step in (1, 2, 3):
        trained(step).save(tmp_path, best=step == 1)
    return tmp_path


@pytest.mark.parametrize("name", ["student", "objective", "optimizer", "best", "rng", "state", "manifest"])
@pytest.mark.parametrize("harm", ["flip", "cut", "missing", "empty"])
def test_a_damaged_checkpoint_is_reported_and_skipped(three, name, harm):
    (file,) = (three / "step-3").glob(f"{name}.*")
    if harm == "flip":
        flip(file)
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-2])
    if harm == "missing":
        file.unlink()
    if harm == "empty":
        file.write_bytes(b"")
    found = state()
    with pytest.warns(UserWarning, match=r"the checkpoint .*step-3 is damaged: .*; resuming from an older state"):
        assert found.restore(three)
    assert found.result.step == 2
    assert (found.student.weight == 2).all()


def test_where_all_are_damaged_there_is_none(three):
    for path in three.glob("step-*"):
        flip(path / "state.json")
    with pytest.warns(UserWarning, match="is damaged") as warned:
        assert not state().restore(three)
    assert len(warned) == 3


def test_the_newest_is_found_without_its_link(three):
    (three / "last").unlink()
    found = state()
    assert found.restore(three)
    assert found.result.step == 3


def test_a_copy_of_a_run_that_followed_its_links_goes_on(three, tmp_path):
    copy = shutil.copytree(three, tmp_path / "copy")
    assert not (copy / "last").is_symlink()
    trained(4).save(copy, best=False)
    assert (copy / "last").readlink() == Path("step-4")


def test_what_a_killed_process_left_is_neither_read_nor_kept(three):
    (three / ".step-9.tmp").mkdir()
    (three / ".step-9.tmp" / "state.json").write_text("{")
    found = state()
    assert found.restore(three)
    assert found.result.step == 3
    trained(4).save(three, best=False)
    assert not list(three.glob(".*"))


@pytest.mark.parametrize("what", ["write_tensors", "write_json", "flush_to_disk", "file_hash"])
def test_a_full_disk_is_one_error_and_leaves_the_last_good_state(three, monkeypatch, what):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, what, full)
    with pytest.raises(
        StorageError, match=r"cannot write .*step-4.*: No space left on device; earlier results are unchanged"
    ):
        trained(4).save(three, best=False)
    monkeypatch.undo()
    found = state()
    assert found.restore(three)
    assert found.result.step == 3
    assert not list(three.glob(".*"))


def test_another_teacher_is_refused(tmp_path):
    net, teachers = nn.Linear(2, 2), [nn.Linear(2, 2) for _ in range(2)]
    states = [state(1) for _ in range(3)]
    for one, teacher in zip(states, (teachers[0], teachers[0], teachers[1]), strict=True):
        one.objective = drkd.kd(teacher)
    states[0].save(tmp_path / "run" / "checkpoints", best=True)
    assert states[1].restore(tmp_path / "run" / "checkpoints")
    with pytest.raises(
        InputError, match=r"training in .*run started with another teacher \(SHA-256 .*\); use that one"
    ):
        states[2].restore(tmp_path / "run" / "checkpoints")
    del net


def test_files_of_others_beside_checkpoints_are_left_alone(three):
    """A copy made by a file manager, a file put into a checkpoint, a folder called otherwise."""
    shutil.copytree(three / "step-3", three / "step-4 (copy)")
    (three / "step-").mkdir()
    (three / "step-9x").write_text("x")
    (three / "step-3" / "notes.txt").write_text("mine")
    (three / "step-3" / "copy of student.safetensors").write_bytes(b"junk")
    (three / "step-3" / "folder").mkdir()
    found = state()
    assert found.restore(three)
    assert found.result.step == 3
    trained(5).save(three, best=False)
    assert {path.name for path in three.glob("step-*")} >= {"step-4 (copy)", "step-9x", "step-", "step-5"}
