"""Data: read once, split by the run's seed, served in replayable batches."""

from drkd.data.datasets import Data, Split, load_data

__all__ = ["Data", "Split", "load_data"]
