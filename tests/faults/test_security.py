"""What others on the machine must not be able to do: links in the way, open files, secrets in arguments, core dumps."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engram import Memory
from tests.daemon_fixture import ROOT, RUN_COMMAND, RUN_DAEMON, SCOPE, Home
from tests.faults.world import start

LAID = ("engram.db.lock", "engram.db.start", "engram.db.endpoint.new")


@pytest.mark.parametrize("name", LAID)
def test_a_link_in_the_way_is_not_followed(home: Home, name: str) -> None:
    victim = home.path / "victim"
    victim.write_text("precious")
    home.database.parent.mkdir(parents=True, mode=0o700)
    (home.database.parent / name).symlink_to(victim)
    found = home.engram("append", "x", "--require-commit")
    assert found.returncode != 0 and b"Traceback" not in found.stderr
    assert found.stderr.count(b"\n") == 1
    assert victim.read_text() == "precious"


def test_a_log_that_is_a_link_is_not_written_through(home: Home) -> None:
    victim = home.path / "victim"
    victim.write_text("precious")
    home.log.parent.mkdir(parents=True, mode=0o700)
    home.log.symlink_to(victim)
    assert home.engram("append", "x").returncode == 0  # it serves, without a log
    assert victim.read_text() == "precious"


def test_all_that_is_made_is_private_whatever_the_umask(home: Home) -> None:
    code = "import os; os.umask(0); " + RUN_COMMAND
    for args in (("append", "x"), ("backup", str(home.path / "copy.db"))):
        found = subprocess.run([sys.executable, "-c", code, *args], env=home.env, capture_output=True, cwd=home.path,
                               stdin=subprocess.DEVNULL)
        assert found.returncode == 0, found.stderr
    subprocess.run([sys.executable, "-c", code, "append", "y"], stdin=subprocess.DEVNULL, capture_output=True,
                   env={**home.env, "ENGRAM_AUTOSTART": "0", "ENGRAM_SOCKET": str(home.path / "none.sock")}, check=True)
    made = [home.log, home.path / "copy.db", home.socket, *home.database.parent.rglob("*")]
    assert any(path.parent.name.endswith(".spool") for path in made)
    for path in made:
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("mode", [0o666, 0o622, 0o602])
def test_a_configuration_that_others_can_write_is_refused(home: Home, mode: int) -> None:
    path = home.path / ".config/engram/engram.toml"
    path.parent.mkdir(parents=True)
    path.write_text("[daemon]\nlog_level = 'debug'\n")
    path.chmod(mode)
    found = home.engram("append", "x")
    assert found.returncode == 78 and b"chmod go-w" in found.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_a_configuration_of_another_user_is_refused(home: Home) -> None:
    path = home.path / ".config/engram/engram.toml"
    path.parent.mkdir(parents=True)
    path.write_text("[daemon]\n")
    os.chown(path, 65534, 65534)
    found = home.engram("append", "x")
    assert found.returncode == 78 and b"another user" in found.stderr


def test_no_core_no_ptrace_and_no_secret_among_the_arguments(home: Home) -> None:
    process = start(home, "from engram_core.daemon import process; process.WARM_S = 0.05; import sys; "
                    "sys.exit(process.run())")
    with Memory.connect(cwd="/") as memory:
        memory.append_event({"payload": "token=hunter2hunter2"})
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert next(row.split()[4:6] for row in limits.splitlines() if row.startswith("Max core")) == ["0", "0"]
    home.wait_for(lambda: _undumpable(process.pid))
    words = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert b"hunter2" not in words and b"postgres" not in words


def _undumpable(pid: int) -> bool:
    """Tell by the owner of a process's files: those of one that is not dumpable belong to root."""
    if os.geteuid() != 0:
        return Path(f"/proc/{pid}/maps").stat().st_uid == 0
    code = ("import os, sys; os.setgid(65534); os.setuid(65534)\n"
            "try:\n open(f'/proc/{sys.argv[1]}/environ').read(); print('read')\nexcept OSError: print('refused')")
    found = subprocess.run([sys.executable, "-S", "-c", code, str(pid)], capture_output=True)
    return found.stdout == b"refused\n"


def test_texts_of_memories_are_logged_at_debug_only(home: Home) -> None:
    home.start(ENGRAM_DAEMON_LOG_LEVEL="info")
    with Memory.connect(cwd="/") as memory:
        memory.append_event({"scope": SCOPE, "payload": "the blue notebook"})
        memory.build_memory_packet({"scope": SCOPE, "query": "notebook"})
        with pytest.raises(ValueError, match="kind"):
            memory.append_event({"scope": SCOPE, "payload": "the blue notebook", "kind": "blue"})
    home.stop()
    assert b"notebook" not in (home.path / "stderr").read_bytes()


def test_nothing_received_is_evaluated() -> None:
    """No pickle, eval, exec or shell anywhere in what ships; the linter holds most of it, this all of it."""
    words = ("pickle", "eval(", "exec(", "shell=True", "os.system", "yaml.load")
    for package in ("engram", "engram_core", "engram_cli"):
        for path in (ROOT / package).rglob("*.py"):
            if "backend" in path.parts or "vocab" in path.parts:
                continue
            text = path.read_text()
            assert not [word for word in words if word in text], path


def test_the_daemon_listens_nowhere_but_at_its_socket(home: Home) -> None:
    process = start(home, RUN_DAEMON)
    inodes = {os.readlink(fd)[8:-1] for fd in Path(f"/proc/{process.pid}/fd").iterdir()
              if os.readlink(fd).startswith("socket:")}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw"):
        rows = Path(f"/proc/net/{table}").read_text().splitlines()[1:] if Path(f"/proc/net/{table}").exists() else []
        assert not inodes & {row.split()[9] for row in rows}
