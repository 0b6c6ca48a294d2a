"""Who waits for whose write: a graph's threads and clients that come back share commits, and nobody else waits."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engram_core.daemon.turns import FIRST, MOST_S, RETURNING, Company, Inbox, Turn
from engram_core.store.store import Store

NOBODY = (0, 0.0)


@pytest.fixture
def company(tmp_path: Path) -> Company:
    store = Store(str(tmp_path / "e.db"))
    store.close()
    return Company(store)


def test_who_writes_alone_never_waits(company: Company) -> None:
    for method in (FIRST, RETURNING) * 25:
        assert company.returning(0) == company.following(method, 1) == NOBODY
        company.note(method, 1, 0, 0.01)


def test_a_task_waits_for_the_checkpoint_after_it_once_they_have_met(company: Company) -> None:
    company.note(FIRST, 2, 0)
    for _ in range(50):
        assert company.following(FIRST, 1)[0] == 2
        company.waited(in_vain=False)
        company.note(FIRST, 1, 1)
    assert company.following(FIRST, 2) == NOBODY  # there is company already
    assert company.following("put_checkpoint", 1) == company.returning(0) == NOBODY


def test_appends_wait_for_those_that_were_there_before_and_no_longer_than_their_commit_took(company: Company) -> None:
    company.note(RETURNING, 3, 5, 0.0004)
    assert company.returning(5) == (8, 0.0004)
    assert company.returning(8) == company.following(RETURNING, 5) == NOBODY
    company.note(RETURNING, 8, 0, 3.0)
    assert company.returning(0) == (8, MOST_S)
    company.note(RETURNING, 1, 0, 0.0004)  # the others have gone
    assert company.returning(0) == NOBODY


@pytest.mark.parametrize("method", [FIRST, RETURNING])
def test_who_waits_in_vain_waits_less_and_less_often(company: Company, method: str) -> None:
    waits = []
    for at in range(200):
        company.note(method, 1, 1, 0.0004)  # others come, but never in time
        if (company.following(method, 1) if method == FIRST else company.returning(1)) != NOBODY:
            waits.append(at)
            company.waited(in_vain=True)
    assert len(waits) < 12 and waits[-1] - waits[-2] > 30


def test_nobody_waits_where_a_commit_does_not(tmp_path: Path) -> None:
    for store in (Store(":memory:"), Store(str(tmp_path / "e.db"), durability="normal")):
        store.close()
        company = Company(store)
        for method in (FIRST, RETURNING):
            company.note(method, 8, 0, 0.001)
            assert company.following(FIRST, 1) == company.returning(1) == NOBODY


def test_an_inbox_wakes_its_thread_when_there_is_as_much_as_it_wants() -> None:
    inbox: Inbox[int] = Inbox()
    assert not inbox.wait(1, 0.0)
    inbox.put(1)
    assert inbox.wait(1, None) and not inbox.wait(2, 0.001)
    woken = []

    def sleep() -> None:
        woken.append(inbox.wait(1000, 10))

    for _ in range(20):
        inbox.items.clear()
        sleeper = threading.Thread(target=sleep)
        givers = [threading.Thread(target=lambda: [inbox.put(at) for at in range(250)]) for _ in range(4)]
        for thread in (sleeper, *givers):
            thread.start()
        for thread in (sleeper, *givers):
            thread.join(10)
            assert not thread.is_alive()
        assert len(inbox.items) == 1000
    assert woken == [True] * 20


def test_what_is_put_first_comes_first() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put(1)
    inbox.put_first(0)
    assert list(inbox.items) == [0, 1] and inbox.wait(2, 0.0)


def test_a_turn_is_taken_only_while_nobody_has_it_or_waits_for_it() -> None:
    turn = Turn()
    assert turn.take() and not turn.take() and not turn.wanted
    had = threading.Event()

    def use() -> None:
        with turn:
            had.set()

    thread = threading.Thread(target=use)
    thread.start()
    while not turn.wanted:
        assert thread.is_alive()
    assert not had.is_set()
    turn.give()
    thread.join(10)
    assert had.is_set() and not turn.wanted and turn.take()
