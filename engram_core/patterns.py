r"""Tell whether a regular expression searches every text in time that grows with the text only. Driven by the settings.

`re` tries the ways to match one after the other and cannot be stopped, so a pattern such as ``(a+)+b`` would hold the
daemon for ever. Here the parsed pattern is read from its end to its beginning, and what one place of a text can cost at
most is added up. A repeat without an upper limit is fine where nothing after it can fail, or where it can begin and
end at one place of a text only, as ``\s*`` does between ``key`` and ``=``. Whatever this cannot see through counts as
slow: it may refuse a harmless pattern, which can be written otherwise, but lets no slow one pass.
"""

from __future__ import annotations

import re
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

__all__ = ["MOST_STEPS", "problem", "slowness"]

MOST_STEPS = 1000
"""What one place of a text may cost: a text of 1 MiB then takes seconds where it is made to be as slow as can be."""

_WORD, _SPACE, _REST = -1, -2, -3  # stand for letters and digits, for blanks, and for all else above Latin-1
_HIGH = frozenset((_WORD, _SPACE, _REST))
_ALL = _HIGH | frozenset(range(256))
_Chars = frozenset[int]
_Before = tuple[_Chars, ...]
_REPEATS = (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT)


class _Then(NamedTuple):
    """What follows in a pattern: its most steps, the characters it may begin with, whether it cannot fail."""

    steps: int
    first: _Chars
    sure: bool


class _Slow(Exception):
    """Raised with what makes a pattern slow."""


def problem(pattern: str) -> tuple[str, str] | None:
    """Return why a text is no pattern to redact by and what to do, None when it is one."""
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as exc:
        return f"is no regular expression: {exc}", "correct or remove it"
    if compiled.match(""):
        return "matches the empty text", "make it match at least one character"
    slow = slowness(pattern)
    if slow:
        return f"could search a text for ever: {slow}", "give each repeat an upper limit, as in [a-z]{1,64}"
    return None


def slowness(pattern: str) -> str:
    """Return what makes a pattern slow, "" when it is not; the pattern compiles."""
    tree = _parser.parse(pattern)
    items = list(tree)
    try:
        steps = _Reader(tree.state.flags).read(items, _Then(0, _ALL, True), ()).steps
    except (_Slow, RecursionError) as exc:
        return str(exc) or "it is nested too deeply"
    # Where it begins with a word, it can begin at every n-th place only.
    if steps > MOST_STEPS * _prefix(items):
        return f"one place of it may take {steps:,} tries"
    return ""


def _prefix(items: list[Any]) -> int:
    """Return how far apart two beginnings are at least: the length of a literal start without what repeats."""
    word: list[int] = []
    for op, value in items:
        if op is not c.LITERAL:
            break
        word.append(value)
    return next((size for size in range(1, len(word)) if word[size:] == word[:-size]), len(word)) or 1


class _Reader:
    """Read a pattern from its end to its beginning.

    What stands before an item is a list of sets: a character of each stands at most so far before as the pattern says,
    one of the last directly before. A repeat can begin at few places of a run of its characters where one of these sets
    holds none of them.
    """

    def __init__(self, flags: int) -> None:
        self.ascii, self.fold = bool(flags & re.ASCII), bool(flags & re.IGNORECASE)
        self.looked = 0  # so that the check itself ends soon

    def read(self, items: list[Any], then: _Then, before: _Before) -> _Then:
        """Return what the items and all after them cost."""
        stood = [before]
        for at in range(len(items) - 1):
            stood.append(self._passed(items[at], stood[-1], items[at + 1]))
        for (op, value), known in zip(reversed(items), reversed(stood), strict=False):
            then = self._item(op, value, then, known)
            self.looked += 1
            if then.steps > 1_000_000 or self.looked > 20 * MOST_STEPS:
                raise _Slow("it has more ways to match than can be tried")
        return then

    def _item(self, op: Any, value: Any, then: _Then, before: _Before) -> _Then:
        chars = self._chars(op, value)
        if chars is not None:
            return _Then(1 + then.steps, chars, False)
        if op in _REPEATS:
            least, most, body = value
            return self._repeat(least, most, list(body), then, before)
        if op is c.SUBPATTERN:
            fold, self.fold = self.fold, self.fold or bool(value[1] & re.IGNORECASE)
            found = self.read(list(value[3]), then, before)
            self.fold = fold
            return found
        if op is c.ATOMIC_GROUP:
            return self.read(list(value), then, before)
        if op is c.BRANCH:
            return _either([self.read(list(one), then, before) for one in value[1]])
        if op in (c.ASSERT, c.ASSERT_NOT):
            inside = self.read(list(value[1]), _Then(0, _ALL, False), before)
            return _Then(inside.steps + then.steps, then.first, False)
        if op is c.AT:
            return _Then(1 + then.steps, self._beyond(value, then.first, before), False)
        if op is c.GROUPREF:
            return _Then(16 + then.steps, _ALL, False)
        raise _Slow("it holds a condition, which is not looked through")

    def _repeat(self, least: int, most: int, body: list[Any], then: _Then, before: _Before) -> _Then:
        chars = self._chars(*body[0]) if len(body) == 1 else None
        if chars is None:
            return self._repeat_group(least, most, body, then, before)
        first = chars if least else chars | then.first
        sure = not least and then.sure
        ends_once = chars.isdisjoint(then.first)
        if most is c.MAXREPEAT:
            if not (then.sure or (ends_once and any(chars.isdisjoint(one) for one in before))):
                raise _Slow("it has a repeat without an upper limit before its end")
            return _Then(least + 2 + then.steps, first, sure)
        ends = most - least + 1
        steps = then.steps if then.sure or ends == 1 else ends + then.steps if ends_once else ends * (1 + then.steps)
        return _Then(most + steps, first, sure)

    def _repeat_group(self, least: int, most: int, body: list[Any], then: _Then, before: _Before) -> _Then:
        again = (_last(before) | _last(self._through(body, before)),)
        if most is c.MAXREPEAT:
            if not then.sure:
                raise _Slow("it repeats a group without an upper limit before its end")
            once = self.read(body, _Then(0, _ALL, True), again)
            if once.sure:
                raise _Slow("it repeats without an upper limit what may be empty")
            then, most = _Then(once.steps + then.steps, _ALL, True), least
        if most > MOST_STEPS:
            raise _Slow(f"it repeats a group {most:,} times")
        found = then
        for left in range(most, 0, -1):
            found = self.read(body, found, again if left > 1 else before)
            if left > least:  # the rest of the repeats may be left out
                found = _either([found, then])
        return found

    # ---- what stands before

    def _through(self, items: list[Any], before: _Before) -> _Before:
        for at, item in enumerate(items):
            before = self._passed(item, before, items[at + 1] if at + 1 < len(items) else None)
        return before

    def _passed(self, item: Any, before: _Before, following: Any) -> _Before:
        """Return what stands before the item that follows."""
        op, value = item
        chars = self._chars(op, value)
        if chars is not None:
            return (*before, chars)
        if op is c.AT:
            if value is c.AT_BOUNDARY and following is not None:
                word = self._category(c.CATEGORY_WORD)
                begins = self._chars(*self._first_of(following))
                if begins is not None and begins <= word:
                    return (*before[:-1], _last(before) - word)
            return before
        if op is c.ASSERT_NOT and value[0] < 0 and len(value[1]) == 1 and value[1][0][0] is c.IN:
            return (*before[:-1], _last(before) & self._beside(value[1][0][1]))
        if op is c.ASSERT and value[0] < 0:
            return (*before[:-1], _last(before) & _last(self._through(list(value[1]), ())))
        if op in (c.ASSERT, c.ASSERT_NOT):
            return before
        if op in _REPEATS:
            least, most, items = value
            last = _last(self._through(list(items), before))
            last = last if least else last | _last(before)
            return (last,) if most is c.MAXREPEAT else (*before, last)
        if op is c.SUBPATTERN:
            return self._through(list(value[3]), before)
        if op is c.BRANCH:
            return (frozenset().union(*(_last(self._through(list(one), before)) for one in value[1])),)
        return (_ALL,)

    def _first_of(self, item: Any) -> Any:
        """Return the item with which an item surely begins."""
        op, value = item
        if op in _REPEATS and value[0]:
            return self._first_of(value[2][0])
        if op is c.SUBPATTERN and len(value[3]):
            return self._first_of(value[3][0])
        return item

    def _beyond(self, place: Any, first: _Chars, before: _Before) -> _Chars:
        """Return with what a text may go on after a place such as the end of a word."""
        if place in (c.AT_END, c.AT_END_STRING):
            return frozenset((10,)) if place is c.AT_END else frozenset()
        if place is c.AT_BOUNDARY:
            word, last = self._category(c.CATEGORY_WORD), _last(before)
            if last <= word:
                return _ALL - word
            if last.isdisjoint(word):
                return word & first
        return first

    # ---- characters

    def _chars(self, op: Any, value: Any) -> _Chars | None:
        """Return what one character's place in a pattern may take at most, None for anything else."""
        if op is c.ANY:
            return _ALL
        if op is c.LITERAL:
            return self._literal(value)
        if op is c.NOT_LITERAL:
            return _ALL - {value} if value < 128 else _ALL
        if op is not c.IN:
            return None
        if value[0][0] is c.NEGATE:
            return self._beside(value[1:])
        return frozenset().union(*(self._member(*one) for one in value))

    def _beside(self, members: list[Any]) -> _Chars:
        """Return all but the members; certainly left out is ASCII as it is written, and what a category names."""
        fold, self.fold = self.fold, False
        out: _Chars = frozenset()
        for op, value in members:
            found = self._member(op, value)
            if op is not c.CATEGORY:
                found = frozenset(one for one in found if 0 <= one < 128)
            out |= found - {_WORD} if value in (c.CATEGORY_DIGIT, c.CATEGORY_NOT_DIGIT) else found
        self.fold = fold
        return _ALL - out

    def _member(self, op: Any, value: Any) -> _Chars:
        if op is c.LITERAL:
            return self._literal(value)
        if op is c.RANGE:
            low, high = value
            found = frozenset().union(*(self._literal(one) for one in range(low, min(high, 255) + 1)))
            return found | _HIGH if high > 255 else found
        return self._category(value)

    def _literal(self, code: int) -> _Chars:
        letter = chr(code)
        if code > 255:
            return _HIGH
        if not self.fold or not letter.isalpha():
            return frozenset((code,))
        return frozenset(ord(one) for one in (letter, letter.lower(), letter.upper()) if len(one) == 1
                         and ord(one) < 256) | {_WORD}

    def _category(self, name: Any) -> _Chars:
        if name in _NOT:
            found = _ALL - self._category(_NOT[name])
            return found | {_WORD} if name is c.CATEGORY_NOT_DIGIT else found
        test, high = _CATEGORIES[name]
        found = frozenset(code for code in range(128 if self.ascii else 256) if test(chr(code)))
        return found if self.ascii else found | {high}


_CATEGORIES: dict[Any, tuple[Any, int]] = {
    c.CATEGORY_WORD: (lambda one: one.isalnum() or one == "_", _WORD), c.CATEGORY_DIGIT: (str.isdecimal, _WORD),
    c.CATEGORY_SPACE: (str.isspace, _SPACE)}
_NOT = {c.CATEGORY_NOT_WORD: c.CATEGORY_WORD, c.CATEGORY_NOT_DIGIT: c.CATEGORY_DIGIT,
        c.CATEGORY_NOT_SPACE: c.CATEGORY_SPACE}


def _last(before: _Before) -> _Chars:
    return before[-1] if before else _ALL


def _either(ways: list[_Then]) -> _Then:
    first: _Chars = frozenset()
    apart = True
    for one in ways:
        apart = apart and first.isdisjoint(one.first)
        first |= one.first
    steps = [one.steps for one in ways]
    return _Then(len(ways) + (max(steps) if apart else sum(steps)), first, any(one.sure for one in ways))
