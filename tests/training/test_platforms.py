"""What Windows and macOS do otherwise, as far as Linux can play it: the suite itself has run on Linux only."""

import errno
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import drkd
from drkd.data.files import inside
from drkd.training.checkpoint import TrainState
from drkd.utils import files, links
from drkd.utils.folders import make_folder

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel what is open")


def refuse_mapped(path):
    """As Windows does for a file, or one in a folder, whose content some tensor or array still is."""
    if str(Path(path).resolve()) in Path("/proc/self/maps").read_text(encoding="utf-8"):
        raise PermissionError(errno.EACCES, "the file is in use", str(path))


@pytest.fixture
def windows(monkeypatch):
    """A file system that has no links, opens no folder, flushes only writers and deletes nothing that is in use."""
    fcntl = pytest.importorskip("fcntl")
    really_open, really_flush, really_remove, really_replace = os.open, os.fsync, shutil.rmtree, Path.replace

    def opened(path, flags, *arguments, **keywords):
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really_open(path, flags, *arguments, **keywords)

    def flushed(descriptor):
        if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EBADF, "Bad file descriptor")
        really_flush(descriptor)

    def removed(path, **keywords):
        refuse_mapped(path)
        with monkeypatch.context() as whole:
            whole.setattr(os, "open", really_open)
            really_remove(path, **keywords)

    def replaced(path, target):
        refuse_mapped(target)
        return really_replace(path, target)

    for module in (files, links):
        monkeypatch.setattr(module, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(shutil, "rmtree", removed)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(Path, "symlink_to", refuse_links)


def refuse_links(*_):
    raise OSError(errno.EPERM, "a required privilege is not held by the client")


def fitted(out, **more):
    data = drkd.load_data("digits", limit_train=100)
    torch.manual_seed(0)
    student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    drkd.fit(student, drkd.cross_entropy(), data, epochs=2, batch_size=50, out=out, **more)
    return student.state_dict()


def state():
    network = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    found = TrainState(network, drkd.cross_entropy(), optimizer, torch.amp.GradScaler("cpu", enabled=False))
    found.best = dict(network.state_dict())
    return found


def test_a_run_is_written_where_windows_would(tmp_path, windows):
    whole, written = fitted(None), fitted(tmp_path)
    assert all(torch.equal(written[name], value) for name, value in whole.items())
    assert b"\r" not in (tmp_path / "metrics.csv").read_bytes()


@linux
def test_checkpoints_are_resumed_and_removed_where_windows_would(tmp_path, windows):
    saved = state()
    for step in (1, 2):
        saved.result.step = step
        saved.save(tmp_path, best=step == 1)
    resumed = state()
    assert resumed.restore(tmp_path)
    for step in (3, 4):  # step 2, from which it resumed, goes
        resumed.result.step = step
        resumed.save(tmp_path, best=False)
    assert torch.equal(resumed.best["weight"], saved.best["weight"])
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in ("best", "last")} == {
        "best": "step-1\n",
        "last": "step-4\n",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"best", "last", "step-1", "step-3", "step-4"}


def test_without_links_the_best_is_kept_all_the_same(tmp_path, monkeypatch):
    for name in ("step-1", "step-2"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(Path, "symlink_to", refuse_links)
    links.point(tmp_path / "best", "step-1")
    assert links.pointed_by(tmp_path / "best") == (tmp_path / "step-1").resolve()
    monkeypatch.undo()
    links.point(tmp_path / "best", "step-2")  # the disk goes back to a system with links
    assert (tmp_path / "best").readlink() == Path("step-2")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR, errno.EROFS])
def test_a_folder_that_is_there_is_no_error_whatever_the_system_says(tmp_path, monkeypatch, number):
    really = Path.mkdir

    def refuse_roots(path, *arguments):
        if path.is_dir():
            raise OSError(number, os.strerror(number), str(path))
        really(path, *arguments)

    monkeypatch.setattr(Path, "mkdir", refuse_roots)
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "c")


def test_another_drive_is_outside(monkeypatch):
    def commonpath(_):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", commonpath)
    assert not inside(Path("photos"), Path("D:/photos/cat.jpg"))
