"""Fixtures every part of the tests may use."""

from tests.daemon_fixture import daemon, home, memory

__all__ = ["daemon", "home", "memory"]
