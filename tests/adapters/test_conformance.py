"""The public suite for checkpointers, base and extended, on every database and through every transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import CapabilityReport

from engram.adapters.langgraph import EngramSaver
from tests.adapters.ways import WAYS, reached
from tests.daemon_fixture import Home

TESTS = {"put": 17, "put_writes": 10, "get_tuple": 10, "list": 16, "delete_thread": 5, "delete_for_runs": 7,
         "copy_thread": 8, "prune": 8}


def check(report: CapabilityReport) -> None:
    failures = {name: result.failures for name, result in report.results.items() if result.failures}
    assert not failures
    assert report.conformance_level() == "FULL"
    assert {name: result.tests_passed for name, result in report.results.items()} == TESTS


@pytest.mark.parametrize(("backend", "way"), WAYS, ids=["-".join(one) for one in WAYS])
def test_it_conforms(backend: str, way: str, home: Home, tmp_path: Path) -> None:
    async def run() -> CapabilityReport:
        async with reached(backend, way, home, tmp_path) as memory:
            @checkpointer_test(name=f"{backend} {way}")
            async def make() -> AsyncGenerator[EngramSaver, None]:
                yield EngramSaver(memory)

            return await validate(make)
    check(asyncio.run(run()))


class Blocking(EngramSaver):
    """A saver whose awaited methods are its blocking ones, so that the suite, which awaits, tries those."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(self, config: RunnableConfig | None, **named: Any) -> AsyncIterator[CheckpointTuple]:
        for one in await asyncio.to_thread(lambda: list(self.list(config, **named))):
            yield one

    async def aput(self, *args: Any) -> RunnableConfig:
        return await asyncio.to_thread(self.put, *args)

    async def aput_writes(self, *args: Any, **named: Any) -> None:
        await asyncio.to_thread(lambda: self.put_writes(*args, **named))

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await asyncio.to_thread(lambda: self.prune(thread_ids, strategy=strategy))


@pytest.mark.parametrize("way", ["memory", "async", "socket", "async-socket"])
def test_its_blocking_methods_conform(way: str, home: Home, tmp_path: Path) -> None:
    async def run() -> CapabilityReport:
        async with reached("sqlite", way, home, tmp_path) as memory:
            if not way.startswith("memory"):
                await EngramSaver(memory).aget_tuple({"configurable": {"thread_id": "first"}})

            @checkpointer_test(name=f"blocking {way}")
            async def make() -> AsyncGenerator[EngramSaver, None]:
                yield Blocking(memory)

            return await validate(make)
    check(asyncio.run(run()))
