"""A target, asked directly."""

from drkd import StudentBatch


def ask(target, logits, labels, inputs=None, index=None):
    """What it says of a batch: its logits, and which rows are valid."""
    output = target(StudentBatch(logits, labels, inputs, index))
    return output.logits, output.valid
