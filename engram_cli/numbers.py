"""Declare the options that take a number, with what is allowed. Driven by the modules in commands/.

What cannot be read as a number and what is out of range is told in one way: flag, value, what is allowed.
"""

from __future__ import annotations

import math
from typing import Any

import typer

from engram_core.errors import BadInput, UsageError

__all__ = ["COUNT_MAX", "TOKENS_MAX", "limit", "number"]

COUNT_MAX = (1 << 53) - 1
"""The largest whole number that every reader of JSON keeps exactly."""
TOKENS_MAX = 100_000_000


def number(flag: str, *names: str, low: float, high: float, help: str, metavar: str = "N", hint: str = "",
           whole: bool = True, above: bool = False, data: bool = False) -> Any:
    """Return an option that takes a number from ``low`` (or more than it, with ``above``) to ``high``.

    A value out of range is a mistake on the command line, or with ``data`` one in the memory that is to be kept.
    """
    what = f"more than {low:g} and at most {high:g}" if above else \
        f"a {'whole ' if whole else ''}number from {low:g} to {int(high)}"

    def read(given: Any) -> Any:
        value = _read(given, whole) if isinstance(given, str) else given
        if value is not None and (low < value if above else low <= value) and value <= high:
            return value
        shown = repr(given[:37] + "..." if len(given) > 40 else given) if value is None else given
        error = BadInput if data and value is not None else UsageError
        raise error(f"{flag} is {shown}, but must be {what}", hint=hint or "correct it, or leave it out")

    return typer.Option(flag, *names, metavar=metavar, help=help, parser=read)


def limit(help: str, *names: str, hint: str = "leave it out for all") -> Any:
    """Return the option --limit."""
    return number("--limit", *names, low=1, high=COUNT_MAX, help=help, hint=hint)


def _read(text: str, whole: bool) -> float | None:
    """Return the number a text stands for, None when it is none; NaN is a number that nothing allows."""
    text = text.strip()
    try:
        value = None if "_" in text else int(text) if whole else float(text)
    except ValueError:
        return math.nan if whole and text.lower().lstrip("+-") in ("nan", "inf") else None
    return value
