"""Words that stand near each other in meaning, for questions whose own words hardly any memory holds.

Read by the question at its first rare word. The list is vocab/related_english.txt, made by benchmarks/make_related.py:
a stem per line, then the stems related to it, each with how near it is in hundredths.
"""

from __future__ import annotations

import os

_FILE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "vocab", "related_english.txt")
_lines: dict[str, str] = {}


def related(stem: str) -> list[tuple[str, float]]:
    """Return the stems related to one, the nearest first, each with its share of an occurrence of the stem itself."""
    if not _lines:
        with open(_FILE, encoding="ascii") as file:
            for line in file:
                name, _, rest = line.partition(" ")
                _lines[name] = rest
    words = _lines.get(stem, "").split()
    return [(words[i], int(words[i + 1]) / 100) for i in range(0, len(words), 2)]
