"""Where the configured database and its daemon are: what the store opens, the files beside it, the socket.

Part of the settings, which export these names; apart for its length. A database on a server has its lock, its endpoint
record and its start lock in the state folder, under a name made from the server and the database.
"""

from __future__ import annotations

import os

from engram_core.dsn import driver_of, identity, is_server, masked, secrets
from engram_core.errors import BadInput, ConfigError
from engram_core.paths import MAX_SOCKET_PATH, default_database, digest, home, plain_database, xdg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from engram_core.settings import Settings

__all__ = ["check_store", "database_path", "socket_path", "store_url"]

_FILE = "a path, sqlite:///path, postgresql://user@host/database or mysql://user@host/database"


def store_url(settings: Settings, env: Mapping[str, str]) -> str:
    """Return what the store is to open: the absolute path of a file, or the URL of a database on a server."""
    url = str(settings.get("store.url"))
    if is_server(url):
        return url
    if not url:
        return default_database(env)
    path = check_store(url, settings.origin("store.url"))
    return f"{home(env)}{path[1:]}" if path.startswith("~/") else path


def database_path(settings: Settings, env: Mapping[str, str]) -> str:
    """Return the path that lock and endpoint stand beside: the file's own, or one in the state folder."""
    url = store_url(settings, env)
    if not is_server(url):
        return url
    return f"{xdg(env, 'XDG_STATE_HOME', '.local/state')}/engram/servers/{digest(identity(url))}"


def check_store(url: str, where: str) -> str:
    """Return a file's path or a server's URL as it is; raise ConfigError for what is neither."""
    if is_server(url):
        return url
    path = url
    if "://" in url:
        rest = url.partition("://")[2]
        if not driver_of(url) or not rest.startswith("/"):
            raise ConfigError(f"{where}: store.url is {masked(url)!r}, but must be {_FILE}",
                              hint="known before :// are sqlite, postgresql, postgres, mysql and mariadb")
        path = "/" + rest.lstrip("/")
    if not path.startswith(("/", "~/")) or path.endswith("/"):
        raise ConfigError(f"{where}: store.url is {path!r}, but must be the absolute path of a file",
                          hint=f"start it with /, ~/ or sqlite:///; allowed is {_FILE}")
    return path if path.startswith("~/") else os.path.normpath(path)


def refuse_seen(url: str, where: str) -> None:
    """Raise ConfigError for a password where others can read it."""
    if secrets(url):
        raise ConfigError(f"{where}: store.url {masked(url)} holds a password that others can read",
                          hint="leave it out, put it alone into a file of yours (mode 0600), and name that file in "
                               "store.password_file")


def socket_path(env: Mapping[str, str], settings: Settings, database: str) -> str:
    """Return the daemon's socket for a database; one asked for by name is never replaced."""
    asked = settings.get("daemon.socket")
    if asked:
        path = f"{home(env)}{asked[1:]}" if asked.startswith("~/") else os.path.abspath(asked)
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise BadInput(f"socket path {path} has {len(os.fsencode(path))} bytes, the system allows "
                           f"{MAX_SOCKET_PATH}", hint="name a shorter one with --socket or ENGRAM_SOCKET")
        return path
    runtime = env.get("XDG_RUNTIME_DIR", "")
    folder = runtime.rstrip("/") + "/engram" if runtime.startswith("/") else \
        xdg(env, "XDG_STATE_HOME", ".local/state") + "/engram/run"
    real = os.path.realpath(database)
    plain = real == os.path.realpath(plain_database(env, folder))
    path = f"{folder}/engram.sock" if plain else f"{folder}/engram-{digest(real)}.sock"
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        path = f"/tmp/engram-{os.geteuid()}/engram-{digest(path)}.sock"
    return path
