import pytest

from drkd.data import datasets
from image_files import write_set


@pytest.fixture(autouse=True)
def _no_data_kept():
    """Files that change in a test are read again."""
    datasets._read.cache_clear()


@pytest.fixture
def root(tmp_path):
    """A sound data set."""
    return write_set(tmp_path)
