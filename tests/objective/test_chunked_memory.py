"""Large logits that go through in pieces take less memory."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drkd.objective import chunked as large

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from large_k import extra_memory

SHAPES = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(2, 12)),
    st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(1, 4), st.integers(1, 4)),
)


@pytest.mark.parametrize("method", ["cross_entropy", "kd", "dr_kd", "label_smoothing", "tf_kd_reg"])
def test_one_more_tensor_beside_the_gradient_is_all_the_memory(method, monkeypatch):
    """Peak of one forward and backward pass, in units of B x K values, pieces of 1/32 of them."""
    monkeypatch.setattr(large, "LARGE_SIZE", 1)
    monkeypatch.setattr(large, "CHUNK", 2**14 // torch.get_num_threads())
    extra = extra_memory(method, 64, 8192)
    assert extra <= (0.2 if method == "cross_entropy" else 1.2)
    monkeypatch.setattr(large, "LARGE_SIZE", 10**9)  # nothing is large
    assert extra_memory(method, 64, 8192) > extra + 0.9


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, threads=st.integers(1, 3))
def test_pieces_cover_every_row_once_and_are_small(shape, threads):
    rows = torch.zeros(shape[0], 1, *shape[2:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "CHUNK", 6)
        patch.setattr(torch, "get_num_threads", lambda: threads)
        for logits, row in large._chunks(torch.zeros(shape), rows):
            assert logits.numel() <= max(6 * threads, shape[1])
            assert logits.shape == (row.shape[0], shape[1], *row.shape[2:])
            row.add_(1)
    assert (rows == 1).all()
