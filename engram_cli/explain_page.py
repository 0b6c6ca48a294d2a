"""A console as the explanation's views use it: its width, its signs, lines of styled pieces. Driven by them.

Rich's own tables are not used: the columns must be the same in every section, and know about wide characters.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from engram_cli.explain_parts import fit

Piece = str | tuple[str, str] | Text

WIDEST = 160
FIRST_UNSPACED = 0x2E80  # from here on, Chinese, Japanese and their neighbours
STATE_STYLE = {"kept": "green", "degraded": "yellow", "omitted": "red"}
FAMILY_STYLE = {"room": "red", "count": "magenta", "rule": "cyan"}


class Glyphs(NamedTuple):
    """The signs of the view; a terminal without Unicode gets the second set."""

    kept: str
    degraded: str
    omitted: str
    full: str
    over: str
    free: str
    dots: str
    mark: str
    none: str
    times: str
    sparks: str


UNICODE = Glyphs("●", "◐", "○", "━", "╍", "─", "┄", "…", "·", "×", "▁▂▃▄▅▆▇█")
ASCII = Glyphs("+", "~", "-", "#", "+", ".", "-", "...", ".", "x", "12345678")


class Page:
    """A console with a width, a set of signs and lines made of styled pieces."""

    def __init__(self, console: Console, *, verbose: bool) -> None:
        self.console = console
        self.verbose = verbose
        self.width = max(24, min(console.width, WIDEST))
        self.unicode = not console.options.ascii_only
        self.glyphs = UNICODE if self.unicode else ASCII

    def line(self, *pieces: Piece) -> None:
        """Print one line, never wrapped."""
        text = Text.assemble(*pieces)
        text.rstrip()
        self.console.print(self._spell(text), no_wrap=True, overflow="crop", highlight=False, markup=False)

    def wrapped(self, text: str, *, style: str = "", indent: int = 0) -> None:
        """Print a paragraph, nothing for no text."""
        for part in Text(text).wrap(self.console, max(16, self.width - indent)) if text else ():
            self.line(" " * indent, (part.plain.rstrip(), style))

    def heading(self, name: str, note: str = "") -> None:
        """Print a blank line and a section's name with what is to be said of it."""
        self.line()
        self.line((name, "bold"), (f"   {note}" if note else "", "dim"))

    def fit(self, text: str, width: int) -> str:
        """Return text in exactly this many cells."""
        return fit(text, width, mark=self.glyphs.mark)

    def sign(self, state: str) -> str:
        """Return the sign of an outcome, which tells it without colour."""
        return {"kept": self.glyphs.kept, "degraded": self.glyphs.degraded}.get(state, self.glyphs.omitted)

    def bar(self, share: float, width: int) -> tuple[str, str]:
        """Return the filled and the free part of a bar; something that is not nothing always shows."""
        cells = min(width, round(max(0.0, share) * width))
        cells = max(cells, 1) if share > 0 else cells
        return self.glyphs.full * cells, self.glyphs.free * (width - cells)

    def _spell(self, text: Text) -> Text:
        if self.unicode:
            return text
        ascii_only = Text(text.plain.replace("…", "...").encode("ascii", "replace").decode("ascii"))
        ascii_only.spans = text.spans
        return ascii_only


def mark_word(text: Text, word: str) -> None:
    """Underline a matched word where a word begins with it, anywhere in scripts without blanks."""
    if not word:
        return
    unspaced = any(ord(letter) >= FIRST_UNSPACED for letter in word)
    pattern = re.escape(word) if unspaced else rf"(?<!\w){re.escape(word)}\w*"
    for found in re.finditer(pattern, text.plain, re.IGNORECASE):
        text.stylize("underline", found.start(), found.end())
