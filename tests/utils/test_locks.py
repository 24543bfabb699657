import os
import subprocess
import sys
import threading

import pytest

from drkd.utils.folders import make_folder, remove_empty_folders
from drkd.utils.locks import LockedError, locked

HOLD = """
import sys, time
from pathlib import Path
from drkd.utils.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_with_the_first_one_s_name(tmp_path):
    with locked(tmp_path / "lock"):
        with pytest.raises(LockedError, match=f"process {os.getpid()} on "), locked(tmp_path / "lock"):
            pass
        assert (tmp_path / "lock").exists()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text().startswith("process")


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "lock"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"process {holder.pid} on "), locked(tmp_path / "lock"):
            pass
        holder.kill()
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock"):
        assert f"process {os.getpid()}" in (tmp_path / "lock").read_text()


def test_of_many_at_once_one_holds(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(200):
            try:
                with locked(tmp_path / "lock"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except LockedError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert list(tmp_path.iterdir()) == []


def test_only_empty_folders_of_our_own_are_removed(tmp_path):
    (tmp_path / "theirs").mkdir()
    make_folder(tmp_path / "theirs")
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "d")
    (tmp_path / "a" / "notes.txt").write_text("somebody's")
    remove_empty_folders()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "a/notes.txt", "theirs"]
    (tmp_path / "a" / "notes.txt").unlink()
    remove_empty_folders()
    assert not (tmp_path / "a").exists()


def test_a_folder_can_be_made_by_one_only(tmp_path):
    make_folder(tmp_path / "a", exclusive=True)
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a", exclusive=True)
