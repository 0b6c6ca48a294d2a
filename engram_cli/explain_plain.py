"""The explanation of a packet as plain text, for pipes: a line per memory, full ids, no colours, no drawing.

Driven by ``engram explain`` when its output is no terminal. Every line says by itself what it is about: so
``grep``, ``sort`` and ``diff`` work on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from engram_cli import explain_parts as parts
from engram_cli.explain_parts import Json, Row, Section

SIGNS = {"kept": "+", "degraded": "~", "omitted": "-"}
NARROWEST_TEXT = 40


def plain(explanation: Json, *, width: int = 100, memory_id: str | None = None, verbose: bool = True) -> str:
    """Return the explanation as text; complete unless ``verbose`` is off."""
    if memory_id is not None:
        return "\n".join("".join(_memory(explanation, r)) for r in parts.find(explanation, memory_id))
    listed = parts.sections(explanation)
    lines = [*_asked(explanation, listed), *_budget(explanation, listed)]
    for section in listed:
        lines += _table(section, width=width, verbose=verbose)
    lines += _whole(explanation, listed)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _asked(explanation: Json, listed: Sequence[Section]) -> list[str]:
    budget = explanation.get("budget") or {}
    most, used = int(budget.get("max_tokens") or 0), int(budget.get("used_tokens") or 0)
    limit = f"of {most} tokens, {used / most:.0%}" if most > 0 else "tokens, no limit"
    rows = [r for section in listed for r in section.rows]
    states = ", ".join(f"{sum(r.state == state for r in rows)} {state}" for state in SIGNS)
    fields = {
        "build": parts.clean(explanation.get("build_id") or "-"),
        "generated": parts.clean(explanation.get("generated_at") or "-"),
        "purpose": parts.clean(explanation.get("purpose") or "-"),
        "task": parts.clean(explanation.get("task_type") or "-"),
        "query": parts.clean(explanation.get("query") or "-"),
        "policy": parts.policy_words(explanation),
        "tokenizer": parts.clean(explanation.get("tokenizer") or "-"),
        "scope": parts.scope_words(explanation) or "-",
        "used": f"{used} {limit}",
        "candidates": f"{len(rows)}, {states}",
    }
    if meaning := parts.meaning_words(explanation):
        fields["meaning"] = meaning
    lines = [f"{name + ':':<12}{value}" for name, value in fields.items()]
    if not rows and not any(pool.stored for pool in parts.pools(explanation)):
        lines += ["", 'nothing is remembered in this scope yet; begin with: engram append "what happened"']
    return lines


def _budget(explanation: Json, listed: Sequence[Section]) -> list[str]:
    used_by = [s for s in listed if s.used or s.rows]
    if not used_by:
        return []
    name = max(cell_len(s.name) for s in used_by) + 2
    head = "".join(f"{word:>10}" for word in ("share", "used", "cap", "limit", *SIGNS))
    lines = ["", parts.fit("budget", name) + head]
    for s in used_by:
        figures = [f"{s.share:.0%}", str(s.used), _number(s.cap), _number(s.limit)]
        figures += [str(len(s.of(state))) for state in SIGNS]
        lines.append(parts.fit(s.name, name) + "".join(f"{figure:>10}" for figure in figures))
    skeleton = int((explanation.get("budget") or {}).get("skeleton_tokens") or 0)
    return [*lines, parts.fit("layout", name) + f"{'':>10}{skeleton:>10}"] if skeleton else lines


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _table(section: Section, *, width: int, verbose: bool) -> list[str]:
    if not section.rows:
        return []
    names = parts.signal_names(section.rows)
    ids, tokens, outcome = (max(cell_len(word(r)) for r in section.rows) for word in (_id, _tokens, _outcome))
    rooms = max(2, ids), max(6, tokens), max(7, outcome)
    figures = "".join(f"{name[:5]:>6}" for name in names)
    head = f"  rank {parts.fit('id', rooms[0])} score{figures} {'tokens':>{rooms[1]}} "
    head += parts.fit("outcome", rooms[2]) + " memory"
    lines = ["", section.name, head]
    left = section.of("omitted")
    rows = section.rows if verbose else section.of("kept", "degraded") + left[: parts.SHOWN_OMITTED]
    for r in rows:
        line = _row(r, names, rooms)
        room = max(NARROWEST_TEXT, width - cell_len(line))
        lines.append(line + parts.fit(r.text, min(cell_len(r.text), room)))
    if len(rows) < len(section.rows):
        lines.append(f"  and {len(section.rows) - len(rows)} more (--all)")
    return lines


def _row(r: Row, names: Sequence[str], rooms: tuple[int, int, int]) -> str:
    score = parts.score_words(r, "-") or "-"
    figures = "".join(f"{r.parts.get(name, 0.0):>6.2f}" for name in names)
    start = f"{SIGNS.get(r.state, '?')} {'-' if r.rank is None else r.rank:>4} {parts.fit(_id(r), rooms[0])}"
    return f"{start} {score:>5}{figures} {_tokens(r):>{rooms[1]}} {parts.fit(_outcome(r), rooms[2])} "


def _id(r: Row) -> str:
    return r.id or "-"


def _tokens(r: Row) -> str:
    return parts.token_words(r, "-").replace(",", "") or "-"


def _outcome(r: Row) -> str:
    if r.state == "omitted":
        return f"omitted {r.reason} {parts.short_miss(r.miss)}".rstrip()
    if parts.rides_along(r):
        return f"kept with {r.lead}"
    return f"{r.state}:{r.form}" if r.form else r.state


def _whole(explanation: Json, listed: Sequence[Section]) -> list[str]:
    lines: list[str] = []
    for title, pairs in (
        (
            "reasons",
            [(code, f"{count}  {parts.reason_meaning(code)}") for code, count in parts.reason_counts(listed)],
        ),
        ("conflicts", parts.conflict_lines(explanation)),
        ("memories", [(pool.kind, _pool(pool)) for pool in parts.pools(explanation)]),
    ):
        if pairs:
            name = max(cell_len(key) for key, _ in pairs) + 2
            lines += ["", title, *(f"  {parts.fit(key, name)}{words}" for key, words in pairs)]
    if timings := parts.timing_words(explanation):
        lines += ["", f"took {timings}"]
    return lines


def _pool(pool: parts.Pool) -> str:
    head = f"{pool.stored} stored, {pool.candidates} candidates, {pool.not_ranked} not ranked"
    return f"{head}, filtered out: {pool.filtered}" if pool.filtered else head


def _memory(explanation: Json, r: Row) -> list[str]:
    raw = r.raw
    lines = [
        f"memory:     {r.id}",
        f"kind:       {parts.clean(raw.get('kind') or '-')}",
        f"section:    {parts.clean(raw.get('section') or '-')}",
        f"layer:      {parts.clean(raw.get('layer') or '-')}",
        f"build:      {parts.clean(explanation.get('build_id') or '-')}",
        f"rank:       {'-' if r.rank is None else r.rank}",
        f"outcome:    {parts.verdict(r)}",
    ]
    if meaning := parts.reason_meaning(r.reason):
        lines.append(f"why:        {meaning}")
    if r.miss:
        lines.append(f"miss:       {r.miss}")
    lines.append(f"text:       {r.text}")
    signals = raw.get("signals") or {}
    for name in parts.signal_names([r]):
        value, weight = float(signals[name].get("value") or 0), float(signals[name].get("weight") or 0)
        lines.append(f"signal:     {name:<14}{value:>8.3f} x {weight:.3f} = {r.parts[name]:.3f}")
    lines.append(f"sum:        {sum(r.parts.values()):.3f}")
    lines.append(f"score:      {'-' if r.score is None else f'{r.score:.3f}'}")
    listed = raw.get("relevance") or {}
    for name, value in sorted(listed.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"relevance:  {parts.clean(name):<14}{value:>8.3f}")
    if listed:
        lines.append(f"relevance:  {'sum':<14}{sum(listed.values()):>8.3f}{parts.scaled(r)}")
    lines.append("matched:    " + (", ".join(parts.clean(word) for word in raw.get("matched") or []) or "-"))
    for name, count in (raw.get("tokens") or {}).items():
        took = "  emitted" if parts.taken_form(r) == name else ""
        lines.append(f"form:       {parts.clean(name):<14}{count:>8}{took}")
    return [line.rstrip() + "\n" for line in lines]
