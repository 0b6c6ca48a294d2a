"""The daemon as a process: start order, signals, the report to whoever started it, the end within two seconds.

``run`` is called by ``engram daemon run`` in the foreground and by `__main__` for a daemon that a client started.
Order of the start: lock, configuration, database, stale socket, bind, publish, ready. Only asyncio, sqlite3 and json
are imported on the way, because a first command waits for all of it.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import time

from engram_core.errors import Busy, EngramError, InputOutputError, InternalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engram_core.daemon.endpoint import Bound
    from engram_core.daemon.handlers import Engine
    from engram_core.daemon.logs import LogHandler
    from engram_core.settings import Settings

__all__ = ["notify", "run"]

DRAIN_S = 1.2  # for what was accepted, then the engine closes
EXIT_S = 1.9  # at the latest; the journal makes an end at any moment safe
WARM_S = 0.3
WARM_LATEST_S = 2.0
CLIENT_SCOPE = ("ENGRAM_TENANT", "ENGRAM_USER", "ENGRAM_AGENT", "ENGRAM_SESSION", "ENGRAM_RUN")

log = logging.getLogger("engram.daemon")


def run(*, socket: str | None = None, database: str | None = None, config: str | None = None,
        log_level: str | None = None, detached: bool = False,
        tell: Callable[[EngramError], object] | None = None) -> int:
    """Serve one database until a signal or ``shutdown``; return the exit code.

    With ``detached`` stderr is the pipe of the client that started us: it gets one line, ready, running or failed.
    Otherwise ``tell`` shows why there will be no daemon, on stderr in words unless given.
    """
    report = Report(detached, tell or _in_words)
    try:
        harden()
        return _serve(report, socket=socket, database=database, config=config, log_level=log_level)
    except EngramError as error:
        report.failed(error)
        return error.exit_code
    except OSError as exc:  # what the system refuses, such as another open file, is no defect
        where = f"{exc.filename}: " if exc.filename else ""
        failure = InputOutputError(f"the system refused what the start needs: {where}{exc.strerror or exc}",
                                   hint="see ulimit -a and engram daemon run --log-level debug")
        report.failed(failure)
        return failure.exit_code
    except Exception as exc:
        log.debug("the daemon failed to start", exc_info=True)
        defect = InternalError(f"a defect stopped the start: {type(exc).__name__}: {exc}",
                               hint="see: engram daemon run --log-level debug")
        report.failed(defect)
        return defect.exit_code


class Report:
    """Tell whoever started the daemon how the start went: one JSON line on a pipe, or the log."""

    def __init__(self, detached: bool, tell: Callable[[EngramError], object]) -> None:
        self._fd = os.dup(2) if detached else -1
        self._tell = tell

    def ready(self, socket_path: str, log_file: str, handler: LogHandler) -> None:
        """Say that the socket is open; from here on stderr is the log."""
        if self._fd >= 0:
            try:
                handler.to_file(log_file)
            except OSError as exc:  # it serves without a log; a pipe nobody reads must not be written to
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 2)
                os.close(null)
                log.warning("there is no log: %s: %s", log_file, exc.strerror)
        self._send({"state": "ready", "socket": socket_path})
        notify("READY=1")

    def running(self, found: dict[str, Any]) -> None:
        """Say that another daemon has the database."""
        self._send({"state": "running", "socket": found.get("socket", "")})

    def failed(self, error: EngramError) -> None:
        """Say why there will be no daemon."""
        if self._fd >= 0:
            self._send({"state": "failed", "kind": error.kind, "message": error.message, "hint": error.hint})
        else:
            self._tell(error)
        notify(f"STATUS={error.message}")

    def _send(self, found: dict[str, str]) -> None:
        if self._fd >= 0:
            try:
                os.write(self._fd, json.dumps(found).encode() + b"\n")
                os.close(self._fd)
            except OSError:
                pass  # the client has stopped waiting; the daemon serves the next one
            self._fd = -1


def _in_words(error: EngramError) -> None:
    sys.stderr.write(f"engram: {error}\n")


def harden() -> None:
    """Keep what we make to ourselves, leave no core dump, and forget whose command started us."""
    import resource

    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wanted, (soft, hard) = 8192, resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:  # 4096 connections may be configured
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    for name in CLIENT_SCOPE:  # they belong to the client's request, not to everyone's
        os.environ.pop(name, None)


def _undumpable() -> Callable[[], object]:
    """Keep other programs of the user from reading our memory; after the start, for ctypes is slow to load.

    Returns what gives freed memory back to the system: without it one long line would be kept for ever.
    """
    if sys.platform != "linux":
        return int
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    trim = getattr(libc, "malloc_trim", None)  # glibc's
    return (lambda: trim(0)) if trim is not None else int


def notify(message: str) -> None:
    """Tell the service manager, if there is one (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect("\0" + address[1:] if address[0] == "@" else address)
            sock.sendall(message.encode())
        except OSError as exc:
            log.warning("the service manager cannot be told: %s", exc.strerror)


# ---- the start


def _serve(report: Report, *, socket: str | None, database: str | None, config: str | None,
           log_level: str | None) -> int:
    from engram_core import settings as configuration
    from engram_core.daemon import endpoint, logs
    from engram_core.dsn import masked

    flags = {"daemon.socket": socket, "store.url": _named(database),
             "daemon.log_level": log_level}

    def load() -> Settings:
        return configuration.load(env=os.environ, config=config, flags=flags)

    settings = load()
    handler = logs.set_up(settings.get("daemon.log_level"), os.environ)
    url, path = configuration.store_url(settings, os.environ), configuration.database_path(settings, os.environ)
    held = endpoint.lock(path)
    if held is None:
        found = endpoint.record(path)
        report.running(found)
        raise Busy(f"another daemon serves {masked(url)}" + (f" at {found['socket']}" if found else ""),
                   hint="stop it with: engram daemon stop")
    bound = endpoint.inherited()
    socket_path = bound.path if bound else configuration.socket_path(os.environ, settings, path)

    engine = _open(settings, url)
    try:
        bound = bound or endpoint.bind(socket_path)
        daemon = Daemon(engine, settings, load, bound=bound, database=path, lock=held)
        daemon.server.replay_spool(now=True)
        daemon.listen()
        daemon.publish()
    except BaseException:
        engine.close()
        if bound is not None:
            bound.remove()
        raise
    report.ready(socket_path, configuration.log_path(os.environ), handler)
    log.info("engram %s serves %s at %s, pid %d", _version(), engine.store.name, socket_path, os.getpid())
    try:
        daemon.run()
    finally:
        daemon.bound.remove()
        endpoint.withdraw(path)
        os.close(held)
    return 0


def _named(database: str | None) -> str | None:
    """Return the database of the command line; a file's path may be relative, a URL may hold no password."""
    if database is None or "://" not in database:
        return database and os.path.abspath(database)
    from engram_core.places import refuse_seen

    refuse_seen(database, "--database")
    return database


def _open(settings: Settings, database: str) -> Engine:
    """Open the database while asyncio is loaded: the one waits for the disk, the other needs the processor."""
    import threading

    from engram_core.dsn import is_server

    found: list[Engine | BaseException] = []

    def open_it() -> None:
        try:
            from engram_core.daemon.handlers import Engine

            found.append(Engine(settings, database))
        except BaseException as exc:
            found.append(exc)

    thread = threading.Thread(target=open_it, name="engram-open")
    if is_server(database):  # whose driver needs the ssl that asyncio is loaded without
        _load_asyncio()
    thread.start()
    _load_asyncio()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _load_asyncio() -> None:
    """Import asyncio as a Python without ssl has it: no connection here uses it, and it takes a fifth of the time."""
    held = sys.modules.get("ssl")
    sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        import engram_core.daemon.door  # noqa: F401
    finally:
        if held is None:
            del sys.modules["ssl"]
        else:
            sys.modules["ssl"] = held


def _version() -> str:
    from engram_core import __version__

    return __version__


class Daemon:
    """Run the event loop with its signals, from listening to the end."""

    def __init__(self, engine: Engine, settings: Settings, load: Any, *, bound: Bound, database: str,
                 lock: int) -> None:
        import asyncio

        from engram_core.daemon.door import Door
        from engram_core.daemon.selfcheck import SelfCheck
        from engram_core.daemon.server import Server

        self.engine, self.settings, self.load, self.bound = engine, settings, load, bound
        self.loop = asyncio.new_event_loop()
        self.server = Server(engine, settings, loop=self.loop, socket_path=bound.path, database=database,
                             stop=self.stop, reload=self.reload)
        self.door = Door(self.server, bound.sock)
        self.stopping = False
        self.started = round(time.time(), 3)
        self.check = self.server.check = SelfCheck(self, lock=lock)

    def publish(self) -> None:
        """Write where we are found beside the database, unless it stands there already."""
        from engram_core.daemon import endpoint

        found = {"socket": self.bound.path, "pid": os.getpid(), "started": self.started, "version": _version()}
        if endpoint.record(self.server.database) != found:
            endpoint.publish(self.server.database, found)

    def bind_again(self) -> None:
        """Make the socket anew at its path; connections that are open stay."""
        from engram_core.daemon import endpoint
        from engram_core.daemon.door import Door

        fresh = endpoint.bind(self.bound.path)
        self.door.close()
        self.bound, self.door = fresh, Door(self.server, fresh.sock)
        self.door.open()

    def listen(self) -> None:
        """Accept connections; the socket is ours already, the loop never sees its path."""
        self.door.open()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.stop)
        self.loop.add_signal_handler(signal.SIGHUP, self.reload_or_log)

    def run(self) -> None:
        """Serve until ``stop``, then finish or refuse what is under way and close the engine."""
        from engram_core.daemon.turns import SWITCH_S

        gc.collect()
        gc.freeze()
        gc.disable()  # the server collects in quiet moments
        sys.setswitchinterval(SWITCH_S)  # the loop must not wait 5 ms for a thread that computes
        self.loop.call_later(WARM_S, self._warm, time.monotonic() + WARM_LATEST_S)
        self._feed_watchdog()
        self.check.start()
        self.loop.run_forever()
        self._end()

    def _warm(self, latest: float) -> None:
        """Import what the first packet needs while nobody waits, but soon.

        What is imported later may be of another version by then: programs are replaced under running daemons.
        """
        now = time.monotonic()
        if now - self.server.writer.asked < WARM_S and now < latest:
            self.loop.call_later(WARM_S, self._warm, latest)
            return
        self.server.reader.run(self._prepare)

    def _prepare(self) -> None:
        self.server.give_back = _undumpable()
        self.engine.warm()

    def _feed_watchdog(self) -> None:
        """Tell the service manager that the loop turns, as long as the writer does too."""
        micros = os.environ.get("WATCHDOG_USEC", "")
        if not micros.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return
        every = int(micros) / 2e6
        writer = self.server.writer
        if not writer.waiting or time.monotonic() - writer.beat < 2 * every:
            notify("WATCHDOG=1")
        self.loop.call_later(every, self._feed_watchdog)

    def reload(self) -> dict[str, Any]:
        """Read the configuration anew; a wrong one raises and changes nothing."""
        fresh = self.load()
        changed = fresh.table() != self.settings.table()
        if changed:
            self.engine.reload(fresh)
            self.settings = self.server.settings = fresh
            logging.getLogger("engram").setLevel(fresh.get("daemon.log_level").upper())
            log.info("the configuration was read again")
        return {"config": ", ".join(fresh.files), "changed": changed}

    def reload_or_log(self) -> None:
        """Do what SIGHUP asks for; what is wrong with the new configuration goes to the log."""
        notify("RELOADING=1")
        try:
            self.reload()
        except EngramError as error:
            log.error("the configuration was not changed: %s", error)
        notify("READY=1")

    def stop(self) -> None:
        """Begin the end: tell whoever comes to try again, wait for what was accepted."""
        if self.stopping:
            return
        self.stopping = True
        log.info("stopping")
        notify("STOPPING=1")
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, EXIT_S)
        self.server.drain()
        self._wait_for_work(time.monotonic() + DRAIN_S, quiet=0)

    def _wait_for_work(self, until: float, *, quiet: int) -> None:
        """Stop once nothing was under way for a few looks: lines still in the sockets are told to try again."""
        quiet = 0 if self.server.busy() else quiet + 1
        if quiet < 4 and time.monotonic() < until:
            self.loop.call_later(0.005, lambda: self._wait_for_work(until, quiet=quiet))
        else:
            self.loop.stop()

    def _end(self) -> None:
        self.door.close()
        for connection in list(self.server.connections):
            connection.hang_up()
        self.server.flights.hand_over()
        done = self.server.writer.stop(True, timeout=0.4)
        done = self.server.reader.stop(timeout=0.1) and done
        if done:
            self.engine.close()  # with its checkpoint
        else:
            log.warning("ended with work under way; what was acknowledged is on disk")
        log.info("stopped")
        self.loop.close()
