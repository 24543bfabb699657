import platform

import pytest
import torch

from drkd.utils.device import set_up_process

resource = pytest.importorskip("resource")  # Windows has none


def pages_made():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)  # 64 MB, 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_memory_once_used_is_used_again_with_glibc():
    set_up_process(None)
    assert torch.get_num_threads() == 1
    if platform.libc_ver()[0] == "glibc":
        assert min(pages_made() for _ in range(20)) < 1000  # not the second time yet: the heap settles first


def test_threads_are_set_where_asked_for():
    set_up_process(2)
    assert torch.get_num_threads() == 2
