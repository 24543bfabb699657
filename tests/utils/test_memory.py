"""What a process keeps of the memory that it has used."""

import os
import subprocess
import sys

import pytest

CODE = """
import torch
from drkd.utils.device import give_back_memory, set_up_process

def held():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))

set_up_process(1)
before = held()
tensors = [torch.ones(10 * 2**20 // 4) for _ in range(20)]
del tensors
kept = held()
give_back_memory()
print(kept - before, held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux" or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION"), reason="glibc only")
def test_freed_memory_is_kept_and_given_back():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    kept, rest = map(int, done.stdout.split())
    assert kept > 150  # of 200 MB
    assert rest < 50
