"""The values memories are made of: ids, times, JSON text. Driven by the models, the event check and the store.

Times are milliseconds since 1970-01-01 UTC inside and RFC 3339 text in UTC outside.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from engram_core.errors import BadInput

ID_MAX = 120
"""Characters of the longest id or key: six of them fit MySQL's 3,072-byte index limit in utf8mb4."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_TIME_MIN, _TIME_MAX = -62135596800000, 253402300799999
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def show(value: object) -> str:
    """Return the value as it stands in an error message, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def dump_json(value: Any, field: str = "value") -> str:
    """Write the value as compact JSON; raise BadInput for what JSON or UTF-8 cannot hold."""
    try:
        text = _encode(value)
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(f"{field} holds a lone surrogate, which is no text",
                       hint="send well-formed Unicode") from None
    except ValueError:
        raise BadInput(f"{field} holds NaN, an infinity or a circle, which JSON cannot say",
                       hint="send finite numbers and plain values") from None
    except TypeError as error:
        raise BadInput(f"{field} is no JSON value: {error}", hint="send strings, numbers, lists and objects") from None
    except RecursionError:
        raise BadInput(f"{field} is nested too deeply", hint="at most 64 levels are allowed") from None
    return text


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
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(f"{field} holds a lone surrogate, which is no text", hint="send well-formed Unicode") from None
    return value


def check_names(field: str, value: object) -> list[str]:
    """Return a list of short texts such as tags; raise BadInput when it is none."""
    if not isinstance(value, list | tuple):
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
                       hint=f"write {value if 'T' in value else value + 'T00:00:00'}Z or give an offset like +02:00")
    try:
        return (moment - _EPOCH) // _MS
    except OverflowError:
        raise BadInput(f"{field} is {show(value)}; allowed are the years 1 to 9999") from None


def check_ms(field: str, value: object) -> int:
    """Return the milliseconds; raise BadInput when they are no whole number in the years 1 to 9999."""
    if type(value) is not int or not _TIME_MIN <= value <= _TIME_MAX:
        raise BadInput(f"{field} is {show(value)}; allowed are whole milliseconds since 1970, years 1 to 9999")
    return value


def format_time(ms: int) -> str:
    """Write milliseconds as RFC 3339 in UTC, with a fraction only when there is one."""
    seconds, rest = divmod(ms, 1000)
    moment = _EPOCH + timedelta(seconds=seconds)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{text}.{rest:03d}Z" if rest else text + "Z"


def day_of(ms: int) -> int:
    """Return the day as ``datetime.date.toordinal`` counts it, in UTC."""
    return ms // 86_400_000 + 719_163


def new_id(prefix: str, now_ms: int) -> str:
    """Make an id that sorts by time: the prefix, 10 characters of milliseconds, 12 random ones (60 bits)."""
    number = (now_ms & ((1 << 50) - 1)) << 60 | int.from_bytes(os.urandom(8), "big") >> 4
    return prefix + "".join(_ID_ALPHABET[number >> shift & 31] for shift in range(105, -5, -5))


def derived_id(prefix: str, text: str) -> str:
    """Make the id that a key always gets: the prefix and 16 hexadecimal digits of its BLAKE2 hash."""
    return prefix + hashlib.blake2b(text.encode("utf-8"), digest_size=8).hexdigest()
