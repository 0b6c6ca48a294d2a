"""Split texts of any script into sentences, in linear time and without losing a character.

Driven by recall/forms.py, which keeps and drops whole sentences. Where it is not certain that a sentence
ends, it does not: too long a sentence costs tokens, half of one misleads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer: no spaces between words

_CLOSERS = "\"'”’»›)\\]}*_`」』）】》〉］"
# A run of stops is tried only from its start and never given back: a megabyte of dots must take linear time.
_BREAK = re.compile(
    f"(?<![.!?…])(?P<stop>[.!?…]++)[{_CLOSERS}]*+(?:\\s++|(?=[{CJK}]))"
    f"|[。！？｡．؟۔।॥።፧။។։]++[{_CLOSERS}]*+\\s*+"
    f"|(?P<line>\\n)\\s*+"
    f"|(?<=[{UNSPACED}])[ \\t\\u200b]++(?=[{UNSPACED}])"
)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_INK = re.compile(r"\S")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘«]{1,16}\Z")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]\Z")
_MARKER = re.compile(r"\s*(?:\d{1,3}|[^\W\d_])\Z")
_MARKER_CHARS = 6
_WRAPPED = 40  # a shorter line that ends without a stop is a line of its own, not wrapped prose

# An abbreviation joins what follows; one of the second kind only what starts in lower case or with a digit.
_TITLES = frozenset(
    ["mr", "mrs", "ms", "dr", "prof", "st", "mt", "hr", "fr", "sr", "sra", "dra", "mme", "vs", "cf", "bzw"]
)
_ENDINGS = frozenset(
    ["etc", "inc", "ltd", "co", "corp", "jr", "al", "dept", "est", "approx", "min", "max", "vol", "no", "nr",
     "fig", "p", "pp", "ed", "usw"]
)


_LONGEST = 700  # characters of the longest piece of text that is quoted whole
_PIECE = 240


def sentences(text: str) -> list[str]:
    """Split a text into sentences; joined they are the text, and a fenced block is one of them."""
    found: list[str] = []
    blank = ""
    for fenced, block in _blocks(text):
        for part in [block] if fenced else _prose(block):
            if part.strip():
                found.append(blank + part)
                blank = ""
            elif found:
                found[-1] += part
            else:
                blank += part
    return [*found, blank] if blank else found


def pieces(text: str) -> list[str]:
    """Split a text into sentences, and what is too long for one at lines, at white space, or where it must be.

    Joined they are the text.
    """
    found: list[str] = []
    for sentence in sentences(text):
        rest = sentence
        longest = _PIECE if _FENCE.match(sentence.lstrip("\n")) else _LONGEST  # code is read line by line
        while len(rest) > longest:
            line = rest.rfind("\n", 0, _PIECE)
            at = line if line > 0 else max(rest.rfind(" ", 0, _PIECE), rest.rfind("\t", 0, _PIECE))
            at = at + 1 if at > 0 else _PIECE
            found.append(rest[:at])
            rest = rest[at:]
        found.append(rest)
    return found


def _blocks(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the text in pieces, each with whether it is a fenced block; an open one lasts to the end."""
    held: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence and "`" not in line[mark.end() :]:
            if held:
                yield False, "".join(held)
            held, fence = [line], mark[1]
        elif mark and fence and mark[1].startswith(fence) and not line[mark.end() :].strip():
            yield True, "".join([*held, line])
            held, fence = [], ""
        else:
            held.append(line)
    if held:
        yield bool(fence), "".join(held)


def _prose(text: str) -> Iterator[str]:
    start, begin = 0, _begin(text, 0)
    for found in _BREAK.finditer(text):
        if found.end() == len(text):
            break
        if found.start() < begin or _runs_on(text, start, found):
            continue
        yield text[start : found.end()]
        start, begin = found.end(), _begin(text, found.end())
    if start < len(text):
        yield text[start:]


def _begin(text: str, start: int) -> int:
    """Return where the first character from there stands that is no white space."""
    found = _INK.search(text, start)
    return found.start() if found else len(text)


def _runs_on(text: str, start: int, found: re.Match[str]) -> bool:
    """Say whether the sentence goes on after this possible end."""
    if found["line"]:
        return _is_wrapped(text, start, found)
    if not found["stop"] or "\n" in found[0]:
        return False
    stop, quoted, following = found["stop"], found[0].rstrip(), text[found.end()]
    if len(quoted) > len(stop) and following.islower():
        return True  # "Why?" she asked
    if stop.strip(".…"):
        return False
    if stop != "." or quoted == found[0]:
        return following.islower() or quoted == found[0]  # a pause, or a dot inside a word
    return _abbreviates(text, start, found.start(), following)


def _is_wrapped(text: str, start: int, found: re.Match[str]) -> bool:
    """Say whether a line end is only where prose was wrapped."""
    if found[0].count("\n") > 1 or not text[found.end()].islower():
        return False
    begin = max(text.rfind("\n", start, found.start()) + 1, start)
    return found.start() - begin >= _WRAPPED and text[found.start() - 1] not in ":;"


def _abbreviates(text: str, start: int, dot: int, following: str) -> bool:
    """Say whether a dot belongs to a list's number, a title, an initial or an abbreviation."""
    if dot - start <= _MARKER_CHARS and _MARKER.match(text[start:dot]):
        return True
    last = _LAST_WORD.search(text, max(start, dot - 17), dot)
    if not last:
        return False
    word = last[0].lower()
    if word in _TITLES or (len(word) == 1 and last[0].isupper() and word != "i"):
        return True
    if word in _ENDINGS or _DOTTED.match(word):
        return following.islower() or following.isdigit()
    return False
