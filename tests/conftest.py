import pytest
import torch
from hypothesis import settings

settings.register_profile("drkd", deadline=None)  # timings belong in benchmarks/
settings.load_profile("drkd")
torch.set_num_threads(1)  # for fixtures of modules too, which are made before those of a test


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    """One thread and one seed: every test gets the same random numbers whichever tests run before it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
