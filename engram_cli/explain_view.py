"""The explanation of a packet on a terminal, with Rich: what was asked, what went in, what did not and why.

Driven by ``engram explain``; ``plain`` is the same for pipes. Colours are the terminal's own, so that dark
and light themes hold; every meaning that has a colour has a sign or a word as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console

from engram_cli import explain_parts as parts
from engram_cli.explain_memory import show_memory
from engram_cli.explain_page import FAMILY_STYLE, STATE_STYLE, Page, Piece
from engram_cli.explain_parts import Json, Section
from engram_cli.explain_plain import plain
from engram_cli.explain_tables import WITH_FIGURES, WITH_IDS, WITH_SIGNALS, miss_words, show_tables, widest

__all__ = ["plain", "show"]


def show(explanation: Json, *, console: Console, memory_id: str | None = None, verbose: bool = False) -> None:
    """Print the explanation, or one memory's arithmetic; ``verbose`` lists every omitted memory."""
    page = Page(console, verbose=verbose)
    if memory_id is not None:
        for found in parts.find(explanation, memory_id):
            show_memory(page, explanation, found)
        return
    listed = parts.sections(explanation)
    _asked(page, explanation, listed)
    if not any(section.rows for section in listed):
        _nothing(page, explanation)
    _budget(page, explanation, listed)
    show_tables(page, listed)
    _reasons(page, listed)
    _whole(page, explanation, listed)


def _asked(page: Page, explanation: Json, listed: Sequence[Section]) -> None:
    build, when = (
        parts.clean(explanation.get("build_id") or "not stored"),
        parts.clean(explanation.get("generated_at") or ""),
    )
    left = f"engram explain  {build}"
    gap = page.width - cell_len(left) - cell_len(when)
    page.line(
        ("engram explain", "bold"),
        (f"  {page.fit(build, min(cell_len(build), page.width - 16))}", "dim"),
        (" " * gap + when if gap > 1 else "", "dim"),
    )
    page.line()
    query = parts.clean(explanation.get("query") or "")
    if query:
        page.wrapped(query, style="bold")
    else:
        page.wrapped("No question: the newest and the most important memories.", style="italic")
    words = [
        parts.clean(explanation.get("purpose") or ""),
        parts.clean(explanation.get("task_type") or ""),
        f"policy {parts.policy_words(explanation)}",
        parts.clean(explanation.get("tokenizer") or ""),
    ]
    page.wrapped(" · ".join(word for word in words if word and word != "generic"), style="dim")
    page.wrapped(parts.scope_words(explanation), style="dim")
    page.line()
    _filling(page, explanation)
    _outcomes(page, listed)


def _filling(page: Page, explanation: Json) -> None:
    budget = explanation.get("budget") or {}
    most, used = int(budget.get("max_tokens") or 0), int(budget.get("used_tokens") or 0)
    if not budget:
        return
    if most <= 0:
        page.line((f"{used:,} tokens", "bold"), ", no limit")
        return
    figures = f"  {used:,} of {most:,} tokens  {used / most:.0%}"
    full, free = page.bar(used / most, max(8, page.width - cell_len(figures)))
    page.line((full, "green"), (free, "dim"), (figures, "bold"))


def _outcomes(page: Page, listed: Sequence[Section]) -> None:
    rows = [r for section in listed for r in section.rows]
    if not rows:
        return
    pieces: list[Piece] = []
    for state, style in STATE_STYLE.items():
        count = sum(r.state == state for r in rows)
        pieces += [(f"{page.sign(state)} ", style if count else "dim"), f"{count:,} {state}", "   "]
    page.line(*pieces, (f"of {len(rows):,} candidates", "dim"))


def _nothing(page: Page, explanation: Json) -> None:
    page.line()
    stored = sum(int(c.get("total") or 0) for c in (explanation.get("counts") or {}).values())
    if stored:
        page.wrapped("None of the stored memories could be used here; the filters below say why.")
    else:
        page.wrapped("Nothing is remembered in this scope yet. Begin with:")
        page.line("  ", ('engram append "what happened"', "bold"))


def _budget(page: Page, explanation: Json, listed: Sequence[Section]) -> None:
    """Show the sections' bars, all to one scale: used up to the share, used beyond it, and free."""
    used_by = [s for s in listed if (s.used or s.rows) and not s.set_aside]
    if not used_by:
        return
    name = widest(s.name for s in used_by) + 2
    room = max(5, widest(f"{n or 0:,}" for s in used_by for n in (s.used, s.cap, s.limit))) + 2
    heads = ("cap", "limit") if page.width >= WITH_SIGNALS else ()
    width = max(6, min(60, page.width - name - room * (1 + len(heads)) - 7))
    beyond = "beyond its share" if width >= 41 else "beyond"
    legend = f"{page.glyphs.full} used  {page.glyphs.over} {beyond}  {page.glyphs.free} free"
    page.line()
    page.line(
        (page.fit("Budget", name), "bold"),
        (page.fit(legend if len(legend) <= width else "", width), "dim"),
        (f"{'share':>7}{'used':>{room}}" + "".join(f"{head:>{room}}" for head in heads), "dim"),
    )
    scale = max(max(s.used, s.cap or 0) for s in used_by) or 1
    for s in used_by:
        bounds = [page.glyphs.none if n is None else f"{n:,}" for n in (s.cap, s.limit)][: len(heads)]
        page.line(
            page.fit(s.name, name),
            *_section_bar(page, s, scale, width),
            (f"{s.share:>7.0%}", "dim"),
            f"{s.used:>{room},}",
            ("".join(f"{bound:>{room}}" for bound in bounds), "dim"),
        )
    if skeleton := int((explanation.get("budget") or {}).get("skeleton_tokens") or 0):
        page.line((page.fit("layout", name + width) + " " * 7 + f"{skeleton:>{room},}", "dim"))
    if empty := [s.name for s in listed if not s.used and not s.rows]:
        page.wrapped("empty: " + ", ".join(empty), style="dim")
    if aside := [f"{s.name} {len(s.rows):,}" for s in listed if s.set_aside]:
        more = "" if page.verbose else " (--all)"
        page.wrapped("not for this purpose: " + ", ".join(aside) + more, style="dim")


def _section_bar(page: Page, section: Section, scale: int, width: int) -> list[Piece]:
    def cells(tokens: int) -> int:
        return min(width, max(1, round(tokens / scale * width))) if tokens else 0

    used, cap = cells(section.used), cells(section.cap if section.cap is not None else section.used)
    within = min(used, cap)
    return [
        (page.glyphs.full * within, "green"),
        (page.glyphs.over * (used - within), "yellow"),
        (page.glyphs.free * max(0, cap - used), "dim"),
        " " * (width - max(used, cap)),
    ]


def _reasons(page: Page, listed: Sequence[Section]) -> None:
    counts = parts.reason_counts(listed)
    if not counts:
        return
    page.heading("Why not")
    name = widest(code for code, _ in counts)
    for code, count in counts:
        meaning = page.fit(parts.reason_meaning(code), page.width - name - 10)
        page.line(
            "  ",
            (page.fit(code, name), FAMILY_STYLE[parts.reason_family(code)]),
            f"{count:>6,}  ",
            (meaning, "dim"),
        )
    misses = {miss_words(page, r)[:1] for s in listed for r in s.of("omitted") if r.miss}
    if "+" in misses and page.width < WITH_FIGURES:
        page.wrapped(
            "+38 would fit with 38 more tokens; 11/10 ranks 11th where 10 are taken", style="dim", indent=2
        )


def _whole(page: Page, explanation: Json, listed: Sequence[Section]) -> None:
    conflicts = parts.conflict_lines(explanation)
    if conflicts:
        page.heading("Conflicts")
        room = min(32, widest(key for key, _ in conflicts))
        for key, ids in conflicts:
            page.line("  ", (page.fit(key, room), "yellow"), "  ", page.fit(ids, page.width - room - 4))
    _pool(page, explanation)
    rows = [r for section in listed for r in section.rows]
    page.line()
    if rows:
        page.wrapped("rank: the order of filling, by the score and by how few tokens it costs", style="dim")
    if rows and (names := parts.signal_names(rows)):
        page.wrapped("parts of the score, in order: " + ", ".join(names), style="dim")
    if meaning := parts.meaning_words(explanation):
        page.wrapped(f"meaning by the embedding model: {meaning}", style="dim")
    if timings := parts.timing_words(explanation):
        page.wrapped(f"took {timings}", style="dim")
    if rows:
        ids = "" if page.verbose or page.width >= WITH_IDS else " (--all shows the ids)"
        page.wrapped(f"one memory's arithmetic: engram explain --memory ID{ids}", style="dim")


def _pool(page: Page, explanation: Json) -> None:
    pools = parts.pools(explanation)
    if not pools:
        return
    name = max(widest(pool.kind for pool in pools) + 2, len("Memories"))
    page.line()
    page.line(
        (page.fit("Memories", name), "bold"),
        (f"{'stored':>9}{'candidates':>12}{'not ranked':>12}  filtered out", "dim"),
    )
    for pool in pools:
        figures = f"{pool.stored:>9,}{pool.candidates:>12,}" + (
            f"{pool.not_ranked:,}" if pool.not_ranked else page.glyphs.none
        ).rjust(12)
        page.line(
            page.fit("  " + pool.kind, name),
            figures,
            "  ",
            (page.fit(pool.filtered, max(0, page.width - name - 35)), "dim"),
        )
