"""The version of Engram, in its one place; the build reads it without running it."""

__all__ = ["__version__"]

__version__ = "0.1.0"
