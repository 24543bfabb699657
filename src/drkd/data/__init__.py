"""Data: read once, split by the run's seed, served in replayable batches."""

from drkd.data.datasets import Data, Split, load_data
from drkd.data.given import as_data
from drkd.data.tensors import from_tensors

__all__ = ["Data", "Split", "as_data", "from_tensors", "load_data"]
