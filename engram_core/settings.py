"""Find, merge and check the configuration: shipped < system < user < project < environment < flags.

The daemon loads it at its start and on SIGHUP, the command line for ``config`` and to find the socket.
``FIELDS`` is the one definition of every setting; `config/engram.toml` is generated from it. Where no file
exists nothing beyond `os` and `sys` is imported, because the first command of a fresh machine pays for every
import of the daemon it starts.
"""

from __future__ import annotations

import os

from engram_core.dsn import masked
from engram_core.errors import AccessDenied, BadInput, ConfigError, UnknownField, nearest
from engram_core.paths import config_path, home, log_path, login_name
from engram_core.places import check_store, database_path, refuse_seen, socket_path, store_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = [
    "AT_START", "FIELDS", "SCOPE_IDS", "Field", "Settings", "check", "check_places", "config_path",
    "database_path", "field_of", "load", "log_path", "login_name", "parse_text", "project_file", "read_file",
    "resolve_scope", "socket_path", "store_url",
]

SYSTEM_FILE = "/etc/engram/engram.toml"
PROJECT_FILE = ".engram.toml"
NEW_VALUE = "the new value"  # of `engram config set`, whose command line others can see
MAX_FILE_BYTES = 1 << 20
SCOPE_IDS = ("tenant_id", "user_id", "agent_id", "session_id", "run_id")

LANGUAGES = (
    "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "estonian", "finnish", "french",
    "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali",
    "norwegian", "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish",
    "yiddish",
)


class Field:
    """Describe one setting: where it stands, its type and default, what is allowed, and what it is for."""

    __slots__ = ("allowed", "default", "env", "help", "key", "kind")

    def __init__(self, key: str, kind: str, default: Any, *, allowed: tuple[Any, ...] = (), help: str = "",
                 env: str = "") -> None:
        self.key, self.kind, self.default, self.allowed, self.help = key, kind, default, allowed, help
        self.env = env or "ENGRAM_" + key.replace(".", "_").upper()

    def describe(self) -> str:
        """Say in words which values are allowed."""
        if self.kind == "bool":
            return "true or false"
        if self.kind == "int":
            return f"a whole number from {self.allowed[0]} to {self.allowed[1]}"
        if self.kind == "patterns":
            return "a table of name = regular expression"
        if self.allowed:
            return "one of " + ", ".join(self.allowed)
        return "a non-empty text" if self.kind == "name" else "a text"


# kind "name" is a text that may not be empty; "text" may be.
FIELDS: tuple[Field, ...] = (
    Field("store.url", "text", "",
          help="database: a path, sqlite:///path, postgresql://user@host/name or mysql://user@host/name; empty is "
               "the default path under $XDG_DATA_HOME"),
    Field("store.password_file", "text", "",
          help="file, ours alone, whose first line is the password of the database on a server"),
    Field("store.durability", "name", "full", allowed=("full", "normal"),
          help="full: an acknowledged write survives a power cut; normal: a crash of the program"),
    Field("store.busy_timeout_ms", "int", 5000, allowed=(0, 600_000),
          help="how long to wait while another program holds the database, or its server is away"),
    Field("store.answer_timeout_ms", "int", 4000, allowed=(2500, 600_000),
          help="how long a database on a server may stay silent before its connection counts as lost"),
    Field("daemon.socket", "text", "", env="ENGRAM_SOCKET",
          help="socket of the daemon; empty is the default path under $XDG_RUNTIME_DIR"),
    Field("daemon.max_connections", "int", 64, allowed=(1, 4096),
          help="clients served at once; more are told to retry"),
    Field("daemon.log_level", "name", "info", allowed=("debug", "info", "warning", "error"),
          help="what the log tells; texts of memories appear at debug only"),
    Field("daemon.request_timeout_ms", "int", 10_000, allowed=(1, 600_000),
          help="deadline of a request that names none"),
    Field("scope.tenant", "name", "default", env="ENGRAM_TENANT", help="tenant when a command names none"),
    Field("scope.user", "text", "", env="ENGRAM_USER",
          help="user when a command names none; empty is the login name"),
    Field("scope.agent", "name", "cli", env="ENGRAM_AGENT", help="agent when a command names none"),
    Field("scope.session", "name", "default", env="ENGRAM_SESSION", help="session when a command names none"),
    Field("scope.run", "name", "default", env="ENGRAM_RUN", help="run when a command names none"),
    Field("packet.policy", "name", "default",
          help="policy of a packet that names none; see engram policy list"),
    Field("packet.max_tokens", "int", 2048, allowed=(1, 10_000_000),
          help="budget of a packet that names none"),
    Field("packet.tokenizer", "name", "o200k_base",
          allowed=("o200k_base", "cl100k_base", "bytes", "estimate"),
          help="what counts the tokens of a packet that names none"),
    Field("recall.language", "name", "english", allowed=LANGUAGES, help="language of the stemmer"),
    Field("recall.index_memory_mb", "int", 256, allowed=(1, 1_048_576),
          help="memory the recall indexes may hold; the least used owner's is dropped first"),
    Field("embed.model", "text", "",
          help="embedding model for recall by meaning: the folder of one for sentence-transformers, or module:function "
               "that returns your own; empty is none. A policy weighs it: recipe.meaning"),
    Field("embed.timeout_ms", "int", 500, allowed=(1, 60_000),
          help="how long a question may wait for its vector before it is asked without one"),
    Field("redact.enabled", "bool", True, help="replace well-known keys and tokens before storing"),
    Field("redact.patterns", "patterns", {}, help="more to redact: name = regular expression"),
    Field("retention.events_days", "int", 0, allowed=(0, 36_500),
          help="forget events older than this; 0 keeps them"),
    Field("retention.builds_per_run", "int", 100, allowed=(1, 100_000),
          help="packets kept per run, newest first"),
    Field("retention.insights_days", "int", 30, allowed=(0, 36_500),
          help="forget expired and rejected insights after this; 0 keeps them"),
    Field("retention.checkpoints_days", "int", 0, allowed=(0, 36_500),
          help="delete threads of graphs that nobody wrote to for so long; 0 keeps them"),
)
BY_KEY = {field.key: field for field in FIELDS}
# What a daemon reads once, at its start; everything else it takes over when told to reload.
AT_START = frozenset({"store.url", "store.password_file", "store.durability", "store.busy_timeout_ms",
                      "store.answer_timeout_ms", "daemon.socket", "daemon.max_connections", "recall.language",
                      "recall.index_memory_mb", "embed.model", "embed.timeout_ms"})
SECTIONS = tuple(dict.fromkeys(field.key.split(".")[0] for field in FIELDS))


class Settings:
    """Hold every setting's value and where it came from; never changes after it was made."""

    __slots__ = ("_origins", "_values", "files", "places")

    def __init__(self, values: dict[str, Any], origins: dict[str, str], files: tuple[str, ...],
                 places: tuple[str, ...]) -> None:
        self._values, self._origins = values, origins
        self.files = files  # those that were read, lowest precedence first
        self.places = places  # where a system or user file is looked for, existing or not

    def get(self, key: str) -> Any:
        """Return the value of a setting, as in ``get("store.url")``."""
        return self._values[field_of(key).key]

    def origin(self, key: str) -> str:
        """Return where a value came from: ``default``, a file's path, ``environment NAME`` or ``flag``."""
        return self._origins.get(field_of(key).key, "default")

    def table(self) -> list[dict[str, Any]]:
        """Return one row per setting: key, value, origin, default, allowed, help."""
        shown = {**self._values, "store.url": masked(self._values["store.url"])}
        return [{"key": f.key, "value": shown[f.key], "origin": self.origin(f.key),
                 "default": f.default, "allowed": f.describe(), "environment": f.env, "help": f.help}
                for f in FIELDS]


def load(*, env: Mapping[str, str], config: str | None = None, cwd: str | None = None,
         flags: Mapping[str, Any] | None = None, wrong: list[ConfigError] | None = None) -> Settings:
    """Merge all layers into one Settings; ``config`` names a file to use instead of the user's.

    What is wrong in a file is raised, or, where ``wrong`` is given, added there and left out: all else that the files
    say still holds, for who looks everything through or must go on.
    """
    check_places(env, wrong)
    values = {f.key: f.default for f in FIELDS}
    origins: dict[str, str] = {}
    files: list[str] = []
    chosen = config or env.get("ENGRAM_CONFIG") or ""
    places = (SYSTEM_FILE, os.path.abspath(chosen) if chosen else config_path(env))
    for path in places:
        found = read_file(path, wrong=wrong)
        if found is None and chosen and path == places[1]:
            _tell(ConfigError(f"{path}: there is no such configuration file", hint="check --config and ENGRAM_CONFIG"),
                  wrong)
        _merge(found, path, values, origins, files)
    project = project_file(cwd, env) if cwd else ""
    if project:
        _merge(read_file(project, project=True, wrong=wrong), project, values, origins, files)
    for f in FIELDS:
        text = env.get(f.env, "")
        if text:
            try:
                values[f.key], origins[f.key] = _from_text(f, text), f"environment {f.env}"
            except ConfigError as exc:
                _tell(exc, wrong)
    for key, value in (flags or {}).items():
        if value is not None:
            values[key], origins[key] = check(key, value, "flag"), "flag"
    return Settings(values, origins, tuple(files), places)


def _merge(found: dict[str, Any] | None, path: str, values: dict[str, Any], origins: dict[str, str],
           files: list[str]) -> None:
    if found is None:
        return
    files.append(path)
    values.update(found)
    origins.update(dict.fromkeys(found, path))


# ---- checks


def field_of(key: str) -> Field:
    """Return the field of a dotted key, or raise with the nearest known one."""
    field = BY_KEY.get(key)
    if field is None:
        raise ConfigError(f"unknown setting {key!r}", hint=_suggest(key, list(BY_KEY)))
    return field


def check(key: str, value: Any, where: str) -> Any:
    """Return the value if the setting allows it, or raise naming file, field, value and what is allowed."""
    field = BY_KEY.get(key)
    if field is None:
        section, _, name = key.partition(".")
        near = [k.split(".")[1] for k in BY_KEY if k.startswith(section + ".")] or list(BY_KEY)
        raise ConfigError(f"{where}: unknown setting {name!r} in [{section}]", hint=_suggest(name, near))
    if not _fits(field, value):
        raise ConfigError(f"{where}: {key} is {_shown(value)}, but must be {field.describe()}",
                          hint=_suggest_value(field, value))
    if field.kind == "patterns":
        _check_patterns(value, where)
    elif key == "store.url" and value:
        check_store(value, where)
        if where == NEW_VALUE:
            refuse_seen(value, where)
    elif key == "daemon.socket" and value and not value.startswith(("/", "~/")) and where.startswith("/"):
        raise ConfigError(f"{where}: daemon.socket is {_shown(value)}, but must be an absolute path",
                          hint="start it with / or ~/")
    return value


def _fits(field: Field, value: Any) -> bool:
    if field.kind == "bool":
        return isinstance(value, bool)
    if field.kind == "int":
        return isinstance(value, int) and not isinstance(value, bool) and \
            field.allowed[0] <= value <= field.allowed[1]
    if field.kind == "patterns":
        return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    if not isinstance(value, str) or "\0" in value or (field.kind == "name" and not value.strip()):
        return False
    return not field.allowed or value in field.allowed


def _check_patterns(patterns: dict[str, str], where: str) -> None:
    if not patterns:
        return
    from engram_core.patterns import problem  # late: only who adds patterns pays for it

    wrong = [ConfigError(f"{where}: redact.patterns.{name} is {_shown(pattern)}, which {found[0]}", hint=found[1])
             for name, pattern in patterns.items() if (found := problem(pattern))]
    if wrong:
        raise ConfigError.of(wrong)


def _from_text(field: Field, text: str) -> Any:
    where = f"environment {field.env}"
    return check(field.key, parse_text(field.key, text), where)


def parse_text(key: str, text: str) -> Any:
    """Turn a word from a shell into the setting's type; ``check`` refuses what cannot be."""
    kind = field_of(key).kind
    if kind == "bool":
        return {"1": True, "true": True, "yes": True, "on": True,
                "0": False, "false": False, "no": False, "off": False}.get(text.strip().lower(), text)
    if kind == "int":
        try:
            return int(text)
        except ValueError:
            return text
    return text


def _shown(value: Any) -> str:
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _suggest(word: str, known: list[str]) -> str:
    near = nearest(word, known)
    return f"did you mean {near}?" if near else "known: " + ", ".join(known)


def _suggest_value(field: Field, value: Any) -> str:
    near = nearest(value, list(field.allowed)) if isinstance(value, str) and field.kind == "name" else ""
    return f"did you mean {near}?" if near else f"see engram config show {field.key}"


# ---- files


def read_file(path: str, *, project: bool = False, wrong: list[ConfigError] | None = None) -> dict[str, Any] | None:
    """Return a file's settings as dotted keys, checked, or None when there is no such file.

    With ``wrong`` what is wrong is added there, and the settings that are right are returned.
    """
    try:
        parsed = _parsed(path)
    except ConfigError as exc:
        _tell(exc, wrong)
        return {}
    return None if parsed is None else dict(_settings_in(parsed, path, project, wrong))


def _tell(error: ConfigError, wrong: list[ConfigError] | None) -> None:
    if wrong is None:
        raise error
    wrong.append(error)


def _parsed(path: str) -> dict[str, Any] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}", hint="correct its permissions") from exc
    from engram_core.trusted import check_owner  # late, as all that a machine without a file does not pay

    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        check_owner(path, found)
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_FILE_BYTES} bytes",
                          hint="is it a configuration file?")
    import tomllib  # late: 12 ms that a machine without a file does not pay

    try:
        parsed = tomllib.loads(data.decode())
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: is not UTF-8: byte {exc.start}", hint="save it as UTF-8") from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigError(f"{path}: is not TOML: {exc}", hint="correct that line") from exc
    store = parsed.get("store")
    if found.st_mode & 0o044 and isinstance(store, dict) and isinstance(store.get("url"), str):
        refuse_seen(store["url"], path)
    return parsed


def _settings_in(parsed: dict[str, Any], path: str, project: bool,
                 wrong: list[ConfigError] | None) -> Iterator[tuple[str, Any]]:
    for section, table in parsed.items():
        if section not in SECTIONS:
            _tell(ConfigError(f"{path}: unknown section [{section}]", hint=_suggest(section, list(SECTIONS))), wrong)
        elif not isinstance(table, dict):
            _tell(ConfigError(f"{path}: {section} is {_shown(table)}, but must be a section",
                              hint=f"write [{section}] on a line of its own"), wrong)
        elif project and section != "scope":
            _tell(ConfigError(f"{path}: has a section [{section}], but a project's file holds [scope] only",
                              hint="put it in your own configuration; engram config path names the file"), wrong)
        else:
            for name, value in table.items():
                key = f"{section}.{name}"
                try:
                    yield key, check(key, value, path)
                except ConfigError as exc:
                    for one in (exc, *exc.more):
                        _tell(one, wrong)


def project_file(cwd: str, env: Mapping[str, str]) -> str:
    """Return the nearest `.engram.toml` at or above a folder, not above the home directory, or ""."""
    top, folder = home(env), cwd
    while folder.startswith("/"):
        path = f"{folder.rstrip('/')}/{PROJECT_FILE}"
        if os.path.exists(path):
            return path
        parent = os.path.dirname(folder)
        if folder in (top, parent):
            break
        folder = parent
    return ""


# ---- paths


def check_places(env: Mapping[str, str], wrong: list[ConfigError] | None = None) -> None:
    """Refuse a home or XDG folder that is not absolute: what it names would change with the current folder."""
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        value = env.get(name, "")
        if value and not value.startswith("/"):
            _tell(ConfigError(f"environment {name} is {_shown(value)}, but must be an absolute path",
                              hint="start it with /, or unset it"), wrong)


# ---- scope


_seen: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {}


def _cached_file(path: str, *, project: bool = False) -> dict[str, Any]:
    """Return a file's settings, read again only when its time, size or inode changed."""
    try:
        stat = os.stat(path)
    except OSError:
        _seen.pop(path, None)
        return {}
    stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    known = _seen.get(path)
    if known is None or known[0] != stamp:
        known = (stamp, read_file(path, project=project) or {})
        if len(_seen) >= 256:
            _seen.clear()
        _seen[path] = known
    return known[1]


def resolve_scope(given: Mapping[str, Any], *, cwd: str | None, settings: Settings,
                  env_user: str) -> tuple[dict[str, str], dict[str, str]]:
    """Complete a scope from project and user files and the built-in ids; return it and each id's source.

    Without ``cwd`` only the tenant is completed. The daemon's own environment is never used: it belongs
    to whoever started the daemon, not to the client that asks.
    """
    for key in given:
        if key not in SCOPE_IDS:
            raise UnknownField(f"scope.{key} is not known", hint=_suggest(key, list(SCOPE_IDS)))
    scope: dict[str, str] = {}
    sources: dict[str, str] = {}
    layers: list[tuple[str, dict[str, Any]]] | None = None
    for key in SCOPE_IDS:
        value = given.get(key)
        if value is not None:
            if not isinstance(value, str) or not value.strip():
                raise BadInput(f"scope.{key} is {_shown(value)}, but must be a non-empty text",
                               hint="leave it out to use the configured one")
            scope[key], sources[key] = value, "request"
            continue
        if cwd is None and key != "tenant_id":
            raise BadInput(f"scope.{key} is missing", hint="name all of " + ", ".join(SCOPE_IDS[1:]))
        if layers is None:
            layers = _scope_layers(cwd, settings)
        scope[key], sources[key] = _default_id(key, layers if cwd is not None else [], env_user)
    return scope, sources


def _scope_layers(cwd: str | None, settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    if cwd is None:
        return []
    layers = [(path, _cached_file(path)) for path in reversed(settings.places)]
    project = project_file(cwd, os.environ)
    return [(project, _cached_file(project, project=True)), *layers] if project else layers


def _default_id(key: str, layers: list[tuple[str, dict[str, Any]]], env_user: str) -> tuple[str, str]:
    name = "scope." + key.removesuffix("_id")
    for path, found in layers:
        if found.get(name):
            return found[name], path
    default = BY_KEY[name].default
    if default:
        return default, "built-in"
    if not env_user:
        raise AccessDenied("this process has no login name", hint="name the user with --user or ENGRAM_USER")
    return env_user, "login name"
