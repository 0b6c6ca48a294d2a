"""Where policy files lie, and what one holds as written. Without pydantic, for the command line checks a file with it.

Driven by the policies, the engine and ``engram policy check``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from engram_core import shipped
from engram_core.errors import ConfigError
from engram_core.paths import config_path

__all__ = ["folders", "parse", "read", "unreadable"]


def folders(env: Mapping[str, str]) -> list[str]:
    """Return where policies lie: the user's own first, then the shipped ones."""
    return [os.path.join(os.path.dirname(config_path(env)), "policies"), shipped.path("policies")]


def read(path: str) -> dict[str, Any]:
    """Return a policy file's table; raise ConfigError naming the file when it cannot be read or is no TOML."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise unreadable(path, exc) from exc
    return parse(text, path)


def unreadable(path: str, exc: OSError | UnicodeDecodeError) -> ConfigError:
    """Return the error of a path that is not there, not ours to read, or not UTF-8."""
    return ConfigError(f"{path}: cannot be read: {getattr(exc, 'strerror', None) or exc}",
                       hint="name a policy or a file; see engram policy list")


def parse(text: str, path: str) -> dict[str, Any]:
    """Read a policy file's TOML; raise ConfigError naming the file and the line."""
    import tomllib  # late: who only asks for the folders need not load it

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}", hint="`engram policy check` tells when it is right") from None
