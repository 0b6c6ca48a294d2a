"""The values memories are made of: ids, times, JSON text. Driven by the models, the event check and the store.

Times are milliseconds since 1970-01-01 UTC inside and RFC 3339 text in UTC outside.
"""

from __future__ import annotations

import json
import math
from _json import encode_basestring, make_encoder
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn

from engram_core.errors import BadInput

ID_MAX = 110
"""Characters of the longest id or key: six of them fit an index row of every database, of which the shortest has 2,704
bytes."""

INT_MAX = (1 << 53) - 1
"""The largest whole number of a field: what every database and every JSON reader keeps exactly."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_TIME_MIN, _TIME_MAX = -62135596800000, 253402300799999


def _foreign(value: object) -> NoReturn:
    raise TypeError(f"a {type(value).__name__} is no JSON")


# JSONEncoder.encode makes one of these for each call. It has no table of what is being written, which threads could not
# share: a circle ends as what is too deep does.
_encode = make_encoder(None, _foreign, encode_basestring, None, ":", ",", False, False, False)
_encode_sorted = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode


def show(value: object) -> str:
    """Return the value as it stands in an error message, shortened to 60 characters."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value[:61] if type(value) is str else value)
    return text if len(text) <= 60 else text[:57] + "..."


def dump_json(value: Any, field: str = "value") -> str:
    """Write the value as compact JSON; raise BadInput for what JSON or UTF-8 cannot hold."""
    try:
        text = encode_basestring(value) if type(value) is str else "".join(_encode(value, 0))
        if not text.isascii():
            text.encode("utf-8")
    except RecursionError:
        raise BadInput(f"{field} is nested too deeply; allowed are 64 levels", hint="send a flatter value") from None
    except (TypeError, ValueError):
        raise _not_json(value, field) from None
    return text


def _not_json(value: Any, field: str) -> BadInput:
    """Say where in the value that is which JSON or UTF-8 cannot hold."""
    found: list[tuple[str, Any, int]] = [(field, value, 0)]
    while found:
        where, one, depth = found.pop()
        if isinstance(one, dict) and depth < 64:
            found += [(f"{where}.{show_key(key)}", key, 64) for key in one]
            found += [(f"{where}.{show_key(key)}", inner, depth + 1) for key, inner in one.items()]
        elif isinstance(one, list | tuple) and depth < 64:
            found += [(f"{where}[{at}]", inner, depth + 1) for at, inner in enumerate(one)]
        elif type(one) is str and any("\ud800" <= letter <= "\udfff" for letter in one):
            return BadInput(f"{where} holds a lone surrogate, which is no text", hint="send well-formed Unicode")
        elif isinstance(one, float) and not -math.inf < one < math.inf:
            return BadInput(f"{where} is {one}; allowed are finite numbers", hint="leave it out or send null")
        elif not isinstance(one, str | int | float | dict | list | tuple | None):
            return BadInput(f"{where} is {show(one)}; allowed are texts, numbers, true, false, null, lists and objects")
    return BadInput(f"{field} cannot be written as JSON", hint="send texts, finite numbers, lists and objects")


def show_key(key: object) -> str:
    """Return a key as it stands in a path."""
    return key if type(key) is str and key.isidentifier() else show(key)


def same_json(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same, whatever the order of their keys; 1 and 1.0 and true are not."""
    return one is other or _encode_sorted(one) == _encode_sorted(other)


def check_id(field: str, value: object) -> str:
    """Return the id; raise BadInput when it is no text, empty, too long or holds control characters."""
    if type(value) is not str:
        raise BadInput(f"{field} is {show(value)}; allowed is text of 1 to {ID_MAX} characters")
    if not value or len(value) > ID_MAX:
        what = f"{len(value)} characters long" if value else "empty"
        raise BadInput(f"{field} is {what}; allowed is text of 1 to {ID_MAX} characters")
    if not value.isprintable():
        check_text(field, value)
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            raise BadInput(f"{field} is {show(value)}; control characters are not allowed in an id")
    return value


def check_text(field: str, value: object) -> str:
    """Return the text; raise BadInput when it is no well-formed text."""
    if type(value) is not str:
        raise BadInput(f"{field} is {show(value)}; allowed is text")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput(f"{field} holds a lone surrogate, which is no text",
                           hint="send well-formed Unicode") from None
    return value


def check_names(field: str, value: object) -> list[str]:
    """Return a list of short texts such as tags; raise BadInput when it is none."""
    if type(value) is not list:
        raise BadInput(f"{field} is {show(value)}; allowed is a list of texts")
    return [check_text(f"{field}[{at}]", item) for at, item in enumerate(value)]


def parse_time(field: str, value: object) -> int:
    """Return milliseconds for an RFC 3339 text with an offset; raise BadInput for naive or unreadable times."""
    if type(value) is not str:
        raise BadInput(f"{field} is {show(value)}; allowed is a time like 2026-01-31T09:30:00Z")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise BadInput(f"{field} is {show(value)}; allowed is a time like 2026-01-31T09:30:00Z") from None
    if moment.tzinfo is None:
        raise BadInput(f"{field} is {show(value)}, which has no time zone",
                       hint=f"write {value if len(value) > 10 else value + 'T00:00:00'}Z or give an offset like +02:00")
    ms = (moment - _EPOCH) // _MS
    if not _TIME_MIN <= ms <= _TIME_MAX:
        raise BadInput(f"{field} is {show(value)}; allowed are the years 1 to 9999 in UTC")
    return ms


def check_ms(field: str, value: object) -> int:
    """Return the milliseconds; raise BadInput when they are no whole number in the years 1 to 9999."""
    if type(value) is not int or not _TIME_MIN <= value <= _TIME_MAX:
        raise BadInput(f"{field} is {show(value)}; allowed are whole milliseconds since 1970, years 1 to 9999")
    return value


@lru_cache(maxsize=256)
def format_time(ms: int) -> str:
    """Write milliseconds as RFC 3339 in UTC, with a fraction only when there is one."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z" if rest else _second(seconds) + "Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


def check_count(field: str, value: object, *, least: int = 0) -> int:
    """Return the whole number; raise BadInput when it is none or out of range."""
    if type(value) is not int or not least <= value <= INT_MAX:
        raise BadInput(f"{field} is {show(value)}; allowed is a whole number from {least} to {INT_MAX}")
    return value


def day_of(ms: int) -> int:
    """Return the day as ``datetime.date.toordinal`` counts it, in UTC."""
    return ms // 86_400_000 + 719_163


def derived_id(prefix: str, text: str) -> str:
    """Make the id that a key always gets: the prefix and 16 hexadecimal digits of its BLAKE2 hash."""
    from _blake2 import blake2b  # hashlib would cost the first append 6 ms of import

    return prefix + blake2b(text.encode("utf-8"), digest_size=8).hexdigest()
