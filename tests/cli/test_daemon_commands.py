"""Starting, stopping and watching the daemon from the command line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Person
from tests.daemon_fixture import Home


@pytest.fixture
def engram(home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Person:
    monkeypatch.chdir(home.path)
    return Person(monkeypatch, capfd)


def test_start_status_restart_and_stop(engram: Person, home: Home) -> None:
    assert engram("daemon", "status").code == 1
    assert engram("daemon", "status", "--json").json == {"schema": "engram.status/1", "running": False}
    first = engram.done("daemon", "start", "--json").json
    assert first["running"] is True and first["pid"] in home.pids()
    assert engram.done("daemon", "start", "--json").json["pid"] == first["pid"]
    assert engram.done("daemon", "status", "--json").json["pid"] == first["pid"]
    second = engram.done("daemon", "restart", "--json").json
    assert second["pid"] != first["pid"]
    assert "stopped" in engram.done("daemon", "stop").err
    assert home.pids() == set()
    assert "no daemon was running" in engram.done("daemon", "stop").err


def test_stop_and_reload_work_with_a_scope_in_the_environment(engram: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_USER", "ada")
    engram.done("daemon", "start")
    assert "took it over" in engram.done("config", "set", "packet.max_tokens", "900").err
    assert "stopped" in engram.done("daemon", "stop").err


@pytest.mark.parametrize("broken", ["[store\n", "[store]\nurll = '/x'\n", "x = 1\n[packet]\nmax_tokens = 0\n"])
def test_a_daemon_can_be_stopped_while_the_configuration_is_broken(engram: Person, home: Home, broken: str) -> None:
    engram.done("daemon", "start")
    file = home.path / ".config/engram/engram.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(broken)
    assert engram("daemon", "restart").code == 78 and home.pids()  # it could not start again
    answer = engram.done("daemon", "stop")
    assert "stopped" in answer.err and str(file) in answer.err
    assert home.pids() == set()
    assert engram("daemon", "stop").code == 78


def test_what_is_right_in_a_broken_configuration_still_tells_which_daemon_to_stop(
        engram: Person, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of the default database runs as well, and is left alone."""
    engram.done("daemon", "start")
    file = home.path / ".config/engram/engram.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    other = home.path / "other.db"
    file.write_text(f"[store]\nurl = '{other}'\n")
    pid = engram.done("daemon", "start", "--json").json["pid"]
    file.write_text(f"[store]\nurl = '{other}'\n[packet]\nmax_token = 3\n")
    monkeypatch.setenv("ENGRAM_PACKET_MAX_TOKENS", "many")
    answer = engram.done("daemon", "stop", "--json")
    assert answer.json["stopped"] == pid
    assert "max_token" in answer.err and "ENGRAM_PACKET_MAX_TOKENS" in answer.err
    assert home.pids()


def test_run_says_why_it_cannot_start_in_the_form_that_was_asked_for(engram: Person, home: Home) -> None:
    engram.done("daemon", "start")
    words = engram.shell("engram daemon run")
    assert words.code == 75 and words.err.startswith("engram: another daemon serves ") and words.out == ""
    answer = engram.shell("engram daemon run --json")
    error = json.loads(answer.err)["error"]
    assert (answer.code, error["kind"], error["exit"]) == (75, "busy", 75)
    assert str(home.database) in error["message"] and "engram daemon stop" in error["hint"]
    error = json.loads(engram.shell("engram daemon run --log-level loud --json").err)["error"]
    assert error["kind"] == "bad_input" and "--log-level" in error["message"]


def test_start_works_where_commands_start_none(engram: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_AUTOSTART", "0")
    answer = engram("packet")
    assert answer.code == 69 and "engram daemon start" in answer.err
    assert engram("packet", "--json").err.startswith('{"error":{"kind":"no_daemon"')
    engram.done("daemon", "start")
    engram.done("append", "x")


def test_the_log_of_a_started_daemon_is_shown(engram: Person) -> None:
    missing = engram("daemon", "logs")
    assert missing.code == 1 and "journalctl" in missing.err
    engram.done("daemon", "start")
    assert "serves" in engram.done("daemon", "logs", "-n", "5").out


def test_status_says_what_runs_and_whose_memories_are_used(engram: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_SESSION", "s5")
    found = engram.done("status", "--json", "--user", "ada").json
    assert found["schema"] == "engram.status/1"
    assert (found["scope"]["user_id"], found["scope"]["session_id"]) == ("ada", "s5")
    assert found["scope_sources"]["agent_id"] == "built-in"
    plain = engram.done("status", "--user", "ada").out
    assert "scope.session_id: s5 (ENGRAM_SESSION)\n" in plain
    assert "scope.user_id: ada (--user)\n" in plain


def test_version_says_whether_the_kernel_is_compiled(engram: Person) -> None:
    found = engram.done("version", "--json").json
    assert found["schema"] == "engram.version/1" and found["kernel_compiled"] is True
    assert engram.done("--version").out == f"engram {found['engram']}\n"
    assert "kernel_compiled: yes\n" in engram.done("version").out


def test_a_second_daemon_is_refused(engram: Person, home: Home) -> None:
    engram.done("daemon", "start")
    answer = engram.shell("engram daemon run")
    assert answer.code == 75 and "another daemon serves" in answer.err and "Traceback" not in answer.err


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is on Linux")
def test_the_service_is_installed_with_the_programs_path(engram: Person, home: Home, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "engram"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    shown = engram.done("daemon", "install", "--dry-run").out
    folder = home.path / ".config/systemd/user"
    assert f"ExecStart={program} daemon run" in shown and not folder.exists()
    paths = engram.done("daemon", "install", "--json").json["files"]
    assert sorted(os.path.basename(path) for path in paths) == ["engram.service", "engram.socket"]
    assert f"ExecStart={program} daemon run" in (folder / "engram.service").read_text()
    assert engram.done("daemon", "uninstall", "--dry-run").out.splitlines() == paths
    assert len(list(folder.iterdir())) == 2
    assert engram.done("daemon", "uninstall", "--json").json["files"] == paths
    assert list(folder.iterdir()) == []
    assert "no service files" in engram.done("daemon", "uninstall").err


def test_logs_and_units_come_as_json_too(engram: Person, home: Home) -> None:
    engram.done("daemon", "start")
    logs = engram.done("daemon", "logs", "-n", "1", "--json").json
    assert logs["schema"] == "engram.daemon-logs/1" and logs["path"].endswith("daemon.log") and len(logs["lines"]) == 1
    assert engram("daemon", "logs", "--follow", "--json").code == 2
    units = engram.done("daemon", "install", "--dry-run", "--json").json
    assert units["schema"] == "engram.daemon-install/1" and units["files"][0].endswith("engram.service")
    assert not Path(units["files"][0]).exists()


def test_a_start_with_too_few_open_files_is_no_defect(engram: Person) -> None:
    told = [engram.shell(f"ulimit -n {most}; engram daemon start --json") for most in (9, 10, 11, 12, 13, 14)]
    for answer in told:
        if answer.code:
            error = json.loads(answer.err)["error"]
            assert answer.code == 74 and error["kind"] in ("io", "store"), answer
    assert any(answer.code for answer in told)
