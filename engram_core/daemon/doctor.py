"""Look for what keeps Engram from working well, one check after the other, each with what to do about it.

Driven by ``engram doctor``. Every check looks only: nothing is started, written or mended. A check that itself fails is
a finding too. ``CHECKS`` is their order; "note" is worth knowing, "wrong" needs doing something.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from engram_core import settings as configuration
from engram_core._version import __version__
from engram_core.daemon import endpoint
from engram_core.daemon.filesystem import network_file_system
from engram_core.dsn import is_server
from engram_core.errors import ConfigError, EngramError
from engram_core.paths import log_path, spool_path, xdg
from engram_core.store import backup
from engram_core.store.sqlite import SqliteConnection, check_file, sizes

__all__ = ["CHECKS", "Finding", "examine"]

ANSWER_S = 5.0
FREE_WRONG, FREE_NOTE = 64 << 20, 1 << 30
WAL_NOTE = 256 << 20
QUICK_BYTES = 1 << 30  # a larger database is looked through quickly only
SAFE_SQLITE = (3, 51, 3)
SLOW_MS = 60.0
STALE_S = 120.0


class Finding(NamedTuple):
    """What one check found: its name, ok, note or wrong, a sentence, and what to do."""

    check: str
    state: str
    found: str
    fix: str = ""


class Patient:
    """What the checks look at: the environment, and what earlier checks found out."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.settings: configuration.Settings | None = None
        self.database = self.url = ""
        self.socket = ""
        self.status: dict[str, Any] = {}


Check = Callable[[Patient], Iterator[tuple[str, str, str]]]


def examine(env: Mapping[str, str]) -> Iterator[Finding]:
    """Run the checks and yield each finding as it is made."""
    patient = Patient(env)
    for name, check in CHECKS:
        found = 0
        try:
            for state, text, fix in check(patient):
                found += 1
                yield Finding(name, state, text, fix)
        except EngramError as error:
            yield Finding(name, "wrong", error.message, error.hint)
        except Exception as exc:  # a check must not keep the others from being made
            yield Finding(name, "wrong", f"the check itself failed: {type(exc).__name__}: {exc}", "please report it")
        else:
            if not found:
                yield Finding(name, "ok", "nothing to say")


# ---- configuration and paths


def _configuration(patient: Patient) -> Iterator[tuple[str, str, str]]:
    wrong: list[ConfigError] = []
    patient.settings = configuration.load(env=patient.env, wrong=wrong)
    for error in wrong:
        yield "wrong", error.message, error.hint or "engram config check"
    if not wrong:
        yield "ok", ", ".join(patient.settings.files) or "no file; the defaults are in use", ""
    patient.url = configuration.store_url(patient.settings, patient.env)
    patient.database = configuration.database_path(patient.settings, patient.env)
    patient.socket = configuration.socket_path(patient.env, patient.settings, patient.database)


def _paths(patient: Patient) -> Iterator[tuple[str, str, str]]:
    private = [patient.database + part for part in ("", "-wal", "-shm", ".lock", ".endpoint", ".start")]
    private += [patient.socket, log_path(patient.env), log_path(patient.env) + ".1"]
    folders = [os.path.dirname(patient.socket), spool_path(patient.database)]
    bad = 0
    for path, wanted in [*((one, 0o600) for one in private), *((one, 0o700) for one in folders)]:
        try:
            found = os.lstat(path)
        except OSError:
            continue
        if found.st_uid != os.geteuid():
            bad += 1
            yield "wrong", f"{path} belongs to uid {found.st_uid}", f"chown $(id -u) {path}"
        elif stat.S_ISLNK(found.st_mode) and path != patient.database:
            bad += 1
            yield "wrong", f"{path} is a symbolic link", f"rm {path}"
        elif not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o077:
            bad += 1
            yield "wrong", f"{path} is open to others (mode {found.st_mode & 0o777:04o})", f"chmod {wanted:o} {path}"
    folder = _existing(os.path.dirname(patient.database))
    if not os.access(folder, os.W_OK | os.X_OK):
        bad += 1
        yield "wrong", f"{folder} cannot be written", "make it yours, or name another database in store.url"
    if not bad:
        yield "ok", f"database {patient.database}, socket {patient.socket}: ours alone", ""


def _file_system(patient: Patient) -> Iterator[tuple[str, str, str]]:
    kind = network_file_system(patient.database)
    if kind:
        yield "wrong", f"the database lies on a network file system ({kind})", "name a local path in store.url"
    else:
        yield "ok", "the database lies on a local file system", ""


def _leftovers(patient: Patient) -> Iterator[tuple[str, str, str]]:
    if os.path.exists(backup.marker(patient.database)):
        yield "wrong", f"a restore of {patient.database} was cut short", "repeat it: engram restore FILE"
    folder, base = os.path.split(patient.database)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if ".part-" in name or (name.startswith(base) and name.endswith((".new", ".restore"))):
            yield "note", f"{folder}/{name} was left by a command that was cut short", f"rm {folder}/{name}"


# ---- the daemon


def _sandbox(patient: Patient) -> Iterator[tuple[str, str, str]]:
    try:
        socket.socket(socket.AF_UNIX).close()
    except OSError as exc:
        yield ("wrong", f"Unix sockets are forbidden here: {exc.strerror}",
               f'allow this one in the sandbox: "allowUnixSockets": ["{patient.socket}"]')
    else:
        yield "ok", "Unix sockets are allowed", ""


def _daemon(patient: Patient) -> Iterator[tuple[str, str, str]]:
    record = endpoint.record(patient.database)
    places = list(dict.fromkeys(path for path in (patient.socket, record.get("socket", "")) if path))
    for path in places:
        began = time.perf_counter()
        try:
            patient.status = _ask(path)
        except (FileNotFoundError, ConnectionRefusedError):
            continue
        except OSError as exc:
            yield ("wrong", f"{path} does not answer: {exc.strerror or exc}",
                   "look at it: engram daemon logs; then stop it: engram daemon stop")
            return
        took = (time.perf_counter() - began) * 1000
        yield from _health(patient.status, path, took)
        return
    if record:
        yield ("note", f"the last daemon, pid {record.get('pid')}, ended without taking leave",
               "nothing: the next command starts one; why, may be in: engram daemon logs")
    else:
        yield "ok", "none runs; the next command starts one", ""


def _health(status: dict[str, Any], path: str, took_ms: float) -> Iterator[tuple[str, str, str]]:
    yield "ok", f"pid {status['pid']} answers at {path} in {took_ms:.1f} ms", ""
    if status.get("version") != __version__:
        yield ("note", f"the daemon is version {status.get('version')}, this command {__version__}",
               "engram daemon restart")
    if float(status.get("checked_s") or 0) > STALE_S:
        yield "wrong", f"its last self-check was {status['checked_s']:.0f} s ago", "engram daemon restart"
    if float(status.get("writer_s") or 0) > 10:
        yield "wrong", f"its writer has been at one group for {status['writer_s']:.0f} s", "is the disk busy?"
    for text in status.get("warnings") or ():
        yield "wrong", text, "engram daemon logs"
    if status.get("config_error"):
        yield "wrong", str(status["config_error"]), "correct the file, then: engram config check"


def _ask(path: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_S)
        sock.connect(path)
        sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"status","params":{}}\n')
        data = b""
        while not data.endswith(b"\n"):
            piece = sock.recv(1 << 16)
            if not piece:
                raise OSError(0, "it hung up")
            data += piece
    found = json.loads(data)
    if "result" not in found:
        raise OSError(0, str(found.get("error", {}).get("message", "no result")))
    return dict(found["result"])


def _log(patient: Patient) -> Iterator[tuple[str, str, str]]:
    path = log_path(patient.env)
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 65_536))
            rows = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        yield "ok", "no log yet; a service keeps its own in the journal", ""
        return
    errors = [row for row in rows if " ERROR " in row]
    if errors:
        yield "note", f"the log's last error: {errors[-1][:200]}", "engram daemon logs -n 100"
    else:
        yield "ok", f"{path}: no error in its last lines", ""


# ---- the database


def _server(url: str, settings: configuration.Settings) -> Iterator[tuple[str, str, str]]:
    """Look at a database on a server: can it be reached, is it ours, does it keep what it acknowledges."""
    from engram_core.store.connection import Options
    from engram_core.store.migrations import check_schema
    from engram_core.store.store import open_database

    try:
        database = open_database(url, Options(
            "full", settings.get("store.busy_timeout_ms"), settings.get("store.answer_timeout_ms"),
            settings.get("store.password_file"), writable=False))
    except EngramError as error:
        yield "wrong", error.message, error.hint
        return
    try:
        schema, facts = check_schema(database.reader()), database.facts()
    except EngramError as error:
        yield "wrong", error.message, error.hint
        return
    finally:
        database.close()
    what = ", ".join(f"{name} {value}" for name, value in facts.items())
    unsafe = [name for name in ("fsync", "synchronous_commit", "innodb_flush_log_at_trx_commit")
              if str(facts.get(name, "on")).lower() in ("off", "0", "2")]
    if unsafe:
        yield ("wrong", f"{database.name} may lose what it acknowledged: {', '.join(unsafe)}; {what}",
               "turn it on in the server's configuration")
    else:
        yield "ok", f"{database.name}, schema {schema or 'not made yet'}; {what}", ""


def _database(patient: Patient) -> Iterator[tuple[str, str, str]]:
    path = patient.database
    if is_server(patient.url) and patient.settings is not None:
        yield from _server(patient.url, patient.settings)
        return
    if not check_file(path):
        yield "ok", "there is no database yet; the first append makes it", ""
        return
    size = os.stat(path).st_size
    connection = SqliteConnection(path, role="check")
    try:
        pragma = "quick_check" if size > QUICK_BYTES else "integrity_check"
        damage = str(connection.execute(f"PRAGMA {pragma}(1)")[0][0])
        from engram_core.store.migrations import check_schema

        schema = check_schema(connection)
    finally:
        connection.close()
    if damage != "ok":
        yield ("wrong", f"{path} is damaged: {' '.join(damage.split())[:200]}",
               "stop the daemon and restore a backup: engram daemon stop; engram restore FILE")
    else:
        yield "ok", f"{size / (1 << 20):.1f} MiB, schema {schema}, {pragma.replace('_', ' ')} passed", ""


def _wal(patient: Patient) -> Iterator[tuple[str, str, str]]:
    size = sizes(patient.database)["wal_bytes"]
    if size > WAL_NOTE:
        yield ("wrong", f"the log of the database has {size >> 20} MiB",
               "end the program that keeps reading the database; the daemon empties it then")
    else:
        yield "ok", f"the log of the database has {size / (1 << 20):.1f} MiB", ""


def _disk(patient: Patient) -> Iterator[tuple[str, str, str]]:
    folder = _existing(patient.database)
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    state = "wrong" if free < FREE_WRONG else "note" if free < FREE_NOTE else "ok"
    fix = "" if state == "ok" else f"free space on the disk of {folder}"
    yield state, f"{free / (1 << 30):.1f} GiB are free for the database", fix
    if found.f_files and found.f_favail < 1000:
        yield "wrong", f"{found.f_favail} files can still be made on the disk of {folder}", "remove files there"


def _spool(patient: Patient) -> Iterator[tuple[str, str, str]]:
    folder = spool_path(patient.database)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    waiting = sum(name.isdigit() for name in names)
    aside = os.path.join(folder, "refused")
    refused = sorted(name for name in (os.listdir(aside) if os.path.isdir(aside) else ()) if name.isdigit())
    if refused:
        with open(f"{aside}/{refused[0]}.why", encoding="utf-8") as file:
            why = file.read().strip()
        yield ("wrong", f"{len(refused)} spooled events were refused; the first: {why[:200]}",
               f"look at {aside}, correct and append them again, then remove them")
    if waiting and patient.status:
        yield "note", f"{waiting} spooled events wait for the daemon's next look", "wait half a minute"
    elif waiting:
        yield "note", f"{waiting} spooled events wait for a daemon", "engram daemon start"
    elif not refused:
        yield "ok", "empty", ""


def _sqlite(patient: Patient) -> Iterator[tuple[str, str, str]]:
    version = tuple(map(int, sqlite3.sqlite_version.split(".")))
    if version < SAFE_SQLITE:
        yield ("note", f"SQLite {sqlite3.sqlite_version}: before 3.51.3 two programs that write and checkpoint one "
               "database at once can damage its log", "the daemon is the only one to write; keep other programs away")
    else:
        yield "ok", f"SQLite {sqlite3.sqlite_version}", ""


def _clock(patient: Patient) -> Iterator[tuple[str, str, str]]:
    now = time.time()
    if now < 1_700_000_000:
        yield "wrong", f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}", "set the clock"
        return
    ahead = 0.0
    if check_file(patient.database):
        connection = SqliteConnection(patient.database, role="check")
        try:
            latest = connection.execute("SELECT max(created_at) FROM events")[0][0] if "events" in (
                connection.tables()) else None
        finally:
            connection.close()
        ahead = (latest or 0) / 1000 - now
    if ahead > 60:
        yield ("wrong", f"the newest event was stored {ahead / 3600:.1f} h in the future of this clock",
               "set the clock; the order of events is kept either way")
    else:
        yield "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)), ""


# ---- the program


def _program(patient: Patient) -> Iterator[tuple[str, str, str]]:
    from engram_core.daemon.handlers import kernel_facts

    if kernel_facts()["compiled"]:
        yield "ok", f"Engram {__version__}, Python {sys.version.split()[0]}, compiled kernel", ""
    else:
        yield ("wrong", "the compiled kernel is missing for this Python",
               "install Engram again where a C compiler is at hand")


def _start_up(patient: Patient) -> Iterator[tuple[str, str, str]]:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=False, stdin=subprocess.DEVNULL, capture_output=True)
        times.append((time.perf_counter() - began) * 1000)
    bad = 0
    found = shutil.which("engram", path=patient.env.get("PATH")) or ""
    if "/shims/" in found:
        bad += 1
        yield ("note", f"{found} is a shim of a version manager, which costs each command tens of milliseconds",
               f"put {os.path.dirname(sys.executable)} before it in PATH")
    for path in _import_lines():
        bad += 1
        yield "note", f"{path} imports something in every start of Python", "remove the package it belongs to"
    cache = sys.implementation.cache_tag
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    entry = f"{folder}/engram_cli/__pycache__/_entry.{cache}.pyc"
    if not os.path.exists(entry):
        bad += 1
        yield ("note", "the program is not compiled to .pyc files, so every start compiles it anew",
               f"{sys.executable} -m compileall -q {folder}/engram {folder}/engram_cli {folder}/engram_core")
    if min(times) > SLOW_MS:
        bad += 1
        yield ("note", f"an empty Python takes {min(times):.0f} ms to start",
               f"python -X importtime -c pass shows why; {sys.executable}")
    if not bad:
        yield "ok", f"an empty Python takes {min(times):.0f} ms to start", ""


def _import_lines() -> Iterator[str]:
    """Yield the .pth files that run code, which every start of this Python pays for."""
    folder = sysconfig.get_path("purelib")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if name.endswith(".pth"):
            with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
                if any(row.startswith(("import ", "import\t")) for row in file):
                    yield f"{folder}/{name}"


def _units(patient: Patient) -> Iterator[tuple[str, str, str]]:
    folder = xdg(patient.env, "XDG_CONFIG_HOME", ".config") + "/systemd/user"
    path = f"{folder}/engram.service"
    if not os.path.exists(path):
        yield "ok", "not installed as a service", ""
        return
    with open(path, encoding="utf-8") as file:
        text = file.read()
    program = next((row.partition("=")[2].split()[0] for row in text.splitlines() if row.startswith("ExecStart=")), "")
    if not os.access(program, os.X_OK):
        yield "wrong", f"{path} starts {program or 'nothing'}, which cannot be run", "engram daemon install"
        return
    from engram_core import shipped

    with open(shipped.path("systemd", "user", "engram.service"), encoding="utf-8") as file:
        wanted = file.read().replace("ExecStart=engram ", f"ExecStart={program} ")
    if text != wanted:
        yield "note", f"{path} differs from the one of this version", "engram daemon install"
    else:
        yield "ok", f"{path} starts {program}", ""


def _existing(path: str) -> str:
    """Return the nearest folder that exists at or above a path."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


CHECKS: tuple[tuple[str, Check], ...] = (
    ("program", _program), ("configuration", _configuration), ("paths", _paths), ("file system", _file_system),
    ("disk", _disk), ("sandbox", _sandbox), ("daemon", _daemon), ("log", _log), ("database", _database),
    ("database log", _wal), ("left over", _leftovers), ("spool", _spool), ("SQLite", _sqlite), ("clock", _clock),
    ("start-up", _start_up), ("service", _units),
)
