"""Arguments of other types are refused by name; those that fit are not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

import drkd
from drkd import InputError
from drkd.utils.arguments import check_arguments


def function(
    whole: int | None = None,
    real: float = 0.0,
    flag: bool = False,
    text: str | Path = "",
    choice: Literal["a", "b"] | Callable[..., Any] = "a",
    texts: Sequence[str | Path] = (),
    pair: tuple[torch.Tensor, int] = (torch.zeros(1), 1),
    many: Iterable[int] = (),
    table: Mapping[str, Any] | None = None,
    network: nn.Module | None = None,
    **options: int,
) -> None:
    pass


@pytest.mark.parametrize(
    "given",
    [
        {"whole": np.int64(3), "real": 2, "flag": True, "text": Path("x"), "choice": print},
        {"whole": None, "real": np.float32(0.5), "text": "x", "choice": "c", "texts": [Path("x"), "y"]},
        {"pair": [torch.zeros(2), 3], "many": iter([1]), "table": {}, "network": nn.ReLU()},
        {"options": "x", "unknown": 1},
    ],
)
def test_what_fits_is_taken(given):
    check_arguments(function, given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"whole": True}, "`function` needs whole as a whole number or None, got bool"),
        ({"whole": 1.0}, "whole as a whole number or None, got float"),
        ({"real": "1"}, "real as a number, got str"),
        ({"flag": 1}, "flag as True or False, got int"),
        ({"text": b"x"}, "text as text or a path, got bytes"),
        ({"choice": 3}, "choice as 'a' or 'b' or a function, got int"),
        ({"texts": "abc"}, "texts as a list of text or a path, got str"),
        ({"texts": ["a", 1]}, "texts as a list of text or a path, got list of str, int"),
        ({"pair": (torch.zeros(1),)}, "pair as a tuple of 2, got tuple of Tensor"),
        ({"many": 3}, "many as a list of a whole number, got int"),
        ({"table": [1]}, "table as a dictionary or None, got list of int"),
        ({"network": nn.ReLU}, "network as a network or None, got type"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given, message):
    with pytest.raises(InputError) as error:
        check_arguments(function, given)
    assert message in str(error.value)


LOGITS, LABELS = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
ROWS = (torch.randn(12, 2), torch.arange(12) % 3)
DATA = drkd.from_tensors(ROWS, ROWS, validation=0.0)
CALLS = {
    "`create_model` needs name as text, got int": lambda: drkd.create_model(3, num_classes=2, image_size=8),
    "num_classes must be a whole number": lambda: drkd.create_model("mlp", num_classes=0, image_size=8),
    "`load_model` needs source as text or a path": lambda: drkd.load_model(None),
    "`load_data` needs validation as a number": lambda: drkd.load_data(validation="0.1"),
    "`evaluate` needs data as Data": lambda: drkd.evaluate(nn.Linear(2, 3), None),
    "`self_distill` needs network as a network": lambda: drkd.self_distill(print, DATA),
    "`fit` needs on_epoch as a function": lambda: drkd.fit(nn.Linear(2, 3), drkd.ps_kd(), DATA, on_epoch=3),
    "`export_run` needs run as text or a path": lambda: drkd.export_run(1),
    "`bench_files` needs sources as a list": lambda: drkd.bench_files("run"),
    "`Rectified` needs target as Target": lambda: drkd.Rectified("x"),
    "without_target must be label or nothing": lambda: drkd.Term(drkd.Uniform(), name="t", without_target="x"),
    "the test rows must be two tensors": lambda: drkd.from_tensors((LOGITS, LABELS), None),
    "the teacher Linear cannot take inputs float32 (4, 5)": lambda: drkd.kd(nn.Linear(2, 3))(
        LOGITS, LABELS, inputs=torch.zeros(4, 5)
    ),
    "`StudentBatch` needs labels (4,) beside": lambda: drkd.StudentBatch(LOGITS, LABELS[:2]),
    "`StudentBatch` needs integer labels": lambda: drkd.StudentBatch(LOGITS, LABELS.float()),
    "logits and labels on one device": lambda: drkd.cross_entropy()(LOGITS.to("meta"), LABELS),
    "dense logits": lambda: drkd.swap(LOGITS.to_sparse(), LABELS),
    "`swap` needs ignore_index as a whole number": lambda: drkd.swap(LOGITS, LABELS, ignore_index=None),
    "of both sides, got (4, 3) and (3, 4)": lambda: drkd.kl_divergence(LOGITS, LOGITS.t()),
    "needs as target_logits a tensor of logits": lambda: drkd.soft_cross_entropy(LOGITS, None),
    "temperature must be at most 1e+06": lambda: drkd.kd(nn.Linear(2, 3), temperature=1e308),
    "reduction must be none, sum or batchmean": lambda: drkd.cross_entropy()(LOGITS, LABELS, reduction=np.zeros(3)),
    "multiplier must be above 0, got '-1'": lambda: drkd.kd(nn.Linear(2, 3), multiplier="-1"),
    "`prepare` needs the training samples": lambda: drkd.ps_kd().prepare("digits"),
    "positions from 0 to": lambda: DATA.train.select(torch.tensor([-1])),
    "a tensor of positions (N,)": lambda: DATA.train.select(3),
}


@pytest.mark.parametrize("message", CALLS)
def test_public_calls_refuse_by_name(message):
    with pytest.raises(InputError) as error:
        CALLS[message]()
    assert message in str(error.value)
