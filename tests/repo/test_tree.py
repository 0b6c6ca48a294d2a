"""Looks at every file of the repository: its size, and that it speaks of Engram and not of one machine."""

from __future__ import annotations

import os
import pwd
import re
import stat
import statistics
from pathlib import Path

from tests.repo.tree import ROOT, files, text

SOURCES = {".py", ".pyx", ".pxd", ".pyi", ".sh"}
LONGEST = 500

# Generated tables are data, not something to read.
GENERATED = {"engram_core/kernel/unicode_classes.h"}

# A home or a checkout of somebody; written so that this file does not match itself.
FOREIGN = re.compile(r"(?<![\w.])/(?:work/(?:main|shared)|ro{2}t/|opt/whe{2}ls|tmp/not[e]s)|\.py[e]nv/ver")

# Parts of the repository in which a person's home may be named, because a story or an example needs one.
STORIES = ("examples/", "tests/")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_source_file_is_too_long_to_read() -> None:
    sources = [path for path in files() if path.suffix in SOURCES and relative(path) not in GENERATED]
    lengths = {relative(path): len((text(path) or "").splitlines()) for path in sources}
    too_long = {name: lines for name, lines in lengths.items() if lines > LONGEST}
    assert not too_long, f"files over {LONGEST} lines, to be divided by topic: {too_long}"
    assert statistics.median(lengths.values()) <= 250


def test_nothing_names_a_path_of_one_machine() -> None:
    found = [
        f"{relative(path)}:{number}: {line.strip()[:120]}"
        for path in files()
        for number, line in enumerate((text(path) or "").splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert not found, "\n".join(found)


def test_nothing_names_this_checkout_or_this_home() -> None:
    places = [str(ROOT), pwd.getpwuid(os.geteuid()).pw_dir]
    places = [place for place in places if place.count("/") >= 2]
    found = [
        f"{relative(path)} names {place}"
        for path in files()
        if not relative(path).startswith(STORIES)
        for place in places
        if place in (text(path) or "")
    ]
    assert not found, "\n".join(found)


def test_source_ends_lines_as_unix_does() -> None:
    for path in files():
        if path.suffix in SOURCES:
            raw = path.read_bytes()
            assert b"\r\n" not in raw, f"{relative(path)} has line ends of another system"
            assert not raw or raw.endswith(b"\n"), f"{relative(path)} does not end its last line"


def test_no_file_is_huge() -> None:
    sizes = {relative(path): path.stat().st_size for path in files()}
    assert not {name: size for name, size in sizes.items() if size > 2 * 1024 * 1024}


def test_no_link_leads_outside() -> None:
    for path in files():
        inside = path.resolve().is_relative_to(ROOT)
        assert inside or not stat.S_ISLNK(path.lstat().st_mode), f"{relative(path)} leads outside"
