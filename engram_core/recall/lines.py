"""What candidates say: their lines as stored, the shorter forms of each, and long quotes cut to what matters.

The one place of a build that reads lines from the store. Driven by budget, compose and account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from engram_core.kernel import shown
from engram_core.recall.ahead import of_sources
from engram_core.recall.candidates import REASON
from engram_core.recall.excerpts import measured, quote_sentences
from engram_core.recall.gather import Gathered
from engram_core.recall.index import KINDS
from engram_core.recall.items import short_forms
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.store.reads import Reads, Request
    from engram_core.tokens import Tokenizer

LINE_COLUMN = {"event": "line", "fact": "body", "episode": "body", "procedure": "body", "insight": "body"}
CUT_TOKENS = 100
"""A quote longer than this has a shorter form: the sentences that matter."""
CUT_CHARS = 200_000
"""A longer text has no shorter form: finding its sentences would hold up everyone else."""
MOST_CITED = 1000
"""No more cited events are looked up for one packet."""
_CUT_FORMS = ("excerpt", "sentences", "reference")


def read_lines(numbers: list[int], reads: Reads, found: Gathered) -> None:
    """Fetch the lines of ranked candidates; one that was forgotten meanwhile is dropped."""
    if found.units:
        numbers = [one for number in numbers if number not in found.forms for one in found.units.get(number, (number,))]
    missing = shown.lines(found.pool, numbers, [index.lines.held for _, index in found.layers], found.lines)
    if missing:
        _read_missing(missing, reads, found)
    for number in numbers if found.units else ():
        if number in found.units and number not in found.forms:
            said = [found.lines[one] for one in found.units[number] if one in found.lines]
            found.forms[number] = [("full", ",\n".join(said))]


def wants_lines(numbers: list[int], reads: Reads, found: Gathered) -> list[Request]:
    """Return what ``read_lines`` will ask for."""
    if found.units:
        numbers = [one for number in numbers if number not in found.forms for one in found.units.get(number, (number,))]
    missing = shown.lines(found.pool, numbers, [index.lines.held for _, index in found.layers], found.lines)
    return _wants(_groups(missing, found), reads, found) if missing else []


Groups = dict[tuple[int, int], list[tuple[int, int, int]]]


def _groups(numbers: list[int], found: Gathered) -> Groups:
    groups: Groups = {}
    for number in numbers:
        kind, _, layer, doc, seq, _ = found.pool.brief(number)
        groups.setdefault((layer, kind), []).append((number, doc, seq))
    return groups


def _wants(groups: Groups, reads: Reads, found: Gathered) -> list[Request]:
    return [request for (layer, kind), members in groups.items() for request in reads.of_memories(
        KINDS[kind], found.layers[layer][1].owner, ("seq", LINE_COLUMN[KINDS[kind]]), [seq for *_, seq in members])]


class Known(NamedTuple):
    """What was read for a packet beforehand: lines of candidates by number, and lines that cite events by id."""

    lines: Mapping[int, str]
    cited: dict[str, str]


def read_all(several: list[Gathered], reads: Reads) -> Known:
    """Fetch at once the lines of all that was ranked for several questions about the same layers, and what it cites.

    The first question's are returned. Nothing else needs to be read for them, so the one state of the store ends.
    """
    union: dict[tuple[int, int], dict[int, int]] = {}
    wanted = []
    for found in several:
        numbers = [number for number in range(found.pool.n) if number not in found.forms]
        missing = shown.lines(found.pool, numbers, [index.lines.held for _, index in found.layers], found.lines)
        groups = _groups(missing, found)
        wanted.append((found, groups))
        for place, members in groups.items():
            union.setdefault(place, {}).update((doc, seq) for _, doc, seq in members)
    found, index = several[0], several[0].layers[0][1]
    ids = [] if found.question.still else list(dict.fromkeys(
        id_ for layer, doc in shown.docs(found.pool, list(range(found.pool.n)))
        for id_ in found.layers[layer][1].cites.get(doc, ())))[:MOST_CITED]
    parts = {place: [(0, doc, seq) for doc, seq in docs.items()] for place, docs in union.items()}
    reads.ahead(_wants(parts, reads, found) + of_sources(index, found.question.scope, ids, reads), last=True)
    cited = {**dict.fromkeys(ids, ""), **index.sources(found.question.scope, ids, reads)}
    lines = {place: _lines(place, members, reads, found) for place, members in parts.items()}
    for one, groups in wanted:
        for place, members in groups.items():
            _tell(place, members, lines[place], one)
    return Known(found.lines, cited)


def _read_missing(numbers: list[int], reads: Reads, found: Gathered) -> None:
    groups = _groups(numbers, found)
    if reads.far:
        reads.ahead([one for one in _wants(groups, reads, found) if not reads.has(one)])
    for place, members in groups.items():
        _tell(place, members, _lines(place, members, reads, found), found)


def _lines(place: tuple[int, int], members: list[tuple[int, int, int]], reads: Reads, found: Gathered,
           ) -> dict[int, str]:
    layer, kind = place
    name = KINDS[kind]
    return dict(reads.memories(name, found.layers[layer][1].owner, ("seq", LINE_COLUMN[name]),
                               [seq for *_, seq in members]))


def _tell(place: tuple[int, int], members: list[tuple[int, int, int]], lines: dict[int, str], found: Gathered) -> None:
    """Give candidates their lines; those that have none any more are dropped."""
    held = found.layers[place[0]][1].lines
    for number, doc, seq in members:
        line = lines.get(seq)
        if line is None:
            found.pool.drop(number, REASON["forgotten"])
        else:
            held.put(doc, line)
            found.lines[number] = line


def forms_of(found: Gathered, number: int) -> list[tuple[str, str]]:
    """Return (name, line) of all forms of a candidate whose line was read, longest first."""
    forms = found.forms.get(number)
    if forms is None:
        line, kind = found.lines[number], KINDS[found.pool.brief(number)[0]]
        shorter = [] if kind == "event" else short_forms(kind, json.loads(line))
        forms = found.forms[number] = [("full", line), *shorter]
    return forms


def cut_quotes(found: Gathered, numbers: list[int], tokenizer: Tokenizer, reads: Reads) -> list[int]:
    """Add the sentences that matter, and a bare reference, to the forms of long quotes; return those that have some."""
    read_lines(numbers, reads, found)
    cut = []
    for number in numbers:
        if number not in found.lines:
            continue
        unit = found.units.get(number, [number])
        forms = [_cut_quote(found, one, found.lines[one], tokenizer) if one in found.lines else None for one in unit]
        longest = max(map(len, filter(None, forms)), default=0)
        if not longest:
            continue
        cut.append(number)
        for name in _CUT_FORMS[len(_CUT_FORMS) - longest:]:
            at = _CUT_FORMS.index(name) - len(_CUT_FORMS)  # from the end: not every quote has the first
            said = [found.lines[one] if form is None else form[max(at, -len(form))]
                    for one, form in zip(unit, forms, strict=True) if one in found.lines]
            forms_of(found, number).append((name, ",\n".join(said)))
    return cut


def _cut_quote(found: Gathered, number: int, line: str, tokenizer: Tokenizer) -> list[str] | None:
    """Return a quote's shorter forms, None when it has none: half of a very long one, what matters, a reference."""
    if len(line) > CUT_CHARS:
        return None
    _, _, layer, doc, *_ = found.pool.brief(number)
    quote, index = json.loads(line), found.layers[layer][1]
    text = quote["quote"]
    parts = measured(text, tokenizer.count)
    one_piece, size = len(parts.parts) == 1, parts.size
    if one_piece or size <= CUT_TOKENS:
        if one_piece or tokenizer.name == index.tokenizer_name:
            index.table.keep_whole(doc, short=not one_piece)
        return None
    matched = found.scores[layer].matched(doc) if found.scores else []
    cut = quote_sentences(text, matched, CUT_TOKENS, tokenizer.count)
    if not cut or cut == text:
        return None
    texts = [cut, ""]
    if size // 2 >= 2 * CUT_TOKENS:
        texts.insert(0, quote_sentences(text, matched, size // 2, tokenizer.count, least=size // 2 * 3 // 4))
    return [dump_json({**quote, "quote": text}) for text in texts]
