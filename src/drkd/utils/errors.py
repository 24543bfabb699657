"""The errors that drkd raises."""


class InputError(ValueError):
    """Invalid input; the message says what was expected, what came, and what to do."""


class NonFiniteLossError(FloatingPointError):
    """A loss became NaN or infinite; the message names the method and the part."""


class StorageError(OSError):
    """Something could not be written; the message names it, and what was written before is as it was."""


class ParityError(RuntimeError):
    """An exported file's predictions differ from its network's beyond the tolerance: it is rejected."""
