"""Change one value in a TOML file and keep the rest of it, comments included. Driven by ``config set``.

The line is replaced or added in the text; the result is read back and must differ in that value only. Where the text
is written in a way this cannot follow (a value over several lines, an inline table), the whole file is written anew:
values stay, comments do not.
"""

from __future__ import annotations

import copy
import os
import re
import tempfile
import tomllib
from typing import Any

import tomli_w

Json = dict[str, Any]


def replace_value(path: str, keys: tuple[str, ...], value: Any, *, private: bool) -> None:
    """Set the value under the keys in a file, which is made when it is not there."""
    real = os.path.realpath(path)  # a link stays a link
    try:
        with open(real, encoding="utf-8", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    _write(real, replaced(text, keys, value), private=private)


def replaced(text: str, keys: tuple[str, ...], value: Any) -> str:
    """Return the text with one value changed."""
    wanted = _with(tomllib.loads(text), keys, value)
    edited = _edited(text, keys[:-1], keys[-1], value)
    try:
        if tomllib.loads(edited) == wanted:
            return edited
    except tomllib.TOMLDecodeError:
        pass
    return tomli_w.dumps(wanted)


def _with(parsed: Json, keys: tuple[str, ...], value: Any) -> Json:
    wanted = copy.deepcopy(parsed)
    inner = wanted
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    return wanted


def _edited(text: str, section: tuple[str, ...], name: str, value: Any) -> str:
    line = tomli_w.dumps({name: value}).strip()
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines()
    header = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(map(re.escape, section)) + r"\s*\]\s*(#.*)?")
    start = next((at for at, one in enumerate(lines) if header.fullmatch(one)), None)
    if start is None:
        gap = [""] if lines and lines[-1].strip() else []
        return end.join([*lines, *gap, f"[{'.'.join(section)}]", line]) + end
    stop = next((at for at in range(start + 1, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    mark = re.compile(r"\s*(?:" + re.escape(name) + "|\"" + re.escape(name) + "\")\\s*=")
    at = next((at for at in range(start + 1, stop) if mark.match(lines[at])), None)
    if at is not None:
        lines[at] = line + _comment(lines[at])
    else:
        while stop > start + 1 and not lines[stop - 1].strip():
            stop -= 1
        lines.insert(stop, line)
    return end.join(lines) + end


def _comment(line: str) -> str:
    """Return the comment at the end of a line, with the blanks before it."""
    for found in re.finditer(r"\s+#", line):
        try:
            if tomllib.loads(line[:found.start()]) == tomllib.loads(line):
                return line[found.start():]
        except tomllib.TOMLDecodeError:
            continue
    return ""


def _write(path: str, text: str, *, private: bool) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o600 if private else 0o644
    fd, temporary = tempfile.mkstemp(prefix=".engram-", dir=folder)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
