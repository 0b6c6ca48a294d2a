"""Who waits for whose write: a graph's threads share commits, and nobody else waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from engram_core.daemon.turns import FIRST, Company
from engram_core.store.store import Store


@pytest.fixture
def company(tmp_path: Path) -> Company:
    store = Store(str(tmp_path / "e.db"))
    store.close()
    return Company(store)


def test_who_writes_alone_never_waits(company: Company) -> None:
    for _ in range(50):
        assert not company.is_likely(FIRST, 1)
        company.note(False)


def test_a_task_waits_for_the_checkpoint_after_it_once_they_have_met(company: Company) -> None:
    company.note(True)
    for _ in range(50):
        assert company.is_likely(FIRST, 1)
        company.waited(in_vain=False)
        company.note(True)
    assert not company.is_likely(FIRST, 2)  # there is company already
    assert not company.is_likely("append_event", 1)


def test_who_waits_in_vain_waits_less_and_less_often(company: Company) -> None:
    waits = []
    for at in range(200):
        company.note(True)  # others come, but never in time
        if company.is_likely(FIRST, 1):
            waits.append(at)
            company.waited(in_vain=True)
    assert len(waits) < 12 and waits[-1] - waits[-2] > 30


def test_nobody_waits_where_a_commit_does_not(tmp_path: Path) -> None:
    for store in (Store(":memory:"), Store(str(tmp_path / "e.db"), durability="normal")):
        store.close()
        company = Company(store)
        company.note(True)
        assert not company.is_likely(FIRST, 1)
