import errno
import json
import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import drkd
from drkd import InputError, StorageError
from drkd.models.files import ModelInfo, write_model
from drkd.tasks.loading import load_model
from drkd.training import checkpoint
from drkd.training.checkpoint import CheckpointPolicy, TrainState
from drkd.utils.files import read_json, read_tensors, write_tensors
from drkd.utils.hashing import content_hash


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
    saved.sums.names, saved.sums.totals = ["rows", "ce"], torch.tensor([5.0, 0.5], dtype=torch.float64)
    saved.save(tmp_path, best=True)
    numbers = torch.rand(3)
    other = state()
    assert other.restore(tmp_path)
    assert torch.equal(other.student.weight, saved.student.weight)
    momenta = [o.optimizer.state_dict()["state"][0]["momentum_buffer"] for o in (saved, other)]
    assert torch.equal(*momenta)
    assert other.sums.names == ["rows", "ce"]
    assert torch.equal(other.sums.totals, saved.sums.totals)
    assert other.result == saved.result
    assert torch.equal(torch.rand(3), numbers)


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


def test_a_model_file_says_how_to_build_it(tmp_path):
    net = drkd.create_model("small_cnn", num_classes=3, image_size=8)
    info = ModelInfo("small_cnn", ("a", "b", "c"), 8, 3, mean=(0.5,) * 3, std=(0.25,) * 3)
    write_model(tmp_path / "model.safetensors", net.state_dict(), info)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        loaded, read = load_model(path)
        assert read == info
        assert torch.equal(loaded(torch.ones(1, 3, 8, 8)), net.eval()(torch.ones(1, 3, 8, 8)))


def test_equal_models_are_equal_files(tmp_path):
    for name in ("a", "b"):
        write_tensors(tmp_path / name, {"w": torch.ones(3), "v": torch.zeros(2)}, {"model": "mlp"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_that_does_not_say_its_network_is_refused(tmp_path):
    write_tensors(tmp_path / "model.safetensors", {"w": torch.ones(3)})
    with pytest.raises(InputError, match="does not say which network"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="cannot read weights"):
        read_tensors(tmp_path / "model.safetensors")


def test_damaged_json_is_refused(tmp_path):
    (tmp_path / "summary.json").write_text('{"a": ')
    with pytest.raises(InputError, match="is damaged"):
        read_json(tmp_path / "summary.json")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    write_tensors(tmp_path / "w", {"w": torch.ones(3)})
    with pytest.raises(TypeError):
        write_tensors(tmp_path / "w", {"w": torch.zeros(3)}, {"model": object()})
    assert load_file(tmp_path / "w")["w"].tolist() == [1, 1, 1]


def test_metadata_is_one_sorted_key(tmp_path):
    from safetensors import safe_open

    write_tensors(tmp_path / "w", {"w": torch.ones(1)}, {"b": 1, "a": 2})
    with safe_open(tmp_path / "w", "pt") as file:
        (entry,) = file.metadata().items()
    content = content_hash({"w": torch.ones(1)}, {"a": 2, "b": 1})
    assert entry == ("drkd", json.dumps({"a": 2, "b": 1, "sha256": content}))


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


def flip(path, seed=0):
    content = bytearray(path.read_bytes())
    bit = random.Random(seed).randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["student", "objective", "optimizer", "best", "sums", "rng", "state", "manifest"])
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
    with pytest.warns(UserWarning, match=r"the checkpoint .*step-3 is damaged: .*; going on from an older state"):
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
    with pytest.raises(StorageError, match=r"cannot write .*step-4.*: No space left on device; what was saved before"):
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
    with pytest.raises(InputError, match=r"training in .*run began with another teacher \(SHA-256 .*\); give that one"):
        states[2].restore(tmp_path / "run" / "checkpoints")
    del net


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_model_file_is_refused(tmp_path, seed):
    """Flipped in the numbers, in their names, or in what is said about them."""
    net = drkd.create_model("mlp", num_classes=3, image_size=2, channels=1)
    file = tmp_path / "model.safetensors"
    write_model(file, net.state_dict(), ModelInfo("mlp", ("a", "b", "c"), 2, 1, mean=(0.5,), std=(0.25,)))
    flip(file, seed)
    with pytest.raises(InputError):
        load_model(file)


def test_a_model_file_without_a_checksum_is_old_not_damaged(tmp_path):
    net = drkd.create_model("mlp", num_classes=2, image_size=4)
    info = ModelInfo("mlp", ("a", "b"), 4, 3, mean=(0.5,) * 3, std=(0.25,) * 3)
    save_file(net.state_dict(), tmp_path / "model.safetensors", {"drkd": json.dumps(info.to_json())})
    with pytest.raises(InputError, match="no checksum: it was written by an older drkd"):
        load_model(tmp_path)
