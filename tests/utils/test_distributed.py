import json
import socket

import pytest
import torch
import torch.multiprocessing as mp

from drkd.utils import distributed
from drkd.utils.workers import worker_context
from workers import train


def test_two_ranks_train_like_one(tmp_path):
    """Uneven batches included: 101 samples in batches of 25, 25, 25, 26 over two ranks, with and without ignored ones.

    In DLB's last batch the 25 rows seen again and the 26 new ones are shared in other proportions.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    train(0, 1, port, tmp_path)
    method = worker_context("drkd.studies.comparison").get_start_method()  # what it imports is imported once
    mp.start_processes(train, args=(2, port, tmp_path), nprocs=2, start_method=method)
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    for average in ("ema:0.6", "swa:0"):  # with batch norm, which makes two ranks differ from one
        alone.pop(average)
        assert first[average][0] == second[average][0]
        assert all(torch.equal(value, second[average][1][name]) for name, value in first[average][1].items())
    for method, (history, weights) in alone.items():
        for other in (first, second):
            for ours, theirs in zip(other[method][0], history, strict=True):
                assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
            for name, value in weights.items():
                assert torch.allclose(other[method][1][name], value, atol=1e-5)
    check_writers(*(json.loads((tmp_path / f"writer-{rank}.json").read_text()) for rank in range(2)))


def check_writers(first, second):
    """All ranks of a training are one writer, named by rank 0, in a directory whose default name they agree on."""
    assert first["folder"] == second["folder"]
    assert first["folder"].startswith("runs/train-")
    assert first["lock"] == second["lock"]
    assert first["lock"].startswith(f"process {first['pid']} on ")
    assert not first["left"]
    assert first["refused"] == second["refused"]
    assert f"taken is in use by process {second['pid']} on " in first["refused"]


def test_one_process_is_rank_0_of_1():
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    rows = (torch.ones(2), torch.zeros(2))
    assert distributed.gather(rows) == [rows]
