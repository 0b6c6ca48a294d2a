"""The engine of Engram: models, store, recall, kernel, daemon. Nothing here is public: import ``engram``."""

from engram_core._version import __version__

__all__ = ["__version__"]
