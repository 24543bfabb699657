"""The version of drkd, in one place."""

__version__ = "0.1.0"
