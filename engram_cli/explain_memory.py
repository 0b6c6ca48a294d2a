"""One memory's full arithmetic on a terminal: signals, relevance, forms, and why it is in or out."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from engram_cli import explain_parts as parts
from engram_cli.explain_page import STATE_STYLE, Page, mark_word
from engram_cli.explain_parts import Json, Row


def show_memory(page: Page, explanation: Json, r: Row) -> None:
    """Print how the memory got its score, and what the budget made of it."""
    raw = r.raw
    page.line((parts.clean(raw.get("kind", "memory")), "bold"), "  ", r.id)
    place = [
        f"section {parts.clean(raw.get('section') or '-')}",
        f"layer {parts.clean(raw.get('layer') or '-')}",
    ]
    if r.rank is not None:
        place.append(f"rank {r.rank}")
    page.wrapped(
        " · ".join([*place, f"build {parts.clean(explanation.get('build_id') or '-')}"]), style="dim"
    )
    page.line()
    text = Text(r.text)
    for word in raw.get("matched") or []:
        mark_word(text, str(word))
    for part in text.wrap(page.console, page.width - 2):
        page.line("  ", part)
    page.line()
    style = STATE_STYLE.get(r.state, "")
    page.line((page.sign(r.state) + " ", style), (parts.verdict(r), style))
    if meaning := parts.reason_meaning(r.reason):
        page.wrapped(meaning, style="dim", indent=2)
    if r.miss:
        page.wrapped(r.miss, style="dim", indent=2)
    _score(page, r)
    _relevance(page, r)
    _forms(page, r)


def _score(page: Page, r: Row) -> None:
    signals = r.raw.get("signals") or {}
    if not signals:
        page.wrapped("not scored: what is going on now comes before what is recalled", style="dim", indent=2)
        return
    names = parts.signal_names([r])
    room = max(14, max(cell_len(name) for name in names) + 2)
    bar = max(8, min(40, page.width - room - 36))
    top = max(r.parts.values(), default=0.0) or 1.0
    page.heading("Score")
    page.line(" " * (room + 2), (f"{'value':>7}{'weight':>10}{'adds':>10}", "dim"))
    for name in names:
        entry = signals[name]
        value, weight, adds = float(entry.get("value") or 0), float(entry.get("weight") or 0), r.parts[name]
        full, _ = page.bar(adds / top, bar)
        page.line(
            "  ",
            page.fit(name, room),
            f"{value:>7.3f}",
            (f" {page.glyphs.times} ", "dim"),
            f"{weight:>7.3f}",
            (" = ", "dim"),
            f"{adds:>7.3f}  ",
            (full, "blue"),
        )
    total = sum(r.parts.values())
    page.line("  ", page.fit("sum", room), " " * 20, (f"{total:>7.3f}", "bold"))
    if r.score is not None and abs(total - r.score) > 0.0005:
        page.line("  ", page.fit("score", room), " " * 20, (f"{r.score:>7.3f}", "bold"))


def _relevance(page: Page, r: Row) -> None:
    listed = {parts.clean(name): float(value) for name, value in (r.raw.get("relevance") or {}).items()}
    matched = [parts.clean(word) for word in r.raw.get("matched") or []]
    if not listed and not matched:
        return
    page.heading("Relevance")
    room = max(14, max((cell_len(name) for name in listed), default=0) + 2)
    top = max((abs(value) for value in listed.values()), default=0.0) or 1.0
    bar = max(8, min(40, page.width - room - 14))
    for name, value in sorted(listed.items(), key=lambda item: (-item[1], item[0])):
        full, _ = page.bar(abs(value) / top, bar)
        page.line("  ", page.fit(name, room), f"{value:>8.3f}  ", (full, "blue" if value >= 0 else "red"))
    if listed:
        page.line(
            "  ", page.fit("sum", room), (f"{sum(listed.values()):>8.3f}", "bold"), (parts.scaled(r), "dim")
        )
    if matched:
        page.wrapped("matched: " + ", ".join(matched), indent=2)


def _forms(page: Page, r: Row) -> None:
    tokens = r.raw.get("tokens") or {}
    if not tokens:
        return
    page.heading("Forms")
    room = max(14, max(cell_len(parts.clean(name)) for name in tokens) + 2)
    for name, count in tokens.items():
        took = parts.taken_form(r) == name
        page.line(
            "  ",
            page.fit(parts.clean(name), room),
            f"{count:>8,} tokens",
            ("  emitted" if took else "", "green"),
        )
