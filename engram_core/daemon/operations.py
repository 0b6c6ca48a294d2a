"""What the event loop answers itself, never queued behind work: hello, status, reload and shutdown.

Driven by the server. Busy is not dead: these need no database, no thread and no free descriptor.
"""

from __future__ import annotations

import os
import time

from engram_core._version import PROTOCOL, __version__
from engram_core.daemon.writer import defect
from engram_core.errors import BadInput, ConfigError, EngramError, ProtocolError
from engram_core.protocol.lines import dump
from engram_core.protocol.messages import check_params

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engram_core.daemon.server import Server
    from engram_core.settings import Settings

__all__ = ["LOOP_METHODS", "hello", "loop_answer", "scope_of_a_caller"]


def loop_answer(server: Server, method: str, params: dict[str, Any]) -> bytes | EngramError:
    """Return the result of one of LOOP_METHODS, or its error; a defect is logged and becomes an error too."""
    try:
        check_params(method, params)
        return dump(LOOP_METHODS[method](server, params))
    except EngramError as error:
        return error
    except Exception as exc:  # asyncio would hang up on the client without a word
        return defect(method, exc)


def hello(server: object, params: dict[str, Any]) -> dict[str, Any]:
    """Agree on a protocol version, or name both sides' versions."""
    asked = params.get("protocol", list(PROTOCOL))
    if not (isinstance(asked, list) and len(asked) == 2 and all(type(n) is int for n in asked)):
        raise BadInput(f"protocol is {str(asked)[:40]}; allowed is [oldest, newest], two whole numbers")
    if min(asked[1], PROTOCOL[1]) < max(asked[0], PROTOCOL[0]):
        raise ProtocolError(
            f"the client {str(params.get('version', '?'))[:40]} speaks protocol {asked[0]} to {asked[1]}, this "
            f"daemon {__version__} speaks {PROTOCOL[0]} to {PROTOCOL[1]}",
            hint="upgrade the older one; engram daemon restart starts the installed version")
    return {"server": "engram", "version": __version__, "protocol": list(PROTOCOL), "capabilities": [],
            "pid": os.getpid()}


def status(server: Server, params: dict[str, Any]) -> dict[str, Any]:
    """Describe the daemon, and the scope a caller in this folder would get."""
    engine = server.engine.status()
    engine["schema_version"] = engine.pop("schema", None)  # "schema" names the document in every --json
    found: dict[str, Any] = {
        "version": __version__, "pid": os.getpid(), "uptime_s": round(time.monotonic() - server.started, 3),
        "socket": server.socket_path, "database": server.database}
    found.update(engine)
    served = server.places["served"] + server.places["reserved"]
    found.update({"connections": served, "queue": server.writer.waiting + server.reader.waiting,
                  "counters": dict(server.counters), "config": list(server.settings.files)})
    spool = server.engine.spool.facts()
    found.update({"spool": spool["waiting"], "spool_refused": spool["refused"]})
    if server.check is not None:
        found.update({"warnings": server.check.warnings, "checked_s": round(time.monotonic() - server.check.last, 1),
                      "writer_s": round(time.monotonic() - server.writer.beat, 3) if server.writer.waiting else 0.0})
    found.update(scope_of_a_caller(server.settings, params))
    return found


def scope_of_a_caller(settings: Settings, params: dict[str, Any]) -> dict[str, Any]:
    """Return the scope a caller in a folder would get and where each id is from, {} for one who names neither."""
    from engram_core.settings import login_name, resolve_scope

    given, cwd = params.get("scope", {}), params.get("cwd")
    if not isinstance(given, dict) or not isinstance(cwd, str | None):
        raise BadInput("scope must be an object and cwd a text")
    if cwd is None and not given:
        return {}
    try:
        scope, sources = resolve_scope(given, cwd=cwd, settings=settings, env_user=login_name(os.environ))
    except ConfigError as error:  # the daemon lives on with what it read before, and says so
        return {"config_error": str(error)}
    return {"scope": scope, "scope_sources": sources}


def reload(server: Server, params: dict[str, Any]) -> dict[str, Any]:
    """Read the configuration again, as SIGHUP does."""
    return server.reload()


def shutdown(server: Server, params: dict[str, Any]) -> dict[str, Any]:
    """Drain and exit, after this reply."""
    server.loop.call_soon(server.stop)
    return {"pid": os.getpid()}


LOOP_METHODS: dict[str, Callable[[Server, dict[str, Any]], dict[str, Any]]] = {
    "hello": hello, "status": status, "reload": reload, "shutdown": shutdown,
}
