import pytest

from drkd import InputError
from drkd.config import TrainConfig, resolve
from drkd.runs.directory import inspect_run_dir, open_run_dir

CONFIG, SOURCE = resolve(TrainConfig, {})


def test_what_a_process_killed_at_its_first_write_leaves_is_no_obstacle(tmp_path):
    (tmp_path / ".config.yaml.1234.tmp").write_text("half")
    assert inspect_run_dir(tmp_path, CONFIG, finished="summary.json") == "new"
    open_run_dir(tmp_path, CONFIG, SOURCE)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert inspect_run_dir(tmp_path, CONFIG, finished="summary.json") == "unfinished"


@pytest.mark.parametrize("name", ["notes.txt", ".notes.tmp"])
def test_other_people_s_files_are_left_alone(tmp_path, name):
    (tmp_path / ".config.yaml.1234.tmp").write_text("half")
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="exists and is no run directory"):
        inspect_run_dir(tmp_path, CONFIG, finished="summary.json")
    assert (tmp_path / name).read_text() == "mine"
