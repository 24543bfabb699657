"""`--deterministic`: the operations that have no reproducible form become errors; the others give the same numbers."""

import pytest
import torch

import drkd
from drkd.config import TrainConfig, resolve
from drkd.runs.training import train

OPTIONS = {"method": "cross_entropy", "model": "small_cnn", "epochs": 1, "limit_train": 60, "threads": 1}


@pytest.fixture(autouse=True)
def _as_before():
    yield
    torch.use_deterministic_algorithms(False)


def trained(out, **options):
    summary = train(*resolve(TrainConfig, {**OPTIONS, **options}), out)
    return summary.test, drkd.load_model(out)[0].state_dict()


def test_a_deterministic_training_is_the_usual_one_on_a_processor(tmp_path):
    usual, weights = trained(tmp_path / "usual")
    assert not torch.are_deterministic_algorithms_enabled()
    strict, same = trained(tmp_path / "strict", deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert strict == usual
    assert all(torch.equal(same[name], weights[name]) for name in weights)


def test_what_has_no_reproducible_form_is_an_error(tmp_path):
    trained(tmp_path / "run", deterministic=True)
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        torch.empty(3).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)
