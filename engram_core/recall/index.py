"""The recall index of one layer owner: texts, selection facts and ids of its memories, kept fresh by revision.

Built from the store at first use, brought up to date before every read, dropped when memory is short. Driven by gather.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from engram_core.events import turn_of
from engram_core.kernel.index import TextIndex
from engram_core.kernel.table import ALWAYS, NEVER, Table
from engram_core.recall import timex
from engram_core.recall.calls import ToolCalls
from engram_core.recall.embedding import MOST_CHARS, digest_of
from engram_core.recall.forms import fold
from engram_core.recall.held import Lines
from engram_core.recall.items import citation_line, short_forms
from engram_core.values import day_of

if TYPE_CHECKING:
    from engram_core.scope import Scope
    from engram_core.store.reads import News, Reads
    from engram_core.store.transaction import Owner
    from engram_core.tokens import Tokenizer

KINDS = ("event", "fact", "episode", "procedure", "insight")
STATUSES: dict[str, tuple[str, ...]] = {
    "event": ("", "not_a_turn"), "fact": ("", "superseded"), "episode": ("",), "procedure": ("",),
    "insight": ("", "rejected", "expired"),
}
"""Why a memory of a kind is never a candidate, by its status in the table."""
COLUMNS: dict[str, tuple[str, ...]] = {
    "event": ("seq", "tokens", "pinned", "recall_count", "line", "session_id", "run_id", "event_id", "ts", "body"),
    "fact": ("seq", "tokens", "pinned", "recall_count", "body", "fact_id", "version", "fact_key", "status",
             "valid_from", "valid_to", "updated_at"),
    "episode": ("seq", "tokens", "pinned", "recall_count", "body", "episode_id", "starts", "ends"),
    "procedure": ("seq", "tokens", "pinned", "recall_count", "body", "procedure_id", "task_type", "priority",
                  "updated_at"),
    "insight": ("seq", "tokens", "pinned", "recall_count", "body", "id", "session_id", "run_id", "validation_state",
                "expires", "ended", "created_at"),
}
WANTED = tuple(COLUMNS.items())
_LINE = COLUMNS["event"].index("line")
CITED_COLUMNS = ("seq", "line", "body", "ts")
_BODIES = 128
_SEVERAL = -1
MOST_COUNTED = 10_000
"""So many counts of tokens at most wait to be stored; the rest is counted again when the index opens again."""
_LEVELS = {"raw": 0.5, "phase_summary": 0.6, "milestone": 0.8, "theme": 0.7}
_TYPES = ("hypothesis", "strategy", "pattern")
"""The types of insights in the order of their arrays in a packet."""
_STATES = {"validated": 1.0, "testing": 0.75, "unvalidated": 0.5, "rejected": 0.0}


def text_of(value: Any) -> str:
    """Return the words of any JSON value, keys included, for the text index."""
    if type(value) is str:
        return value
    if type(value) is dict:
        return ", ".join(f"{key}: {text_of(one)}" for key, one in value.items())
    if type(value) is list:
        return ", ".join(text_of(one) for one in value)
    return "" if value is None else json.dumps(value)


def fold_number(text: str) -> int:
    """Return the number that stands for a text without differences of case and white space, 0 for an empty one."""
    folded = fold(text)
    return int.from_bytes(blake2b(folded.encode("utf-8", "replace"), digest_size=8).digest(), "big") if folded else 0


def state_places(scope: Scope) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    """Return how the states of a scope are known in ``bodies``."""
    return ("working_state", scope.session_id, scope.run_id), ("short_term", scope.session_id, "")


class OwnerIndex:
    """Everything recall needs of one owner's memories but their text; ``revision`` is the newest change it has seen.

    ``counted`` are (kind, seq, tokens) of lines that had to be counted because their rows did not have it, and
    ``unembedded`` (kind, seq, text) by document of texts that have no vector of ``model``, "" for none wanted.
    """

    def __init__(self, owner: Owner, tokenizer: Tokenizer, language: str, model: str = "") -> None:
        self.owner = owner
        self.model = model
        self.unembedded: dict[int, tuple[str, int, str]] = {}
        self._stored: dict[int, tuple[str, str]] = {}
        self.revision = -1
        self.table = Table()
        self.ids: list[str] = []
        self.sessions: dict[str, list[int]] = {}
        self.runs: dict[tuple[str, str], list[int]] = {}
        self.versions: dict[int, int] = {}
        self.keys: dict[int, str] = {}
        self.disputed: set[int] = set()
        self.applies: dict[int, frozenset[str]] = {}
        self.calls = ToolCalls()
        self.current: dict[str, set[int]] = {}
        self.cited: dict[str, int] = {}
        self.cites: dict[int, tuple[str, ...]] = {}
        self.counted: list[tuple[str, int, str]] = []
        self.lines = Lines()
        self.citations = Lines()
        self._stamp = -1
        self.states: dict[tuple[str, ...], tuple[int, dict[str, Any], list[Any]]] = {}
        self.bodies: dict[tuple[str, str, str], str | None] = {}
        self._tokenizer = tokenizer
        self._language = language
        self._text: TextIndex | None = None
        self._docs: list[dict[int, int]] = [{} for _ in KINDS]
        self._names: dict[str, int] = {}

    def sources(self, scope: Scope, ids: list[str], reads: Reads) -> dict[str, str]:
        """Resolve event ids that memories cite to the lines that cite them; unknown ones are left out."""
        found, missing, several = self.cited_lines(ids)
        if missing:
            for seq, line, body, ts in reads.memories("event", self.owner, CITED_COLUMNS, list(missing)):
                id_, doc = missing[seq]
                found[id_] = citation_line(id_, line or body, ts)
                self.citations.put(doc, found[id_])
        for id_, (text, ts) in (reads.source_events(scope, several) if several else {}).items():
            found[id_] = citation_line(id_, text, ts)
        return found

    def cited_lines(self, ids: list[str]) -> tuple[dict[str, str], dict[int, tuple[str, int]], list[str]]:
        """Return the known lines by id, (id, document) of those to be read by seq, and the ids of several runs."""
        found: dict[str, str] = {}
        missing: dict[int, tuple[str, int]] = {}
        several = []
        for id_ in ids:
            doc = self.cited.get(id_)
            if doc == _SEVERAL:  # one id in several runs: the store decides
                several.append(id_)
            elif doc is not None and self.table.alive(doc):
                line = self.citations.held.get(doc)
                if line is None:
                    missing[self.table.about(doc)[1]] = (id_, doc)
                else:
                    found[id_] = line
        return found, missing, several

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer whose counts the table holds."""
        return str(self._tokenizer.name)

    @property
    def text(self) -> TextIndex:
        """The text index, in step with the table."""
        if self._text is None:
            self._text = TextIndex(self._language)
        return self._text

    @property
    def nbytes(self) -> int:
        """Bytes held, ids estimated."""
        text = 0 if self._text is None else int(self._text.nbytes)
        return int(self.table.nbytes) + text + 160 * len(self.ids)

    @property
    def dead(self) -> int:
        """Count the documents that were taken out; their room is used again only by a new index."""
        return len(self.ids) - int(self.table.live)

    def doc(self, kind: str, seq: int) -> int | None:
        """Return the document number of a memory."""
        return self._docs[KINDS.index(kind)].get(seq)

    def name(self, word: str) -> int:
        """Return the number of a cue, session or task type, -1 for one never seen."""
        return self._names.get(word, -1)

    def is_fresh(self, stamp: int) -> bool:
        """Tell whether nothing can have changed since the last refresh."""
        return stamp == self._stamp and stamp >= 0

    def refresh(self, reads: Reads, stamp: int) -> None:
        """Bring the index to the store's revision; ``stamp`` is that of the reads now."""
        if self.is_fresh(stamp):
            return
        self._stamp = stamp
        if self.revision < 0:
            current = reads.revision(self.owner)
            if self.model:
                self._stored = {seq: (digest, vector) for seq, digest, vector in reads.vectors(self.owner, self.model)}
            for kind in KINDS:
                self._load(kind, reads.memories(kind, self.owner, COLUMNS[kind]))
            self.revision = current
            self._stored = {}
        elif news := reads.news(self.owner, self.revision, WANTED):
            self._take_over(news)

    def _take_over(self, news: list[News]) -> None:
        touched: dict[str, dict[int, tuple[Any, ...] | None]] = {}
        for one in news:
            if one.kind in KINDS:
                touched.setdefault(one.kind, {})[one.seq] = None if one.op == "forget" else one.row
            else:
                place = (one.kind, one.session_id, one.run_id)
                if place in self.bodies:
                    self.bodies[place] = None if one.row is None else one.row[0]
        self.counted = [one for one in self.counted if one[1] not in touched.get(one[0], ())]
        for kind, rows in touched.items():
            for seq, row in rows.items():
                if row is None:
                    self._remove(KINDS.index(kind), seq)
            self._load(kind, [row for row in rows.values() if row is not None])
            if kind == "event":  # what was just said is what is shown next
                for row in rows.values():
                    doc = None if row is None or not row[_LINE] else self._docs[0].get(row[0])
                    if doc is not None and row is not None:
                        self.lines.put(doc, row[_LINE])
        self.revision = news[-1].revision

    def state(self, scope: Scope, reads: Reads) -> tuple[str | None, str | None]:
        """Return the working state of the run and the short-term state of the session as JSON."""
        places = state_places(scope)
        if not all(place in self.bodies for place in places):
            if len(self.bodies) >= _BODIES:
                self.bodies.clear()
            self.bodies[places[0]], self.bodies[places[1]] = reads.working_state(scope), reads.short_term(scope)
        return self.bodies[places[0]], self.bodies[places[1]]

    def turns(self, session: str, most: int) -> list[list[int]]:
        """Return the newest turns of a session, newest first, a call with its results as one."""
        units: list[list[int]] = []
        shown: set[int] = set()
        for doc in reversed(self.sessions.get(session, ())):
            if doc not in shown and self.table.alive(doc) and self.table.about(doc)[3] == 0:
                units.append([one for one in self.calls.unit(doc) if self.table.alive(one)])
                shown.update(units[-1])
                if len(shown) >= most:
                    break
        return units

    def turn_lines(self, docs: list[int], reads: Reads) -> dict[int, str]:
        """Return the lines of turns, reading those that are not remembered."""
        found = {doc: line for doc in docs if (line := self.lines.held.get(doc)) is not None}
        seqs = self.unread(docs)
        for seq, line in reads.memories("event", self.owner, ("seq", "line"), list(seqs)) if seqs else ():
            found[seqs[seq]] = line
            self.lines.put(seqs[seq], line)
        return found

    def unread(self, docs: list[int]) -> dict[int, int]:
        """Return the documents whose lines are not remembered, by their seqs."""
        return {self.table.about(doc)[1]: doc for doc in docs if self.lines.held.get(doc) is None}

    def _load(self, kind: str, rows: list[tuple[Any, ...]]) -> None:
        add = {"event": self._event, "fact": self._fact, "episode": self._episode, "procedure": self._procedure,
               "insight": self._insight}[kind]
        number = KINDS.index(kind)
        for row in sorted(rows):
            known = self._docs[number].get(row[0])
            if known is not None:
                if kind == "event":  # only its pin can change, and its place in the dialogue must not
                    self.table.set_pinned(known, bool(row[2]))
                    continue
                self._remove(number, row[0])
            add(row)

    def _remove(self, kind: int, seq: int) -> None:
        doc = self._docs[kind].pop(seq, None)
        if doc is None:
            return
        self.table.remove(doc)
        self.text.remove(doc)
        self.unembedded.pop(doc, None)
        self.ids[doc] = ""
        self.disputed.discard(doc)
        key = self.keys.pop(doc, None)
        if key is not None:
            self.current.get(key, set()).discard(doc)
        self.calls.remove(doc)
        self.versions.pop(doc, None)
        self.applies.pop(doc, None)
        self.cites.pop(doc, None)
        self.lines.drop(doc)
        self.citations.drop(doc)

    def _intern(self, words: list[str]) -> list[int]:
        return [self._names.setdefault(word, len(self._names)) for word in words]

    def _put(self, kind: str, row: tuple[Any, ...], id_: str, text: str, *, value: Any, ts: int, status: int = 0,
             importance: float = 0.5, words: list[str] | None = None, group: str = "", speaker: str = "",
             start: int | None = None, end: int | None = None, folds: bool = True, variant: int = 0) -> int:
        seq, tokens, pinned, uses, line = row[:5]
        costs = [self._count_full(kind, seq, tokens, line)] if line else []
        if kind != "event":
            costs += [self.count(short) for _, short in short_forms(kind, value)]
        folded = fold_number(text) if status == 0 and kind != "fact" and folds else 0
        intervals = timex.resolve(text[:2000], day_of(ts)) if status == 0 else []
        doc = self.table.add(
            KINDS.index(kind), seq=seq, ts=ts, status=status, importance=importance, pinned=bool(pinned),
            start=NEVER if start is None else start, end=ALWAYS if end is None else end, costs=costs,
            group=self._intern([group])[0] if group else -1, cues=self._intern(words or []),
            fold=folded, variant=variant, uses=uses)
        self.text.add(text if status == 0 else "", session=group if kind == "event" else "", speaker=speaker,
                      dialogue=kind == "event" and status == 0, ts_ms=ts,
                      intervals=intervals)
        self.ids.append(id_)
        if self.model and status == 0 and text.strip():
            self._embed(doc, kind, seq, text[:MOST_CHARS])
        if value is not None and value.get("sources"):
            self.cites[doc] = tuple(value["sources"])
        self._docs[KINDS.index(kind)][seq] = doc
        return int(doc)

    def _embed(self, doc: int, kind: str, seq: int, text: str) -> None:
        """Give the document the stored vector of its text, or note that it has none."""
        digest, vector = self._stored.get(seq, ("", ""))
        try:
            if vector and digest == digest_of(text):
                self.text.vectors.put(doc, a2b_base64(vector))
                return
        except ValueError:  # of another width than the others, or cut: it is made again
            pass
        self.unembedded[doc] = (kind, seq, text)

    def embedded(self, doc: int, vector: bytes) -> None:
        """Give a document a vector, unless it is gone or changed since, or those stored are of another length."""
        if self.table.alive(doc) and self.text.vectors.width in (0, len(vector)):
            self.text.vectors.put(doc, vector)

    def count(self, line: str) -> tuple[int, int]:
        """Count a line as an inner and as a last item of its section."""
        return self._tokenizer.count(line + ",\n"), self._tokenizer.count(line + "\n")

    def _count_full(self, kind: str, seq: int, tokens: str | None, line: str) -> tuple[int, int]:
        if tokens is not None:
            name, inner, last = tokens.split(":")
            if name == self._tokenizer.name:
                return int(inner), int(last)
        counted = self.count(line)
        if len(self.counted) < MOST_COUNTED:
            self.counted.append((kind, seq, f"{self._tokenizer.name}:{counted[0]}:{counted[1]}"))
        return counted

    def _event(self, row: tuple[Any, ...]) -> None:
        line, session, run, id_, ts, body = row[4:]
        turn = json.loads(line) if line else {}
        words: list[str] = []
        said = None
        if line and '"tool_call' in body:
            event = json.loads(body)
            said = turn_of(event["kind"], event["payload"])
        if '"tags":' in body or '"entities":' in body:
            event = json.loads(body)
            words = [*event.get("tags", ()), *event.get("entities", ())]
        doc = self._put("event", row, id_, turn.get("quote", ""), value=None, ts=ts, status=0 if line else 1,
                        words=words, group=session, speaker=turn.get("name") or turn.get("role", ""),
                        folds=said is None or not (said.calls or said.answers))
        if said is not None:
            self.calls.add(doc, row[0], (session, run), said.calls, said.answers)
        self.sessions.setdefault(session, []).append(doc)
        self.cited[id_] = _SEVERAL if id_ in self.cited else doc

    def _fact(self, row: tuple[Any, ...]) -> None:
        body, id_, version, key, status, start, end, ts = row[4:]
        fact = json.loads(body)
        text = f"{key}: {text_of(fact['value'])}" + (f". {fact['notes']}" if fact.get("notes") else "")
        doc = self._put("fact", row, id_, text, value=fact, ts=ts, status=int(status == "deprecated"),
                        importance=fact["confidence"], start=start, end=end,
                        variant=int(key.startswith("preference")))
        self.keys[doc] = key
        self.versions[doc] = version
        if status == "disputed":
            self.disputed.add(doc)
        if status != "deprecated":
            self.current.setdefault(key, set()).add(doc)

    def _episode(self, row: tuple[Any, ...]) -> None:
        body, id_, start, end = row[4:]
        episode = json.loads(body)
        words = [*episode.get("tags", ()), *episode.get("entities", ())]
        text = " ".join([episode["summary"], *episode.get("highlights", ()), *words])
        self._put("episode", row, id_, text, value=episode, ts=end if end is not None else start, words=words,
                  importance=_LEVELS[episode.get("compression_level", "raw")], start=start, end=end)

    def _procedure(self, row: tuple[Any, ...]) -> None:
        body, id_, task, priority, ts = row[4:]
        procedure = json.loads(body)
        tags = [str(tag) for tag in _tags(procedure.get("applicability", {}))]
        doc = self._put("procedure", row, id_, f"{task}: {text_of(procedure['content'])}", value=procedure, ts=ts,
                        group=task, importance=min(1.0, max(0.0, 0.5 + priority / 20)), words=tags)
        if tags:
            self.applies[doc] = frozenset(tags)

    def _insight(self, row: tuple[Any, ...]) -> None:
        body, id_, session, run, state, expires, ended, ts = row[4:]
        insight = json.loads(body)
        status = 2 if ended else 1 if state == "rejected" else 0
        doc = self._put("insight", row, id_, " ".join([insight["statement"], *insight.get("tests_suggested", ())]),
                        value=insight, ts=ts, status=status, importance=insight["confidence"] * _STATES[state],
                        end=None if expires is None else expires - 1, group=f"{state}",
                        variant=_TYPES.index(insight["type"]))
        self.runs.setdefault((session, run), []).append(doc)


def _tags(applicability: dict[str, Any]) -> list[Any]:
    tags = applicability.get("tags", [])
    return tags if type(tags) is list else [tags]


__all__ = ["COLUMNS", "KINDS", "STATUSES", "OwnerIndex", "text_of"]
