"""What becomes of a run's `config.yaml` that was edited, or damaged."""

import random
import warnings

import pytest

from drkd import InputError
from drkd.config import CompareConfig, TrainConfig, as_yaml, read_options, read_written, resolve
from drkd.config.written import WRITTEN


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml(*resolve(TrainConfig, {"lr": 0.1, "label_noise": 1e-5, "method": "dr_kd"})))
    return path


def edit(file, *replacements):
    text = file.read_text()
    for old, new in replacements:
        assert text.count(old) >= 1
        text = text.replace(old, new, 1)
    file.write_text(text)


@pytest.mark.parametrize("kind", [TrainConfig, CompareConfig])
def test_what_was_written_is_read_without_a_word(tmp_path, kind):
    config, source = resolve(kind, {"out": "runs/é", "lr": 0.3})
    (tmp_path / "config.yaml").write_text(as_yaml(config, source), encoding="utf-8")
    assert read_written(tmp_path / "config.yaml") == config.model_dump() == read_options(tmp_path / "config.yaml")


def test_options_that_were_changed_are_refused_by_name(file):
    edit(file, ("lr: 0.1 ", "lr: 0.5 "), ("seed: 0 ", "sead: 0 "))
    with pytest.raises(InputError, match=r"lr is 0.5, was 0.1.*seed is missing, was 0.*sead is 0, was missing"):
        read_written(file)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("data: digits ", "data: /moved ", "data is '/moved', was 'digits'"),
        ("resume: false ", "resume: true ", "resume is True, was False"),
        ("# command line", "# my choice", "was changed after it was written, but its options are unchanged"),
        (WRITTEN, "# ", "does not end the way drkd writes it"),
    ],
)
def test_what_changes_no_result_is_said(file, old, new, said):
    edit(file, (old, new))
    with pytest.warns(UserWarning, match=said):
        assert read_written(file)["lr"] == 0.1


def test_no_damage_is_silent(file):
    content, before, draw, refused = file.read_bytes(), read_written(file), random.Random(0), 0
    for number in range(60):
        damaged = bytearray(content)
        bit = draw.randrange(8 * len(content) - 8)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged if number % 2 else content[: bit // 8])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                found = read_written(file)
            except InputError:
                refused += 1
                continue
        assert said or found == before
    assert refused > 20
