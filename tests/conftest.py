"""Fixtures every part of the tests may use."""

import sys

import pytest
from hypothesis import settings

from tests.daemon_fixture import daemon, home, memory

# How long one example takes says more about the machine than about the code; what is slow is measured in benchmarks/.
settings.register_profile("engram", deadline=None)
settings.load_profile("engram")

__all__ = ["daemon", "home", "memory"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the fault tests took: torture, fuzz and everything with several processes have a budget in CI."""
    took: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            path, _, name = getattr(report, "nodeid", "").partition("::")
            if path.startswith(("tests/faults/", "tests/processes/", "tests/cluster/")) and hasattr(report, "duration"):
                module = path.removeprefix("tests/").removeprefix("faults/").removesuffix(".py")
                key = f"{module} kill -9 cycles" if name.startswith("test_kill_9_cycles") else module
                took[key] = took.get(key, 0.0) + report.duration
    if took:
        rows = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in sorted(took.items()))
        terminalreporter.write_line(f"fault tests: {sum(took.values()):.0f} s in one line: {rows}")


def pytest_sessionfinish() -> None:
    """Leave nothing on the database servers; a worker of xdist ends without the interpreter's own farewell."""
    servers = sys.modules.get("tests.servers")
    if servers is not None:
        servers.clean()
