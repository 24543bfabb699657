import pytest
import torch


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    """One thread and one seed: every test gets the same random numbers whichever tests run before it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
