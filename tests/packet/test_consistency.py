"""A packet is of one state of the store, whatever is written while it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.packet.world import JSON, World, emitted_tokens


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("change", ["grow", "forget"])
def test_what_is_written_meanwhile_is_not_half_in_it(tmp_path: Path, form: str, change: str) -> None:
    world = World(str(tmp_path / "engram.db"))
    for number in range(40):
        world.write("upsert_fact", fact={"fact_key": f"k{number}", "fact_id": f"f{number}", "value": "v" * 5})
    request: JSON = {"purpose": "planner", "budget": {"max_tokens": 500}}
    before = world.rendered(request, format=form, bare=True)
    world.forget_index()
    reads = world.engine.store.reads
    real = reads.memories
    changed: list[bool] = []

    def meanwhile(kind: str, owner: Any, columns: tuple[str, ...], seqs: list[int] | None = None) -> Any:
        if kind == "fact" and seqs and not changed:  # the lines of ranked facts, after the index was made
            changed.append(True)
            for number in range(40):
                if change == "grow":
                    world.write("upsert_fact", fact={"fact_key": f"k{number}", "value": "v" * 5, "notes": "long " * 50})
                else:
                    world.write("forget", selector={"ids": [f"f{number}"]})
        return real(kind, owner, columns, seqs)

    reads.memories = meanwhile  # type: ignore[method-assign]
    text, report, _ = world.both(request, format=form)
    assert changed
    assert emitted_tokens("o200k_base", text) == report["used_tokens"] <= 500
    assert text == before
    reads.memories = real  # type: ignore[method-assign]
    if (form, change) != ("text", "grow"):  # where notes are not shown
        assert world.rendered(request, format=form, bare=True) != before
