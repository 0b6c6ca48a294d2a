"""Fixtures every part of the tests may use."""

from hypothesis import settings

from tests.daemon_fixture import daemon, home, memory

# How long one example takes says more about the machine than about the code; what is slow is measured in benchmarks/.
settings.register_profile("engram", deadline=None)
settings.load_profile("engram")

__all__ = ["daemon", "home", "memory"]
