"""Where the files that ship with Engram lie; asked by settings, policies and ``engram daemon install``.

An installed package carries a copy of ``config/`` inside itself, a checkout has the folder beside its
packages. Plain string paths: importlib.resources would cost more at start-up than the rest of the client.
"""

from __future__ import annotations

import os.path

__all__ = ["path"]

_HERE = os.path.dirname(os.path.abspath(__file__))
_INSTALLED = os.path.join(_HERE, "_config")


def path(*parts: str) -> str:
    """Return the path of a shipped file, given as the names that lead to it below ``config/``."""
    root = _INSTALLED if os.path.isdir(_INSTALLED) else os.path.join(os.path.dirname(_HERE), "config")
    return os.path.join(root, *parts)
