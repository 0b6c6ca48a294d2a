"""The doctor: finds what each test breaks, names the fix, changes nothing; network file systems are refused."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engram import Memory, spool
from engram_core.daemon import filesystem
from tests.daemon_fixture import RUN_COMMAND, RUN_DAEMON, Home
from tests.faults.test_processes import forbid_unix_sockets, sandboxed


def examined(home: Home, code: int, **env: str) -> dict[str, list[dict[str, Any]]]:
    found = home.engram("doctor", "--json", env=env)
    assert found.returncode == code, found
    document = json.loads(found.stdout)
    assert document["schema"] == "engram.doctor/1"
    assert document["wrong"] == sum(one["state"] == "wrong" for one in document["checks"])
    checks: dict[str, list[dict[str, Any]]] = {}
    for one in document["checks"]:
        assert one["found"] and (one["state"] == "ok" or one["fix"]), one
        checks.setdefault(one["check"], []).append(one)
    return checks


def wrong(checks: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return {name: one for name, found in checks.items() for one in found if one["state"] == "wrong"}


def test_a_healthy_home_is_healthy_with_and_without_a_daemon(home: Home) -> None:
    before = examined(home, 0)
    assert "no database yet" in before["database"][0]["found"]
    assert home.pids() == set() and not home.database.exists()  # nothing was started or made
    home.start()
    with Memory.connect(cwd="/") as memory:
        memory.append_event({"payload": "x"})
    checks = examined(home, 0)
    assert set(checks) == set(before) == {
        "program", "configuration", "paths", "file system", "disk", "sandbox", "daemon", "log", "database",
        "database log", "left over", "spool", "SQLite", "clock", "start-up", "service"}
    assert "answers" in checks["daemon"][0]["found"] and "passed" in checks["database"][0]["found"]


def test_it_writes_each_finding_as_it_is_made(daemon: Home) -> None:
    rows = [json.loads(row) for row in daemon.engram("doctor", "--ndjson").stdout.splitlines()]
    assert [row["check"] for row in rows][:3] == ["program", "configuration", "paths"]
    plain = daemon.engram("doctor").stdout.decode()
    assert "ok     daemon: pid" in plain and "\x1b" not in plain


def contents(home: Home) -> dict[Path, bytes]:
    """Return what lies beside the database, but for the memory that its readers share."""
    return {path: path.read_bytes() for path in home.database.parent.rglob("*")
            if (path.is_file() and not path.name.endswith(("-shm", "-wal"))) or (path.name.endswith("-wal")
            and path.stat().st_size)}


def _page(home: Home) -> None:
    data = bytearray(home.database.read_bytes())
    data[4096 * 2:4096 * 3] = os.urandom(4096)
    home.database.write_bytes(data)


def _refused(home: Home) -> None:
    spool.keep(str(home.database), b"nonsense\n")
    home.start()
    home.stop()


def _future(home: Home) -> None:
    with sqlite3.connect(home.database) as database:
        database.execute("UPDATE events SET created_at = created_at + 86400000")


def _config(home: Home) -> None:
    path = home.path / ".config/engram/engram.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[daemon]\nmax_conections = 1\n")


def _unit(home: Home) -> None:
    path = home.path / ".config/systemd/user/engram.service"
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=/nowhere/engram daemon run\n")


BROKEN = {
    "an open database": (lambda home: home.database.chmod(0o644), "paths", "chmod 600"),
    "a corrupt page": (_page, "database", "engram restore"),
    "zeros": (lambda home: home.database.write_bytes(bytes(8192)), "database", "restore"),
    "a refused event": (_refused, "spool", "append them again"),
    "a clock of yesterday": (_future, "clock", "set the clock"),
    "a restore cut short": (lambda home: home.database.with_name("engram.db.restoring").write_text("{}"), "left over",
                            "engram restore"),
    "a wrong configuration": (_config, "configuration", "max_connections"),
    "a unit for a program that is gone": (_unit, "service", "engram daemon install"),
}


@pytest.mark.parametrize(("harm", "check", "fix"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_found_and_the_fix_named(home: Home, harm, check: str, fix: str) -> None:  # type: ignore
    home.start()
    with Memory.connect(cwd="/") as memory:
        memory.append_events([{"payload": f"{n}" + "x" * 500} for n in range(50)])
    home.process.terminate()  # type: ignore[union-attr]
    home.process.wait()  # type: ignore[union-attr]
    harm(home)
    before = contents(home)
    found = wrong(examined(home, 1))
    assert fix in found[check]["fix"], found
    assert contents(home) == before


def test_a_daemon_that_does_not_answer_is_wrong(daemon: Home) -> None:
    daemon.process.send_signal(19)  # type: ignore[union-attr]
    found = wrong(examined(daemon, 1))
    assert "does not answer" in found["daemon"]["found"]


def test_a_fallen_daemon_and_its_socket_are_a_note(daemon: Home) -> None:
    daemon.process.kill()  # type: ignore[union-attr]
    daemon.process.wait()  # type: ignore[union-attr]
    checks = examined(daemon, 0)
    assert checks["daemon"][0]["state"] == "note" and "engram daemon logs" in checks["daemon"][0]["fix"]


def test_a_full_disk_is_wrong(home: Home) -> None:
    folder = home.database.parent
    folder.mkdir(parents=True, mode=0o700)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)],
                                           capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        assert "free space" in wrong(examined(home, 1))["disk"]["fix"]
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@sandboxed
def test_a_sandbox_is_found(daemon: Home) -> None:
    found = subprocess.run([sys.executable, "-c", RUN_COMMAND, "doctor", "--json"], env=daemon.env, capture_output=True,
                           stdin=subprocess.DEVNULL, preexec_fn=forbid_unix_sockets)
    assert found.returncode == 1
    checks = {one["check"]: one for one in json.loads(found.stdout)["checks"] if one["state"] == "wrong"}
    assert str(daemon.socket) in checks["sandbox"]["fix"]


def test_a_stranger_at_the_socket_is_said(home: Home) -> None:
    home.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(home.socket))
        other.listen()
        home.socket.chmod(0o600)
        program = "import engram_core.daemon.doctor as d; d.ANSWER_S = 0.3; " + RUN_COMMAND
        found = subprocess.run([sys.executable, "-c", program, "doctor", "--json"], env=home.env, capture_output=True,
                               stdin=subprocess.DEVNULL)
    assert found.returncode == 1 and b"does not answer" in found.stdout


# ---- network file systems

MOUNTED = """\
22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / {home} rw - ext4 /dev/vdb rw
31 30 0:41 / {home}/.local rw - {kind} server:/export rw
"""


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_database_on_a_network_file_system_is_refused(home: Home, kind: str) -> None:
    table = home.path / "mounts"
    table.write_text(MOUNTED.format(home=home.path, kind=kind))
    program = f"from engram_core.daemon import filesystem; filesystem.MOUNTS = {str(table)!r}; "
    found = subprocess.run([sys.executable, "-c", program + RUN_DAEMON], env=home.env, capture_output=True, timeout=20)
    assert found.returncode == 74 and found.stderr.count(b"\n") == 1
    assert kind.encode() in found.stderr and b"store.url" in found.stderr
    assert not home.database.exists()
    doctor = subprocess.run([sys.executable, "-c", program + RUN_COMMAND, "doctor", "--json"], env=home.env,
                            capture_output=True)
    assert doctor.returncode == 1 and kind.encode() in doctor.stdout


def test_the_nearest_mount_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    rows = ["1 0 8:1 / / rw - nfs a rw", "2 1 8:2 / /data\\040x rw - xfs b rw",
            "3 2 8:3 / /data\\040x/far rw - nfs c rw"]
    table.write_text("\n".join(rows))
    monkeypatch.setattr(filesystem, "MOUNTS", str(table))
    assert filesystem.network_file_system("/data x/near/y") == ""
    assert filesystem.network_file_system("/data x/far/y") == "nfs"
    assert filesystem.network_file_system("/data") == "nfs"
    monkeypatch.setattr(filesystem, "MOUNTS", "/nowhere")
    assert filesystem.network_file_system("/data") == ""
