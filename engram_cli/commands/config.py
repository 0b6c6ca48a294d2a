"""Show, change and check the configuration. Driven by main."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from engram_cli import views
from engram_cli.call import Call, working_directory
from engram_cli.options import command, family
from engram_cli.output import Column, Table
from engram_core import settings
from engram_core.errors import BadInput, ConfigError, EngramError

app = family("config", "Show, change and check the configuration.", default="show")

COLUMNS = (Column("SETTING", "cyan"), Column("VALUE", wide=True), Column("FROM", "dim"))
File = Annotated[str | None, typer.Option("--config", metavar="FILE", envvar="ENGRAM_CONFIG",
                                          help="Use this file in place of your own.")]
Key = Annotated[str, typer.Argument(metavar="KEY", show_default=False, help="Such as packet.max_tokens.")]


def _load(config: str | None) -> settings.Settings:
    return settings.load(env=os.environ, config=config, cwd=working_directory())


@command(app, "path", scope=False, daemon=False, example="engram config path")
def path(call: Call, *, config: File = None) -> None:
    """Write the path of your configuration file, whether it exists or not."""
    settings.check_places(os.environ)
    found = config or settings.config_path(os.environ)
    if call.out.json:
        read = list(_load(config if config and os.path.exists(config) else None).files)
        call.out.document("config-path", {"path": found, "exists": os.path.exists(found), "files": read})
    else:
        call.out.line(found)


@command(app, "show", scope=False, daemon=False, stream=True, example="""
engram config show
engram config show packet.max_tokens
""")
def show(
    call: Call,
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", show_default=False,
                                              help="One setting, with what is allowed; all by default.")] = None,
    *,
    config: File = None,
) -> None:
    """Show every setting, its value and where it comes from."""
    found = _load(config)
    rows = found.table()
    if key is not None:
        with _typed():
            name = settings.field_of(key).key
        rows = [row for row in rows if row["key"] == name]
        if not (call.out.json or call.out.ndjson):
            call.out.fields([(field, views.text_of(value)) for field, value in rows[0].items()])
            return
    call.out.listing("config", {"files": list(found.files), "settings": rows}, "settings", _table)


def _table(rows: list[dict[str, Any]]) -> Table:
    return Table(COLUMNS, [[row["key"], views.text_of(row["value"]), row["origin"]] for row in rows])


@command(app, "get", scope=False, daemon=False, example="engram config get packet.max_tokens")
def get(call: Call, key: Key, *, config: File = None) -> None:
    """Write one setting's value."""
    found = _load(config)
    with _typed():
        value = next(row["value"] for row in found.table() if row["key"] == settings.field_of(key).key)
    if call.out.json:
        call.out.document("config-get", {"key": key, "value": value, "origin": found.origin(key)})
    else:
        call.out.line(views.text_of(value))


@command(app, "set", scope=False, example="""
engram config set packet.max_tokens 4000
engram config set redact.patterns.badge 'BADGE-[0-9]{6}'
engram config set scope.agent reviewer --project
""")
def set_(
    call: Call,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", show_default=False, help="The new value.")],
    *,
    project: Annotated[bool, typer.Option(
        "--project", help="Write to .engram.toml in this folder, for everyone who works in it.")] = False,
    config: File = None,
) -> None:
    """Change one setting in your configuration file, and leave everything else in it as it is."""
    from engram_cli.toml_edit import replace_value

    file = config or (os.path.join(working_directory(), settings.PROJECT_FILE) if project
                      else settings.config_path(os.environ))
    with _typed():
        setting, name = _parts(key)
        given = {name: value} if name else settings.parse_text(setting, value)
        settings.check(setting, given, settings.NEW_VALUE)
    if project and not setting.startswith("scope."):
        raise ConfigError(f"{setting} cannot be set for a project", hint="a project's file holds [scope] only")
    settings.read_file(file, project=project)  # a file that is wrong already is not changed
    replace_value(file, (*setting.split("."), *([name] if name else [])), value if name else given,
                  private=not project)
    taken = _tell_daemon(call, setting) if not project else ""
    if call.out.json:
        call.out.document("config-set", {"key": key, "value": value if name else given, "path": file, "note": taken})
        return
    call.out.note(f"wrote {file}" + (f"; {taken}" if taken else ""))


@contextlib.contextmanager
def _typed() -> Iterator[None]:
    """Report what is wrong with an argument as such, not as a wrong file."""
    try:
        yield
    except ConfigError as exc:
        raise BadInput(exc.message, hint=exc.hint) from exc


def _parts(key: str) -> tuple[str, str]:
    """Return setting and name within it, as in ``redact.patterns.NAME``."""
    for field in settings.FIELDS:
        if field.kind == "patterns" and key.startswith(field.key + "."):
            return field.key, key.removeprefix(field.key + ".")
    return settings.field_of(key).key, ""


def _tell_daemon(call: Call, setting: str) -> str:
    os.environ["ENGRAM_AUTOSTART"] = "0"
    try:
        call.memory.reload()
    except EngramError as exc:
        return "" if exc.kind == "no_daemon" else f"the daemon did not take it over: {exc.message}"
    return "it takes effect with: engram daemon restart" if setting in settings.AT_START else "the daemon took it over"


@command(app, "check", scope=False, daemon=False, example="engram config check")
def check(call: Call, *, config: File = None) -> None:
    """Check every configuration file, and name file, setting and what is allowed for everything that is wrong."""
    wrong: list[ConfigError] = []
    found = settings.load(env=os.environ, config=config, cwd=working_directory(), wrong=wrong)
    if wrong:
        raise ConfigError.of(wrong)
    if call.out.json:
        call.out.document("config-check", {"files": list(found.files)})
    else:
        call.out.line("ok: " + (", ".join(found.files) or "no file, all defaults"))
