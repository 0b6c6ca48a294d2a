"""Checks the service units that ship: systemd reads them, and finds them as hardened as they claim."""

from __future__ import annotations

import configparser
import os
import plistlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engram_core import shipped

USER = Path(shipped.path("systemd", "user"))
SYSTEM = Path(shipped.path("systemd", "system"))
SERVICES = [USER / "engram.service", SYSTEM / "engram@.service"]
SOCKETS = [USER / "engram.socket", SYSTEM / "engram@.socket"]
EXPOSURE = 1.0

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)


def settings(path: Path) -> dict[str, list[str]]:
    """Return every setting of a unit with all its values; systemd lets one be given more than once."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def analyzed(tmp_path: Path) -> Path:
    """Lay the units out for systemd-analyze, with a program in the place of one that is not installed."""
    for folder in (USER, SYSTEM):
        shutil.copytree(folder, tmp_path / folder.name)
        for unit in (tmp_path / folder.name).glob("*.service"):
            unit.write_text(unit.read_text().replace("ExecStart=engram", "ExecStart=/bin/true"))
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path


def systemd_analyze(place: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *(["--user"] if place.name == "user" else []), *arguments],
        capture_output=True,
        text=True,
        cwd=place,
        env={"PATH": os.defpath, "HOME": str(place.parent), "XDG_RUNTIME_DIR": str(place.parent / "run")},
    )
    said = done.stdout + done.stderr
    if re.search(r"Unknown (command|option)|unrecognized option|Unknown operation", said):
        pytest.skip(f"this systemd-analyze is too old: {said.strip()[:100]}")
    assert done.returncode == 0, said
    return said


@needs_systemd
@pytest.mark.parametrize("folder", ["user", "system"])
def test_systemd_reads_the_units_without_complaint(analyzed: Path, folder: str) -> None:
    units = [f"./{path.name}" for path in sorted((analyzed / folder).iterdir())]
    said = systemd_analyze(analyzed / folder, "verify", "--man=no", *units)
    assert not [line for line in said.splitlines() if "engram" in line]


@needs_systemd
@pytest.mark.parametrize(("folder", "unit"), [("user", "engram.service"), ("system", "engram@.service")])
def test_exposure_is_low(analyzed: Path, folder: str, unit: str) -> None:
    said = systemd_analyze(analyzed / folder, "security", "--offline=true", "--no-pager", f"./{unit}")
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert level and float(level[1]) <= EXPOSURE, said


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_the_service_is_supervised_private_and_local(unit: Path) -> None:
    found = settings(unit)
    assert found["Type"] == ["notify"]
    assert found["ExecStart"] == ["engram daemon run"]
    assert "ENGRAM_SUPERVISED=1" in " ".join(found["Environment"]).split()
    assert found["UMask"] == ["0077"]
    assert found["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert int(found["WatchdogSec"][0].removesuffix("s")) >= 30


@pytest.mark.parametrize("unit", SOCKETS, ids=lambda path: path.name)
def test_the_socket_is_its_owners_only(unit: Path) -> None:
    found = settings(unit)
    assert found["SocketMode"] == ["0600"]
    assert found["ListenStream"][0].startswith(("%t/", "/run/"))


@pytest.mark.parametrize("unit", [*SERVICES, *SOCKETS], ids=lambda path: path.name)
def test_the_unit_has_its_sections_once(unit: Path) -> None:
    read = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read(unit)
    assert read.sections() == ["Unit", unit.suffix.removeprefix(".").title(), "Install"]


def test_the_launchd_agent_is_a_property_list_and_says_it_is_unverified() -> None:
    path = Path(shipped.path("launchd", "engram.plist"))
    agent = plistlib.loads(path.read_bytes())
    assert agent["ProgramArguments"] == ["engram", "daemon", "run"]
    assert agent["EnvironmentVariables"] == {"ENGRAM_SUPERVISED": "1"}
    assert agent["Umask"] == 0o077
    assert "UNVERIFIED" in path.read_text()
