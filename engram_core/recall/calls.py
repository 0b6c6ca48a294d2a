"""Which turns belong together because one calls a tool and the other is its result. Driven by index and gather.

A result goes with the latest call of its id before it in the same run that has none yet, one that came before its call
with the first such call. This depends on nothing but the turns there are, so it is the same however the index was made.
"""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple

Key = tuple[str, str, str]


class Mention(NamedTuple):
    """A turn that makes or answers the call of one id."""

    seq: int
    doc: int
    calls: bool


class ToolCalls:
    """The tool calls and results among an owner's turns, by document number."""

    def __init__(self) -> None:
        self._mentions: dict[Key, list[Mention]] = {}
        self._keys: dict[int, list[tuple[Key, Mention]]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, doc: int) -> bool:
        return doc in self._keys

    def add(self, doc: int, seq: int, run: tuple[str, str], calls: tuple[str, ...], answers: str) -> None:
        """Note the calls that a turn makes and the one it answers."""
        given = [(call, True) for call in dict.fromkeys(calls) if call]
        for call, makes in [*given, *([(answers, False)] if answers else [])]:
            mention = Mention(seq, doc, makes)
            insort(self._mentions.setdefault((*run, call), []), mention)
            self._keys.setdefault(doc, []).append(((*run, call), mention))

    def remove(self, doc: int) -> None:
        """Forget a turn."""
        for key, mention in self._keys.pop(doc, ()):
            self._mentions[key].remove(mention)
            if not self._mentions[key]:
                del self._mentions[key]

    def unit(self, doc: int) -> list[int]:
        """Return the turns that go with this one, itself among them, in the order they were appended."""
        found: dict[int, int] = {}
        waiting = [doc]
        while waiting:
            one = waiting.pop()
            for key, mention in self._keys.get(one, ()):
                found[one] = mention.seq
                other = _partners(self._mentions[key]).get(mention)
                if other is not None and other.doc not in found:
                    found[other.doc] = other.seq
                    waiting.append(other.doc)
        return sorted(found, key=lambda number: (found[number], number)) or [doc]


def _partners(mentions: list[Mention]) -> dict[Mention, Mention]:
    """Return, for each call with a result, the result, and the other way round."""
    pairs: dict[Mention, Mention] = {}
    calls: list[Mention] = []
    results: list[Mention] = []
    for one in mentions:
        other = None
        if one.calls:
            other = results.pop(0) if results else None
        elif calls:
            other = calls.pop()
        if other is None:
            (calls if one.calls else results).append(one)
        else:
            pairs[one], pairs[other] = other, one
    return pairs
