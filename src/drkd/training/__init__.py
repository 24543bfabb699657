"""One training: `fit`, its loop, its step, checkpoints, signals, compilation, metrics."""
