"""The tables of an explanation on a terminal: one for each section, all with equal columns.

Above the dotted line stand the memories that are in the packet, below it the omitted ones with their nearest
miss. Driven by explain_view.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from engram_cli import explain_parts as parts
from engram_cli.explain_page import FAMILY_STYLE, STATE_STYLE, Page, Piece, mark_word
from engram_cli.explain_parts import Row, Section

WITH_IDS = 104
WITH_FIGURES = 132
WITH_SIGNALS = 64

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LEFT_TO_RIGHT = "\u200e"


class Columns(NamedTuple):
    """The widths of the tables' columns, the same for every section."""

    rank: int
    id: int
    text: int
    score: int
    signals: int
    tokens: int
    reason: int
    miss: int
    figures: bool

    @property
    def before_score(self) -> int:
        """Return the cells from the left edge to the score."""
        return 2 + self.rank + 1 + (self.id + 2 if self.id else 0) + self.text


def show_tables(page: Page, listed: Sequence[Section]) -> None:
    """Print every section that has candidates."""
    listed = [section for section in listed if page.verbose or not section.set_aside]
    rows = [r for section in listed for r in section.rows]
    columns = _columns(page, rows)
    names = parts.signal_names(rows)
    top = max((value for r in rows for value in r.parts.values()), default=0.0) or 1.0
    for section in listed:
        if not section.rows:
            continue
        page.line()
        _table_head(page, section, columns, names)
        taken, left = section.of("kept", "degraded"), section.of("omitted")
        for r in taken:
            _table_row(page, r, columns, names, top)
        if not left:
            continue
        if taken:
            page.line("  ", (page.glyphs.dots * (columns.before_score - 2), "dim"))
        shown = left if page.verbose else left[: parts.SHOWN_OMITTED]
        for r in shown:
            _table_row(page, r, columns, names, top)
        if len(left) > len(shown):
            page.line(" " * (columns.rank + 3), (f"and {len(left) - len(shown):,} more (--all)", "dim"))


def _columns(page: Page, rows: Sequence[Row]) -> Columns:
    signals = parts.signal_names(rows)
    figures = page.width >= WITH_FIGURES
    rank = max(2, widest(str(r.rank or "") for r in rows))
    ids = min(22, widest(r.id for r in rows)) if page.width >= WITH_IDS else 0
    tokens = max(6, widest(parts.token_words(r, page.glyphs.none) for r in rows))
    reason = min(24, max(4, widest(parts.outcome_words(r) for r in rows)))
    miss = min(30, widest(miss_words(page, r) for r in rows))
    room = 0
    if page.width >= WITH_SIGNALS and signals:
        room = 6 * len(signals) if figures else max(len(signals), len("parts"))
    columns = Columns(rank, ids, 0, 5, room, tokens, reason, miss, figures)
    fixed = (
        columns.before_score
        + 2
        + 5
        + (room + 2 if room else 0)
        + 1
        + tokens
        + 2
        + reason
        + (miss + 1 if miss else 0)
    )
    return columns._replace(text=max(8, page.width - fixed))


def widest(words: Iterable[str]) -> int:
    """Return the cells of the widest of these words."""
    return max((cell_len(word) for word in words), default=0)


def _table_head(page: Page, section: Section, columns: Columns, names: Sequence[str]) -> None:
    pieces: list[Piece] = [(page.fit(section.name, columns.before_score), "bold"), (f"  {'score':>5}", "dim")]
    if columns.signals and columns.figures:
        pieces.append(("  " + "".join(f"{name[:5]:>6}" for name in names), "dim"))
    elif columns.signals:
        pieces.append(("  " + "parts".ljust(columns.signals), "dim"))
    page.line(*pieces, (f" {'tokens':>{columns.tokens}}", "dim"))


def _table_row(page: Page, r: Row, columns: Columns, names: Sequence[str], top: float) -> None:
    dim = "dim" if r.state == "omitted" else ""
    pieces: list[Piece] = [
        (page.sign(r.state) + " ", _outcome_style(r)),
        (f"{r.rank if r.rank is not None else '':>{columns.rank}} ", "dim"),
    ]
    if columns.id:
        pieces.append((page.fit(r.id, columns.id) + "  ", "dim"))
    pieces.append(_memory(page, r, columns.text))
    pieces.append((f"  {parts.score_words(r, page.glyphs.none):>5}", dim))
    if columns.signals:
        pieces += ["  ", *_signals(page, r, columns, names, top)]
    pieces += [
        (f" {parts.token_words(r, page.glyphs.none):>{columns.tokens}}  ", dim),
        (page.fit(parts.outcome_words(r), columns.reason), _outcome_style(r)),
    ]
    page.line(*pieces, (" " + page.fit(miss_words(page, r), columns.miss), "dim"))
    if page.verbose and not columns.id and r.id:
        page.line(" " * (columns.rank + 3), (page.fit(r.id, page.width - columns.rank - 3), "dim"))


def _memory(page: Page, r: Row, width: int) -> Text:
    text = Text(page.fit(r.text or r.id, width))
    if page.unicode and _RIGHT_TO_LEFT.search(text.plain):
        # Without the two marks a terminal that turns such text would turn the columns beside it as well.
        text = Text.assemble(_LEFT_TO_RIGHT, text, _LEFT_TO_RIGHT)
    for word in r.raw.get("matched") or []:
        mark_word(text, str(word))
    return text


def _signals(page: Page, r: Row, columns: Columns, names: Sequence[str], top: float) -> list[Piece]:
    if columns.figures:
        return [
            (
                f"{r.parts[name]:>6.2f}" if r.parts.get(name) else f"{page.glyphs.none:>6}",
                "" if r.parts.get(name) and r.state != "omitted" else "dim",
            )
            for name in names
        ]
    style = "blue" if r.state != "omitted" else "dim"
    bars = "".join(_spark(page, r.parts.get(name, 0.0) / top) for name in names)
    return [(bars.ljust(columns.signals), style)]


def _spark(page: Page, share: float) -> str:
    if share <= 0:
        return page.glyphs.none
    return page.glyphs.sparks[min(7, int(share * 8))]


def miss_words(page: Page, r: Row) -> str:
    """Return the nearest miss as this page has room for it."""
    return parts.short_miss(r.miss, unit=page.width >= WITH_FIGURES)


def _outcome_style(r: Row) -> str:
    return (
        FAMILY_STYLE[parts.reason_family(r.reason)] if r.state == "omitted" else STATE_STYLE.get(r.state, "")
    )
