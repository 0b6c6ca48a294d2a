"""``EngramSaver``: the checkpoints of LangGraph's graphs in Engram's database. Driven by LangGraph.

Each method is written once, as the requests it makes; `place` waits for them, blocking or awaited. Values are stored as
the serializer made them, per channel and version, so that a value that did not change is not stored again.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    SerializerProtocol,
    get_checkpoint_id,
    get_serializable_checkpoint_metadata,
)

from engram.adapters.langgraph.values import Values, fetch, pack, unpack
from engram.adapters.place import Given, Holder, Place, Steps, owner_scope
from engram_core.errors import BadInput

if TYPE_CHECKING:
    from langgraph.checkpoint.base import DeltaChannelHistory

__all__ = ["EngramSaver"]

list_ = list  # the class has a method of that name

PAGE = 20
_DIGITS, _BITS = 12, 48
_PLAIN, _SHORT = frozenset((type(None), bool, int, float)), 64
_FOREIGN = "__serde__"  # in metadata, what JSON cannot hold, as the serializer wrote it
_encode = json.JSONEncoder(separators=(",", ":")).encode
_DELETE, _KEEP = "delete", "keep_latest"


class EngramSaver(Holder, BaseCheckpointSaver[str]):
    """Keep the checkpoints of graphs in Engram: pass it as ``checkpointer`` when a graph is compiled.

    ``memory`` is a ``Memory`` or ``AsyncMemory``, the path of a database, a DSN, or None for this user's daemon. What
    is opened here is closed by ``close`` or at the end of a ``with``. ``scope`` may name tenant_id, user_id, agent_id:
    threads of one scope are not to be seen in another; by default all are the user's and agent's "langgraph".
    Errors are Engram's, except where the serializer or LangGraph has its own.
    """

    def __init__(self, memory: Given = None, *, scope: Mapping[str, Any] | None = None,
                 serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        self._scope = owner_scope(scope, "langgraph")
        self._place = Place(memory)

    def setup(self) -> None:
        """Do nothing: the tables are made when the database is opened. Here for programs that call it."""

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """Return a version that is greater than the current one; other savers' may be numbers.

        Every checkpoint holds those of all its channels twice, so they are short; what follows the number tells the
        branches of a thread apart.
        """
        number = int(str(current or 0).split(".")[0])
        return f"{number + 1:0{_DIGITS}}.{random.getrandbits(_BITS):0{_BITS // 4}x}"

    # ---- reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint of a config, the newest one of its thread where it names none; None: there is none."""
        return self._place.run(self._get(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint of a config, the newest one of its thread where it names none; None: there is none."""
        return await self._place.arun(self._get(config))

    def list(self, config: RunnableConfig | None, *, filter: dict[str, Any] | None = None,
             before: RunnableConfig | None = None, limit: int | None = None) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first: of a thread, or with None of all; metadata must equal the filter's."""
        params, left = self._listing(config, filter, before), limit
        while left is None or left > 0:
            found, after = self._place.run(self._page(params, left))
            yield from found
            if after is None:
                return
            params, left = {**params, "after": after}, None if left is None else left - len(found)

    async def alist(self, config: RunnableConfig | None, *, filter: dict[str, Any] | None = None,
                    before: RunnableConfig | None = None, limit: int | None = None) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first: of a thread, or with None of all; metadata must equal the filter's."""
        params, left = self._listing(config, filter, before), limit
        while left is None or left > 0:
            found, after = await self._place.arun(self._page(params, left))
            for one in found:
                yield one
            if after is None:
                return
            params, left = {**params, "after": after}, None if left is None else left - len(found)

    def get_delta_channel_history(self, *, config: RunnableConfig,
                                  channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        """Return what channels stored as differences are made from: writes of the ancestors, and where they begin."""
        return self._place.run(self._history(config, channels))

    async def aget_delta_channel_history(self, *, config: RunnableConfig,
                                         channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        """Return what channels stored as differences are made from: writes of the ancestors, and where they begin."""
        return await self._place.arun(self._history(config, channels))

    # ---- writing

    def put(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata,
            new_versions: ChannelVersions) -> RunnableConfig:
        """Store a checkpoint with the values of the channels that have new versions; return the config to find it."""
        return self._place.run(self._put(config, checkpoint, metadata, new_versions))

    async def aput(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata,
                   new_versions: ChannelVersions) -> RunnableConfig:
        """Store a checkpoint with the values of the channels that have new versions; return the config to find it."""
        return await self._place.arun(self._put(config, checkpoint, metadata, new_versions))

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str,
                   task_path: str = "") -> None:
        """Store what a task wrote beside the checkpoint it ran on; the same again changes nothing."""
        self._place.run(self._put_writes(config, writes, task_id, task_path))

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str,
                          task_path: str = "") -> None:
        """Store what a task wrote beside the checkpoint it ran on; the same again changes nothing."""
        await self._place.arun(self._put_writes(config, writes, task_id, task_path))

    # ---- threads

    def delete_thread(self, thread_id: str) -> None:
        """Delete everything of a thread."""
        self._place.run(self._ask("delete_checkpoints", thread_ids=[str(thread_id)]))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete everything of a thread."""
        await self._place.arun(self._ask("delete_checkpoints", thread_ids=[str(thread_id)]))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs made, whatever their thread, and their writes."""
        self._place.run(self._ask("delete_checkpoints", run_ids=[*run_ids]))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs made, whatever their thread, and their writes."""
        await self._place.arun(self._ask("delete_checkpoints", run_ids=[*run_ids]))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all of a thread to another one; what that has already stays."""
        self._place.run(self._ask("copy_checkpoints", source=str(source_thread_id), target=str(target_thread_id)))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all of a thread to another one; what that has already stays."""
        await self._place.arun(self._ask("copy_checkpoints", source=str(source_thread_id),
                                         target=str(target_thread_id)))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = _KEEP) -> None:
        """Keep the newest checkpoint of each namespace and what its delta channels need, or with "delete" nothing."""
        self._place.run(self._ask(_pruning(strategy), thread_ids=[str(one) for one in thread_ids]))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = _KEEP) -> None:
        """Keep the newest checkpoint of each namespace and what its delta channels need, or with "delete" nothing."""
        await self._place.arun(self._ask(_pruning(strategy), thread_ids=[str(one) for one in thread_ids]))

    # ---- the requests

    def _ask(self, method: str, **params: Any) -> Steps[None]:
        yield method, {"scope": self._scope, **params}

    def _space(self, config: RunnableConfig) -> dict[str, Any]:
        given = config["configurable"]
        return {"scope": self._scope, "thread_id": str(given["thread_id"]), "ns": given.get("checkpoint_ns") or ""}

    def _put(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata,
             new_versions: ChannelVersions) -> Steps[RunnableConfig]:
        space = self._space(config)
        body: dict[str, Any] = dict(checkpoint)
        values = body.pop("channel_values", {})
        body["channel_values"] = plain = {channel: value for channel, value in values.items() if _is_plain(value)}
        versions = {channel: "" if channel in plain else _version(version)
                    for channel, version in checkpoint["channel_versions"].items()
                    if channel in values or channel not in new_versions}
        sent = Values(space)
        meta = get_serializable_checkpoint_metadata(config, metadata)
        run_id = meta.get("run_id")
        params = {
            **space, "checkpoint_id": checkpoint["id"], "parent_id": config["configurable"].get("checkpoint_id"),
            "run_id": run_id if isinstance(run_id, str) and run_id else None, "metadata": self._write_metadata(meta),
            "body": sent.add("checkpoint", self.serde.dumps_typed(body)), "versions": versions,
            "values": {channel: sent.add(f"value of channel {channel!r}", self.serde.dumps_typed(values[channel]))
                       for channel in new_versions if channel in values and versions.get(channel)}}
        yield from sent.send()
        yield "put_checkpoint", params
        return _config(space, checkpoint["id"])

    def _put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str,
                    task_path: str) -> Steps[None]:
        space = self._space(config)
        sent = Values(space)
        rows = [[task_id, WRITES_IDX_MAP.get(channel, at), task_path, channel,
                 *sent.add(f"write to channel {channel!r}", self.serde.dumps_typed(value))]
                for at, (channel, value) in enumerate(writes)]
        yield from sent.send()
        yield "put_checkpoint_writes", {
            **space, "checkpoint_id": str(config["configurable"]["checkpoint_id"]), "writes": rows,
            "replace": all(channel in WRITES_IDX_MAP for channel, _ in writes)}

    def _get(self, config: RunnableConfig) -> Steps[CheckpointTuple | None]:
        found = yield "get_checkpoint", {**self._space(config), "checkpoint_id": get_checkpoint_id(config) or None}
        if found["checkpoint"] is None:
            return None
        return (yield from self._tuple(found["checkpoint"]))

    def _listing(self, config: RunnableConfig | None, filter: dict[str, Any] | None,
                 before: RunnableConfig | None) -> dict[str, Any]:
        given = config["configurable"] if config else {}
        return {"scope": self._scope, "thread_id": str(given["thread_id"]) if "thread_id" in given else None,
                "ns": given.get("checkpoint_ns"), "checkpoint_id": given.get("checkpoint_id") or None,
                "before": get_checkpoint_id(before) if before else None,
                "filter": json.loads(self._write_metadata(filter)) if filter else None}

    def _page(self, params: dict[str, Any],
              left: int | None) -> Steps[tuple[Sequence[CheckpointTuple], Any]]:
        found = yield "list_checkpoints", {**params, "limit": PAGE if left is None else min(left, PAGE)}
        tuples = []
        for one in found["checkpoints"]:
            tuples.append((yield from self._tuple(one)))
        return tuples, found["next"]

    def _tuple(self, found: dict[str, Any]) -> Steps[CheckpointTuple]:
        """Return a checkpoint with its values and writes, asking for those that did not fit the reply."""
        space = {"scope": self._scope, "thread_id": found["thread_id"], "ns": found["ns"]}
        id_ = found["checkpoint_id"]
        values, writes = yield from self._entries(space, found)
        load = self.serde.loads_typed
        checkpoint = yield from fetch(space, f"checkpoint {id_!r}", found["body"], load)
        held = checkpoint.setdefault("channel_values", {})
        for channel, *wire in values:
            held[channel] = yield from fetch(
                space, f"value of channel {channel!r} in checkpoint {id_!r}", wire, load)
        pending = []
        for task_id, _, channel, *wire in writes:
            pending.append((task_id, channel, (yield from fetch(
                space, f"write to channel {channel!r} beside checkpoint {id_!r}", wire, load))))
        return CheckpointTuple(_config(space, id_), checkpoint, self._read_metadata(found["metadata"]),
                               _config(space, found["parent_id"]) if found["parent_id"] else None, pending)

    def _entries(self, space: dict[str, Any], found: dict[str, Any]) -> Steps[tuple[list_[Any], list_[Any]]]:
        """Return the values and writes of a checkpoint, asking for those that did not fit the reply."""
        id_ = found["checkpoint_id"]
        values, writes, after = found["values"], found["writes"], found["next"]
        while after is not None:
            more = (yield "get_checkpoint", {**space, "checkpoint_id": id_, "after": after})["checkpoint"]
            if more is None:
                raise BadInput(f"checkpoint {id_!r} was deleted while it was read", hint="read the newest one")
            values, writes, after = values + more["values"], writes + more["writes"], more["next"]
        return values, writes

    def _history(self, config: RunnableConfig, channels: Sequence[str]) -> Steps[Mapping[str, Any]]:
        """Walk up from a checkpoint; only what the channels need is fetched and read."""
        space = self._space(config)
        history: dict[str, dict[str, Any]] = {channel: {"writes": []} for channel in channels}
        left, load = set(channels), self.serde.loads_typed
        asked = get_checkpoint_id(config) or None
        found = (yield "get_checkpoint", {**space, "checkpoint_id": asked})["checkpoint"] if left else None
        while found is not None and found["parent_id"] and left:
            found = (yield "get_checkpoint", {**space, "checkpoint_id": found["parent_id"]})["checkpoint"]
            if found is None:
                break
            values, writes = yield from self._entries(space, found)
            for task_id, _, channel, *wire in reversed(writes):
                if channel in left:
                    history[channel]["writes"].append((task_id, channel, (yield from fetch(
                        space, f"write to channel {channel!r}", wire, load))))
            for channel, *wire in values:
                if channel in left:
                    history[channel]["seed"] = yield from fetch(space, f"value of channel {channel!r}", wire, load)
                    left.discard(channel)
            plain = left.intersection(found["plain"])
            if plain:
                body = yield from fetch(space, f"checkpoint {found['checkpoint_id']!r}", found["body"], load)
                for channel in plain:
                    history[channel]["seed"] = body["channel_values"][channel]
                left -= plain
        for one in history.values():
            one["writes"].reverse()
        return history

    # ---- metadata, which is JSON so that lists can be filtered by it

    def _write_metadata(self, metadata: Mapping[str, Any]) -> str:
        def foreign(value: Any) -> dict[str, list[str]]:
            kind, data = self.serde.dumps_typed(value)
            return {_FOREIGN: [kind, pack(data)]}
        try:
            return _encode(metadata)
        except TypeError:
            return json.dumps(metadata, default=foreign, separators=(",", ":"))

    def _read_metadata(self, text: str) -> CheckpointMetadata:
        def native(found: dict[str, Any]) -> Any:
            if found.keys() == {_FOREIGN}:
                kind, data = found[_FOREIGN]
                return self.serde.loads_typed((kind, unpack(data, "metadata")))
            return found
        metadata: CheckpointMetadata = json.loads(text, object_hook=native if _FOREIGN in text else None)
        return metadata


def _config(space: dict[str, Any], checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": space["thread_id"], "checkpoint_ns": space["ns"],
                             "checkpoint_id": checkpoint_id}}


def _is_plain(value: Any) -> bool:
    """Tell whether a value is so small that it stands in the checkpoint itself: a row of its own would be larger."""
    return type(value) in _PLAIN or (type(value) is str and len(value) <= _SHORT)


def _version(version: str | int | float) -> str:
    return version if isinstance(version, str) else json.dumps(version)


def _pruning(strategy: str) -> str:
    if strategy not in (_DELETE, _KEEP):
        raise BadInput(f"strategy is {strategy!r}; allowed are {_KEEP}, {_DELETE}")
    return "prune_checkpoints" if strategy == _KEEP else "delete_checkpoints"
