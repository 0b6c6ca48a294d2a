"""What the fault tests share: the library between a daemon and the system, and homes whose daemon runs on top of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon_fixture import Home
from tests.faults.world import Faults

SOURCE = Path(__file__).with_name("interpose.c")


@pytest.fixture(scope="session")
def interposer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile the library once."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or compiler is None:
        pytest.skip("the library between daemon and system is for Linux and wants a C compiler")
    target = tmp_path_factory.mktemp("interposer") / "interpose.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(target), str(SOURCE), "-ldl", "-lpthread"],
                   check=True, capture_output=True)
    return str(target)


@pytest.fixture
def faults(home: Home, interposer: str) -> Iterator[Faults]:
    """Give a home whose daemons run on the library; nothing fails until a test says so."""
    yield Faults(home, interposer)
