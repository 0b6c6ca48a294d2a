"""Run, start, stop and watch the daemon. Driven by main; the only command that knows the daemon's own modules."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import Annotated, Any

import typer

from engram_cli.call import Call
from engram_cli.commands import admin
from engram_cli.errors import report
from engram_cli.numbers import COUNT_MAX, number
from engram_cli.options import command, family
from engram_core.errors import AccessDenied, ConfigError, DeadlineExceeded, NoDaemon, NotFound, UsageError

app = family("daemon", "Start, stop and watch the daemon.", default="status")
STOP_S = 5.0
POLL_S = 0.02


@command(app, "run", scope=False, daemon=False, example="engram daemon run --log-level debug")
def run(
    call: Call, *,
    socket: Annotated[str | None, typer.Option("--socket", envvar="ENGRAM_SOCKET", metavar="PATH",
                                               help="Socket to listen at.")] = None,
    database: Annotated[str | None, typer.Option("--database", metavar="FILE", help="Database to serve.")] = None,
    config: Annotated[str | None, typer.Option("--config", metavar="FILE", envvar="ENGRAM_CONFIG",
                                               help="Use this file in place of your own.")] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", metavar="debug|info|warning|error",
                                                  help="What the log tells; info by default.")] = None,
) -> int:
    """Run the daemon in the foreground, as a service manager does; the log goes to stderr."""
    from engram_core.daemon.process import run as serve

    return serve(socket=socket, database=database, config=config, log_level=log_level,
                 tell=lambda error: report(error, as_json=call.out.json))


@command(app, "start", scope=False, direct=False, example="engram daemon start")
def start(call: Call) -> None:
    """Start the daemon unless it runs; it outlives this shell. Other commands do this by themselves."""
    os.environ["ENGRAM_AUTOSTART"] = "1"
    _show(call, call.memory.status())


def _show(call: Call, found: dict[str, Any]) -> None:
    if call.out.json:
        call.out.document("daemon", {"running": True, "pid": found["pid"], "socket": found["socket"],
                                     "database": found["database"], "version": found["version"]})
    else:
        call.out.fields([(name, str(found[name])) for name in ("pid", "socket", "database", "version")])


@command(app, "stop", scope=False, direct=False, example="engram daemon stop")
def stop(call: Call) -> None:
    """Stop the daemon after it has finished what it accepted."""
    wrong: list[ConfigError] = []
    os.environ["ENGRAM_AUTOSTART"] = "0"
    call.connect_despite(wrong)
    pid = _stop(call)
    if wrong and not pid:  # perhaps one runs where the configuration meant to say
        raise ConfigError.of(wrong)
    for one in wrong:
        call.out.note(f"left out: {one.message}")
    if call.out.json:
        call.out.document("daemon", {"running": False, "stopped": pid})
    else:
        call.out.note(f"stopped, pid was {pid}" if pid else "no daemon was running")


def _stop(call: Call) -> int:
    """Ask the daemon to end and wait until it has; return its pid, 0 when none ran."""
    os.environ["ENGRAM_AUTOSTART"] = "0"
    try:
        pid = int(call.memory.shutdown()["pid"])
    except NoDaemon:
        return 0
    finally:
        call.close()
    deadline = time.monotonic() + STOP_S
    while _alive(pid):
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"the daemon with pid {pid} is still finishing",
                                   hint="see engram daemon logs, and try again")
        time.sleep(POLL_S)
    return pid


def _alive(pid: int) -> bool:
    """Tell whether the process still runs; one that ended and that nobody collected does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not os.path.isdir("/proc/self")


@command(app, "restart", scope=False, direct=False, example="engram daemon restart")
def restart(call: Call) -> None:
    """Stop the daemon if it runs, and start the installed version."""
    _stop(call)
    start(call)


@command(app, "status", direct=False, example="engram daemon status --json")
def status(call: Call) -> int:
    """Show the daemon's status without starting it; ends with 1 when none runs."""
    os.environ["ENGRAM_AUTOSTART"] = "0"
    try:
        admin.status(call)
    except NoDaemon as exc:
        if call.out.json:
            call.out.document("status", {"running": False})
        else:
            call.out.note(f"{exc.message}; start it with: engram daemon start")
        return 1
    return 0


@command(app, "logs", scope=False, daemon=False, example="""
engram daemon logs -n 50
engram daemon logs --follow
""")
def logs(
    call: Call, *,
    lines: Annotated[int, number("--lines", "-n", low=0, high=COUNT_MAX, help="The last N lines.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep writing new lines as they come.")] = False,
) -> None:
    """Show the log of a daemon that a command started; a service manager keeps its own."""
    from engram_core.settings import check_places, log_path

    check_places(os.environ)
    path = log_path(os.environ)
    if follow and call.out.json:
        raise UsageError("--follow has no end, so it cannot be one JSON document", hint="leave one of them out")
    try:
        file = open(path, encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below, opened apart for the error
    except FileNotFoundError:
        raise NotFound(f"there is no log at {path}",
                       hint="a service keeps its own: journalctl --user -u engram") from None
    with file:
        found = [line.rstrip("\n") for line in file]
        last = found[len(found) - min(lines, len(found)):]
        if call.out.json:
            call.out.document("daemon-logs", {"path": path, "lines": last})
            return
        for line in last:
            call.out.line(line)
        while follow:
            call.out.flush()
            line = file.readline()
            if line:
                call.out.line(line.rstrip("\n"))
            else:
                time.sleep(0.25)


@command(app, "install", scope=False, daemon=False, example="""
engram daemon install --dry-run
engram daemon install && systemctl --user enable --now engram.socket
""")
def install(
    call: Call, *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only write what would be installed.")] = False,
) -> None:
    """Install the daemon as a service of your login: systemd on Linux, launchd on macOS (the latter untested)."""
    from engram_core.paths import home
    from engram_core.settings import check_places

    check_places(os.environ)
    program = _program()
    files = _units(home(os.environ), program)
    for path, text in files.items():
        if dry_run:
            if not call.out.json:
                call.out.write(f"# {path}\n{text}\n")
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    following = ("launchctl load -w " + next(iter(files)) if sys.platform == "darwin"
                 else "systemctl --user daemon-reload && systemctl --user enable --now engram.socket")
    if call.out.json:
        call.out.document("daemon-install", {"files": list(files), "next": following})
        return
    if not dry_run:
        for path in files:
            call.out.line(path)
        call.out.note(f"next: engram daemon stop; {following}")


@command(app, "uninstall", scope=False, daemon=False, example="engram daemon uninstall")
def uninstall(
    call: Call, *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only write what would be removed.")] = False,
) -> None:
    """Remove the service files that install has written; memories, configuration and a running daemon stay."""
    from engram_core.paths import home

    files = [path for path in _units(home(os.environ), "engram") if os.path.lexists(path)]
    for path in () if dry_run else files:
        os.unlink(path)
    before = ("launchctl unload -w " + next(iter(files), "engram.plist") if sys.platform == "darwin"
              else "systemctl --user disable --now engram.socket engram.service")
    if call.out.json:
        call.out.document("daemon-uninstall", {"files": files, "before": before})
        return
    for path in files:
        call.out.line(path)
    if not files:
        call.out.note("no service files are installed")
    else:
        call.out.note(f"{'first' if dry_run else 'if it still runs'}: {before}")


def _program() -> str:
    """Return the absolute path of the engram program that runs this."""
    mine = os.path.abspath(sys.argv[0])
    if os.path.basename(mine) == "engram" and os.access(mine, os.X_OK):
        return mine
    found = shutil.which("engram", path=os.path.dirname(sys.executable)) or shutil.which("engram")
    if not found:
        raise AccessDenied("the engram program cannot be found", hint="run it by its full path")
    return found


def _units(home: str, program: str) -> dict[str, str]:
    """Return the files to install, with the program's path filled in."""
    from engram_core import shipped

    if sys.platform == "darwin":
        wanted = {f"{home}/Library/LaunchAgents/engram.plist": shipped.path("launchd", "engram.plist")}
    else:
        base = os.environ.get("XDG_CONFIG_HOME", "") or f"{home}/.config"
        wanted = {f"{base}/systemd/user/{name}": shipped.path("systemd", "user", name)
                  for name in ("engram.service", "engram.socket")}
    found = {}
    for path, source in wanted.items():
        with open(source, encoding="utf-8") as file:
            found[path] = file.read().replace("ExecStart=engram ", f"ExecStart={program} ") \
                .replace("<string>engram</string>", f"<string>{program}</string>")
    return found
