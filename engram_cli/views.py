"""Show replies to a person: which columns a list has, and how one memory becomes a row. Driven by the commands.

Nothing here asks or writes; a view is made of plain values and handed to the output. The columns of a pipe are the
columns of the terminal, in the same order, and are part of the interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engram_cli.output import Column, Table, dumps, plural

Json = Mapping[str, Any]

EVENTS = (Column("TIME", "dim"), Column("WHO", "cyan"), Column("TEXT", wide=True),
          Column("ID", "dim", spare=True))
FACTS = (Column("KEY", "cyan"), Column("VALUE", wide=True), Column("STATUS"), Column("SURE", right=True),
         Column("SINCE", "dim", spare=True), Column("ID", "dim", spare=True))
EPISODES = (Column("START", "dim"), Column("END", "dim", spare=True), Column("SUMMARY", wide=True),
            Column("ID", "dim", spare=True))
PROCEDURES = (Column("TASK", "cyan"), Column("CONTENT", wide=True), Column("PRIORITY", right=True),
              Column("ID", "dim", spare=True))
INSIGHTS = (Column("STATE"), Column("TYPE", "cyan"), Column("STATEMENT", wide=True), Column("SURE", right=True),
            Column("ID", "dim", spare=True))
HITS = (Column("SCORE", right=True), Column("KIND", "cyan"), Column("TEXT", wide=True),
        Column("TOKENS", "dim", right=True, spare=True), Column("ID", "dim", spare=True))


def text_of(value: Any) -> str:
    """Return a value as text: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value)


def events(items: Iterable[Json]) -> Table:
    """Make a row per event: when, who, what was said, its id."""
    rows = [[clock(item.get("ts", "")), speaker(item), said(item), str(item.get("event_id", ""))] for item in items]
    return Table(EVENTS, rows, 'no such events; remember something with: engram append "..."')


def speaker(event: Json) -> str:
    """Return who an event comes from: the name, else the role, else its kind."""
    payload = event.get("payload")
    if event.get("kind", "message") != "message":
        return str(event["kind"])
    if isinstance(payload, dict):
        return str(payload.get("name") or payload.get("role") or "user")
    return "user"


def said(event: Json) -> str:
    """Return the text of an event, or its payload as JSON when it has none."""
    payload = event.get("payload")
    if isinstance(payload, dict):
        for key in ("content", "text"):
            if isinstance(payload.get(key), str) and payload[key]:
                return str(payload[key])
        calls = payload.get("tool_calls")
        if isinstance(calls, list) and calls and all(isinstance(call, dict) and "name" in call for call in calls):
            said = (f"{call['name']} {text_of(call.get('arguments', ''))}" for call in calls)
            return "calls " + ", ".join(one.rstrip() for one in said)
    return text_of(payload)


def facts(items: Iterable[Json]) -> Table:
    """Make a row per fact."""
    rows = [[str(item["fact_key"]), text_of(item.get("value")), str(item.get("status", "active")),
             share(item.get("confidence")), clock((item.get("validity") or {}).get("valid_from")
                                                   or item.get("created_at") or ""),
             str(item.get("fact_id", ""))] for item in items]
    return Table(FACTS, rows, 'no such facts; keep one with: engram fact set KEY "VALUE"')


def episodes(items: Iterable[Json]) -> Table:
    """Make a row per episode."""
    rows = [[clock((item.get("time_range") or {}).get("start") or ""),
             clock((item.get("time_range") or {}).get("end") or ""),
             str(item.get("summary", "")), str(item.get("episode_id", ""))] for item in items]
    return Table(EPISODES, rows, 'no such episodes; keep one with: engram episode add "SUMMARY"')


def procedures(items: Iterable[Json]) -> Table:
    """Make a row per procedure."""
    rows = [[str(item.get("task_type", "")), text_of(item.get("content")), str(item.get("priority", 0)),
             str(item.get("procedure_id", ""))] for item in items]
    return Table(PROCEDURES, rows, 'no such procedures; keep one with: engram procedure set TASK "CONTENT"')


def insights(items: Iterable[Json]) -> Table:
    """Make a row per insight."""
    rows = [[str(item.get("validation_state", "")) + (" (expired)" if item.get("expired") else ""),
             str(item.get("type", "")), str(item.get("statement", "")),
             share(item.get("confidence")), str(item.get("id", ""))] for item in items]
    return Table(INSIGHTS, rows, 'no such insights; keep one with: engram insight add "STATEMENT"')


def hits(items: Iterable[Json], *, empty: str = "") -> Table:
    """Make a row per hit of a search."""
    rows = [[f"{float(item.get('score') or 0):.3f}", str(item.get("kind", "")), text_of(item.get("text", "")),
             str(item.get("tokens", "")), str(item.get("id", ""))] for item in items]
    return Table(HITS, rows, empty or "nothing found; other words may find it, or see: engram events")


def clock(value: Any) -> str:
    """Return a time to the second, in UTC, as it is stored."""
    text = str(value or "")
    return text[:19] + "Z" if len(text) > 20 and text.endswith("Z") else text


def share(value: Any) -> str:
    """Return a number between 0 and 1 with two digits."""
    return f"{value:.2f}" if isinstance(value, int | float) else ""


def status(found: Json, env: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the daemon's status as names and values; each id of the scope says where it comes from."""
    rows = _flat("", {key: value for key, value in found.items() if key not in ("scope", "scope_sources")})
    return rows + _scope(found, env)


def status_at_a_glance(found: Json, env: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the same in sentences, for a person at a terminal."""
    index, kernel = (found.get(name) or {} for name in ("index", "kernel"))
    backend = str(found.get("backend") or "sqlite")
    store = found.get(backend) or {}
    counters, retention = found.get("counters") or {}, found.get("retention") or {}
    kept = [f"{name} for {plural(days, 'day')}" if (days := int(retention.get(f"{name}_days") or 0)) else
            f"{name} for ever" for name in ("events", "insights")]
    return [
        ("daemon", f"{found.get('version')}, pid {found.get('pid')}, up {duration(float(found.get('uptime_s') or 0))}"),
        ("kernel", f"{'compiled' if kernel.get('compiled') else 'not compiled'}, {kernel.get('version', '')}"),
        ("socket", str(found.get("socket", ""))),
        ("database", f"{found.get('database')}, {size(store.get('db_bytes'))}{_beside(store)}"),
        ("durability", f"{found.get('durability')}: {_durability(backend, store)}"),
        ("index", f"{plural(int(index.get('memories') or 0), 'memory', 'memories')} of "
                  f"{plural(int(index.get('owners') or 0), 'owner')}, {size(index.get('bytes'))}"),
        ("tokenizer", str(found.get("tokenizer", ""))),
        ("kept", ", ".join([*kept, plural(int(retention.get("builds_per_run") or 0), "packet") + " of each run"])),
        ("since start", ", ".join(f"{count:,} {name}" for name, count in counters.items())),
        ("waiting", f"{plural(int(found.get('queue') or 0), 'write')}, {int(found.get('spool') or 0):,} spooled, "
                    + plural(int(found.get("connections") or 0), "connection")),
        ("configuration", ", ".join(found.get("config") or []) or "no file, all defaults"),
        *_scope(found, env),
    ]


def _beside(store: Json) -> str:
    """Say what there is beside the database itself: the log of a file, or that a server is away."""
    if "wal_bytes" in store:
        return f", log {size(store['wal_bytes'])}"
    return "" if store.get("available", True) else f", away since {clock(store.get('away_since'))}: " \
                                                   f"{text_of(store.get('last_error'))}"


def _durability(backend: str, store: Json) -> str:
    if "journal_mode" in store:
        return f"SQLite {store.get('version')}, {store.get('journal_mode')}, synchronous {store.get('synchronous')}"
    told = [f"{name} {store[name]}" for name in ("fsync", "synchronous_commit", "innodb_flush_log_at_trx_commit",
                                                 "sync_binlog") if name in store]
    return ", ".join([f"{backend} {store.get('version')}", *told])


def size(value: Any) -> str:
    """Return a number of bytes as a person says it."""
    number = float(value or 0)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def duration(seconds: float) -> str:
    """Return a time span as a person says it."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return plural(int(seconds // length), unit)
    return plural(int(seconds), "second")


def _scope(found: Json, env: Mapping[str, str]) -> list[tuple[str, str]]:
    sources = found.get("scope_sources") or {}
    rows = []
    for name, value in (found.get("scope") or {}).items():
        source = str(sources.get(name, ""))
        variable = f"ENGRAM_{name.removesuffix('_id').upper()}"
        if source == "request":
            source = variable if env.get(variable) == value else f"--{name.removesuffix('_id')}"
        rows.append((f"scope.{name}", f"{value} ({source})"))
    return rows


def _flat(prefix: str, found: Json) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in found.items():
        if isinstance(value, dict) and value:
            rows += _flat(f"{prefix}{name}.", value)
        elif isinstance(value, bool):
            rows.append((prefix + name, "yes" if value else "no"))
        elif isinstance(value, list | dict):
            rows.append((prefix + name, ", ".join(map(text_of, value)) or "none"))
        else:
            rows.append((prefix + name, text_of(value)))
    return rows
