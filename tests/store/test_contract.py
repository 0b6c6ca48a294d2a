"""What every database must do alike: transactions, revisions, the audit trail, texts and their comparison."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_core.errors import Conflict, EngramError
from engram_core.scope import Scope
from engram_core.store.tables import BUILDS, FACTS
from engram_core.store.transaction import Transaction
from engram_core.values import ID_MAX
from tests.store.conftest import SCOPE, Opened, appending, setting

TEXTS = ["", " ", "\0", "a\0b", "'", '"', "\\", "%_", "--; DROP TABLE events", "\u2028\u2029\x85\r\n", "é", "e\u0301",
         "ß", "İ", "日本語", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u202eabc", "\ufeff",
         "\uffff", "x" * 1_000_000]
OTHERS = [Scope("t2", *SCOPE[1:]), Scope("t", "bob", "bot", "s1", "r1"), Scope("t", "ada", "cli", "s1", "r1")]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:10]))
def test_texts_come_back_as_they_were(opened: Opened, text: str) -> None:
    opened.event({"content": text}, "e")
    opened.fact("k", text, notes=text)
    assert opened.events()[0]["payload"] == {"content": text}
    body = opened.store.reads.memories("fact", SCOPE.owner, ("body",))[0][0]
    assert json.loads(body)["value"] == text


@pytest.mark.parametrize(("one", "other"), [("Bob", "bob"), ("é", "e\u0301"), ("ß", "ss"), ("a", "a "), ("İ", "i"),
                                            ("１", "1"), ("x" * 109 + "y", "x" * 109 + "z"),
                                            ("\U0001f600" * 110, "\U0001f600" * 109 + "\U0001f601"), ("0", "00"),
                                            ("1", "1.0")])
def test_ids_are_compared_letter_by_letter(opened: Opened, one: str, other: str) -> None:
    for id_ in (one, other):
        for at in range(5):
            scope = Scope(*(id_ if name == at else "x" for name in range(5)))
            assert [opened.event(id_, id_, scope)[1] for _ in range(2)] == [False, True]
            assert [event["payload"] for event in opened.events(scope)] == [id_]
    assert opened.fact(one, 1)["outcome"] == opened.fact(other, 2)["outcome"] == "created"


def test_the_longest_ids_fit_everywhere(opened: Opened) -> None:
    longest = "\U0001f600" * ID_MAX
    scope = Scope(*[longest] * 5)
    opened.event("x", longest, scope)
    opened.fact(longest, "x", scope, fact_id=longest)
    opened.run(lambda tx: tx.upsert(BUILDS, scope, {"build_id": longest, "packet": "{}", "explanation": "", "at": 1}))
    assert [event["event_id"] for event in opened.events(scope)] == [longest]
    with pytest.raises(EngramError, match=f"allowed is text of 1 to {ID_MAX} characters"):
        opened.event("x", longest + "x", scope)


def test_an_operation_that_fails_takes_nothing_with_it(opened: Opened) -> None:
    opened.event("first", "used")
    operations = [appending(1, "a"), appending("other", "used"), setting("k", 1), appending(2, "b")]
    outcomes = opened.store.group(operations, 5)
    assert [isinstance(one, Conflict) for one in outcomes] == [False, True, False, False]
    assert [event["payload"] for event in opened.events()] == ["first", 1, 2]
    assert opened.store.reads.revision(SCOPE.owner) == 4


def test_a_defect_undoes_the_whole_group(opened: Opened) -> None:
    def defect(tx: Transaction) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opened.store.group([appending(1, "a"), defect], 5)
    assert opened.events() == []
    opened.event(2, "b")
    assert opened.store.reads.revision(SCOPE.owner) == 1


def test_an_operation_can_be_undone_inside(opened: Opened) -> None:
    def some(tx: Transaction) -> None:
        appending(1, "kept")(tx)
        try:
            with tx.operation():
                appending(2, "undone")(tx)
                setting("k", 1)(tx)
                raise Conflict("no")
        except Conflict:
            pass
        appending(3, "after")(tx)

    opened.run(some)
    assert [event["payload"] for event in opened.events()] == [1, 3]
    assert opened.store.reads.revision(SCOPE.owner) == 2
    assert [one.revision for one in opened.store.reads.changes(SCOPE.owner, 0)] == [1, 2]


STEPS = st.lists(st.tuples(st.sampled_from(["event", "fact"]), st.sampled_from("abc"), st.sampled_from("xy"),
                           st.sampled_from([SCOPE, *OTHERS])), max_size=20)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(STEPS, st.integers(1, 6))
def test_changes_tell_all_that_happened_in_order(opened: Opened, steps: list[Any], size: int) -> None:
    owners = {scope.owner for *_, scope in steps}
    before = {owner: opened.store.reads.revision(owner) for owner in owners}
    known = {(kind, owner): dict(opened.store.reads.memories(kind, owner, ("seq", "body")))
             for kind in ("event", "fact") for owner in owners}
    operations = [appending(value, id_, scope) if kind == "event" else setting(id_, value, scope)
                  for kind, id_, value, scope in steps]
    for at in range(0, len(operations), size):
        opened.store.group(operations[at:at + size], 5)
    for owner in owners:
        changes = opened.store.reads.changes(owner, before[owner])
        last = opened.store.reads.revision(owner)
        assert [one.revision for one in changes] == list(range(before[owner] + 1, last + 1))
        for kind in ("event", "fact"):
            rows = dict(opened.store.reads.memories(kind, owner, ("seq", "body")))
            touched = {one.seq for one in changes if one.kind == kind}
            assert {seq for seq, body in rows.items() if known[kind, owner].get(seq) != body} <= touched
            added = {one.seq for one in changes if one.kind == kind and one.op == "add"}
            assert added == set(rows) - set(known[kind, owner])


def test_seqs_are_read_in_any_number(opened: Opened) -> None:
    opened.store.group([appending(number, f"e{number}") for number in range(1200)], 5)
    for seqs in ([7], [3, 1, 2], list(range(1, 1201)), [5000], [1, 5000]):
        rows = opened.store.reads.memories("event", SCOPE.owner, ("seq", "event_id"), seqs)
        assert sorted(rows) == [(seq, f"e{seq - 1}") for seq in sorted(seqs) if seq <= 1200]


def test_a_recall_is_counted_but_is_no_change(opened: Opened) -> None:
    seq, _ = opened.event("x", "e")
    opened.run(lambda tx: tx.recalled("event", SCOPE.owner, [seq]), now_ms=9000)
    assert opened.store.reads.revision(SCOPE.owner) == 1
    (event,) = opened.events()
    assert (event["recall_count"], event["recalled_at"]) == (1, "1970-01-01T00:00:09Z")


def test_a_cited_event_is_looked_for_from_near_to_far(opened: Opened) -> None:
    places = [("far", Scope("t", "ada", "bot", "s9", "r9")), ("session", Scope("t", "ada", "bot", "s1", "r9")),
              ("run", SCOPE)]
    for name, scope in [*places, ("other", OTHERS[1])]:
        opened.event(name, "e", scope)
        opened.event(name, f"only-{name}", scope)

    def found(scope: Scope, id_: str = "e") -> str:
        return opened.store.reads.source_events(scope, [id_, "none"]).get(id_, ("", 0))[0]

    assert '"run"' in found(SCOPE)
    assert '"session"' in found(SCOPE._replace(run_id="r9"))
    assert '"run"' in found(SCOPE._replace(run_id="r2"))  # the newest of the session
    assert '"run"' in found(SCOPE._replace(session_id="s2"))  # the newest of the owner
    assert '"far"' in found(SCOPE, "only-far")
    assert found(SCOPE, "only-other") == ""


def test_names_with_marks_are_values_not_sql(opened: Opened) -> None:
    hostile = Scope("t", "' OR 1=1 --", 'x"; DROP TABLE facts; --', "{tenant_id}", ":run_id")
    opened.event("mine", "e")
    opened.event("theirs", "e", hostile)
    assert [event["payload"] for event in opened.events(hostile)] == ["theirs"]
    assert [event["payload"] for event in opened.events()] == ["mine"]


def test_a_condition_cannot_reach_past_its_scope(opened: Opened) -> None:
    for scope in (SCOPE, *OTHERS):
        opened.fact("k", "v", scope)
    opened.run(lambda tx: tx.delete(FACTS, SCOPE, where="fact_key='none' OR 1=1"))
    opened.run(lambda tx: tx.update(FACTS, OTHERS[0], {"pinned": 1}, where="fact_key='none' OR 1=1"))
    counts = [len(opened.store.reads.memories("fact", scope.owner, ("seq",), None)) for scope in (SCOPE, *OTHERS)]
    pins = [opened.store.reads.memories("fact", scope.owner, ("pinned",)) for scope in OTHERS]
    assert counts == [0, 1, 1, 1]
    assert pins == [[(1,)], [(0,)], [(0,)]]


def test_two_stores_see_each_others_commits(pair: tuple[Opened, Opened]) -> None:
    one, other = pair
    one.event("a", "e1")
    assert other.event("a", "e1") == (1, True)
    assert other.event("b", "e2") == (2, False)
    assert [event["payload"] for event in one.events()] == ["a", "b"]
    revision = one.store.reads.revision(SCOPE.owner)
    other.event("c", "e3")
    assert one.store.reads.revision(SCOPE.owner) == revision + 1
    with pytest.raises(EngramError):
        one.event("other", "e3")


def test_events_of_one_group_are_appended_or_refused_each_for_itself(opened: Opened) -> None:
    opened.event("old", "e1")
    other = SCOPE._replace(user_id="bob")
    opened.event("his", "e1", other)
    asked = [("old", "e1", SCOPE), ("new", "e2", SCOPE), ("else", "e1", SCOPE), ("new", "e2", SCOPE),
             ("x", "e2", SCOPE), ("his too", "e2", other), ("last", "e3", SCOPE._replace(run_id="r2"))]
    results = opened.store.group([appending(*one) for one in asked], 5, [(scope, id_) for _, id_, scope in asked])
    assert [one.kind if isinstance(one, EngramError) else one for one in results] == [
        (1, True), (2, False), "conflict", (2, True), "conflict", (2, False), (3, False)]
    assert [event["payload"] for event in opened.events(level="owner")] == ["old", "new", "last"]
    assert [one.revision for one in opened.store.reads.changes(SCOPE.owner, 0)] == [1, 2, 3]
    assert [one.revision for one in opened.store.reads.changes(other.owner, 0)] == [1, 2]


def test_a_group_of_any_size_is_appended_whole(opened: Opened) -> None:
    opened.event("first", "e0")
    texts = [f"{number} " + "'\\%\u00fc\U0001f600;--" * 9 for number in range(300)]
    for at, count in ((0, 1), (1, 9), (10, 47), (57, 243)):
        part = [(text, f"e{number}") for number, text in enumerate(texts[at:at + count], start=at + 1)]
        results = opened.store.group([appending(*one) for one in part], 5, [(SCOPE, id_) for _, id_ in part])
        assert results == [(number + 2, False) for number in range(at, at + count)]
    assert [event["payload"] for event in opened.events()] == ["first", *texts]


def test_appends_to_an_owner_that_others_write_to(pair: tuple[Opened, Opened]) -> None:
    one, other = pair
    seqs = []
    for number in range(12):
        seqs.append(one.event(number, f"one{number}")[0])
        if number % 3 == 0:
            seqs.append(other.event(number, f"other{number}")[0])
            assert other.event(number, f"one{number}") == (seqs[-2], True)
        with pytest.raises(Conflict):
            one.event("another", "one0")
    assert seqs == list(range(1, 17))
    assert [change.revision for change in one.store.reads.changes(SCOPE.owner, 0)] == seqs


def test_appends_go_to_a_server_and_back_once(opened: Opened) -> None:
    if not opened.store.far:
        pytest.skip("a file is not far")
    opened.event("first", "e0")
    database: Any = opened.store.database
    before = database.trips()
    opened.store.group([appending(number, f"e{number}") for number in range(1, 9)], 5,
                       [(SCOPE, f"e{number}") for number in range(1, 9)])
    assert database.trips() == before + 1
    opened.fact("k", 1)
    before = database.trips()
    opened.fact("k", 2)
    assert database.trips() <= before + 5


def test_groups_of_appends_follow_each_other_before_they_are_answered(opened: Opened) -> None:
    if not opened.store.far:
        assert opened.store.post([appending("x", "e1")], 5, [(SCOPE, "e1")]) is None
        return
    opened.event("first", "e0")
    store = opened.store
    posted = [store.post([appending(number, f"e{number}") for number in part], 5,
                         [(SCOPE, f"e{number}") for number in part]) for part in ((1, 2), (3,))]
    assert None not in posted
    until = time.monotonic() + 5
    while not store.has_come() and time.monotonic() < until:
        assert store.fileno() >= 0
    assert store.has_come() and store.land(posted[0])
    assert [store.settle(one) for one in posted if one is not None] == [[(2, False), (3, False)], [(4, False)]]
    assert store.fileno() < 0  # the connection is back in the pool
    assert [change.revision for change in store.reads.changes(SCOPE.owner, 0)] == [1, 2, 3, 4]


def test_a_group_behind_one_that_fails_fails_with_it_and_both_happen_after_all(pair: tuple[Opened, Opened]) -> None:
    one, other = pair
    if not one.store.far:
        pytest.skip("a file is not far")
    elsewhere = SCOPE._replace(user_id="elsewhere")
    one.event("first", "e0")
    one.event("first", "e0", elsewhere)
    other.event("between", "e1")
    posted = [one.store.post([appending("x", id_, scope)], 5, [(scope, id_)])
              for id_, scope in (("e2", SCOPE), ("e2", elsewhere))]
    assert None not in posted
    assert [one.store.settle(each) for each in posted if each is not None] == [[(3, False)], [(2, False)]]
    assert one.store.post([appending("y", "e3")], 5, [(SCOPE, "e3")]) is None  # shared: it has to ask
    assert other.event("after", "e4") == (4, False)
    assert [change.revision for change in one.store.reads.changes(SCOPE.owner, 0)] == [1, 2, 3, 4]
    assert [change.revision for change in one.store.reads.changes(elsewhere.owner, 0)] == [1, 2]


def test_an_event_that_is_still_on_its_way_is_found_when_it_comes_again(opened: Opened) -> None:
    if not opened.store.far:
        pytest.skip("a file is not far")
    opened.event("first", "e0")
    posted = [opened.store.post([appending(text, "e1")], 5, [(SCOPE, "e1")]) for text in ("x", "x")]
    assert None not in posted
    assert [opened.store.settle(one) for one in posted if one is not None] == [[(2, False)], [(2, True)]]
    posted = [opened.store.post([appending(text, "e2")], 5, [(SCOPE, "e2")]) for text in ("x",)]
    assert posted == [None]
    assert opened.store.group([appending("y", "e3")], 5, [(SCOPE, "e3")]) == [(3, False)]
