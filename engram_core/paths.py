"""Say where Engram keeps its files for the user of an environment: home, data, configuration, state.

Driven by the settings, the daemon and the client. Imports `os` and `sys` only; looks at the environment it is
given, never at the process's own.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_SOCKET_PATH", "config_path", "default_database", "digest", "home", "log_path", "login_name", "plain_database",
    "spool_path", "xdg",
]

MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103


def home(env: Mapping[str, str]) -> str:
    """Return the home directory; without a usable one, a private folder that survives a reboot."""
    path = env.get("HOME", "")
    if path.startswith("/") and (path != "/" or os.geteuid() == 0):
        return path.rstrip("/") or "/"
    import pwd  # late: only a process without HOME needs it

    try:
        path = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        path = ""
    if path.startswith("/") and path != "/" and os.access(path, os.W_OK | os.X_OK):
        return path
    return f"/var/tmp/engram-{os.geteuid()}"  # checked by whoever makes it: ours, 0700, no symlink


def xdg(env: Mapping[str, str], name: str, fallback: str) -> str:
    """Return an XDG base directory, or its place under the home directory."""
    path = env.get(name, "")
    return path.rstrip("/") if path.startswith("/") else f"{home(env)}/{fallback}".replace("//", "/")


def config_path(env: Mapping[str, str]) -> str:
    """Return where the user's configuration file is looked for."""
    return xdg(env, "XDG_CONFIG_HOME", ".config") + "/engram/engram.toml"


def log_path(env: Mapping[str, str]) -> str:
    """Return where a daemon that no supervisor started writes its log."""
    return xdg(env, "XDG_STATE_HOME", ".local/state") + "/engram/daemon.log"


def default_database(env: Mapping[str, str]) -> str:
    """Return the database's path when nothing is configured."""
    return xdg(env, "XDG_DATA_HOME", ".local/share") + "/engram/engram.db"


def plain_database(env: Mapping[str, str], folder: str) -> str:
    """Return the one database whose socket has the plain name in a folder; those of all others are numbered.

    A folder below the home is that home's; any other, such as /run/user/1000, is the login's, whatever HOME says now.
    """
    own = home(env)
    if not folder.startswith(own.rstrip("/") + "/"):
        import pwd  # late: in the usual home nobody needs it

        try:
            own = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            pass
    return own.rstrip("/") + "/.local/share/engram/engram.db"


def spool_path(database: str) -> str:
    """Return the folder of the events that wait for the database's next daemon."""
    return database + ".spool"


def digest(path: str) -> str:
    """Return eight hexadecimal digits that name a path."""
    import _blake2  # the C module under hashlib, which itself would load OpenSSL

    return str(_blake2.blake2b(os.fsencode(path), digest_size=4).hexdigest())


def login_name(env: Mapping[str, str]) -> str:
    """Return the name of the user this process runs as, from the system, or ``uid-N`` when it has none."""
    import pwd  # late: a caller who names the user does not need it

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return env.get("USER") or f"uid-{os.geteuid()}"
