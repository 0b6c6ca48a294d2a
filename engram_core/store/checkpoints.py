"""The checkpoints of graphs: written whole, read with the values their channels had, deleted, copied and pruned.

Driven by the handlers. A checkpoint names for every channel the blob that holds its value, so a value that did not
change is stored once for all the checkpoints that have it. Nothing here is a memory: no revision grows, and the same
put a second time leaves what the first one did. Whoever changes a space holds its row of ``threads`` until the commit.
"""

from __future__ import annotations

import json
from _blake2 import blake2b
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.errors import BadInput, StoreCorrupt
from engram_core.store.tables import (
    CHANNEL_BLOBS,
    CHECKPOINT_PIECES,
    CHECKPOINT_TABLES,
    CHECKPOINT_WRITES,
    CHECKPOINTS,
    THREADS,
)
from engram_core.values import same_json

if TYPE_CHECKING:
    from engram_core.store.reads import Reads
    from engram_core.store.transaction import Owner, Transaction

REPLY_CHARS = 4 << 20
"""Characters of values after which a reply ends early and says where to go on; escaped they fit the longest reply."""
PIECE_MS = 24 * 3_600_000
"""A piece that no value names after a day was left behind by a client that did not come to its last request."""
TOUCH_MS = 60_000
_SCANNED = 100  # rows of which a page's are looked for at once
_ROW = ("space", "checkpoint_id", "parent_id", "channels", "metadata", "type", "data", "pieces")
_OF_THREADS = "space IN (SELECT space FROM threads WHERE tenant_id={{tenant_id}} AND user_id={{user_id}} " \
              "AND agent_id={{agent_id}} AND {0}={{{0}}})"


class Value(NamedTuple):
    """What a serializer made of a value, as the client encoded it; in pieces, ``data`` is their digest."""

    type: str
    data: str
    pieces: int


class Space(NamedTuple):
    """A thread and one of its namespaces."""

    thread_id: str
    ns: str

    @property
    def key(self) -> str:
        """The digest that names the space in every key."""
        return _digest(self.thread_id, self.ns)


@lru_cache(maxsize=1024)
def _digest(thread_id: str, ns: str) -> str:
    return blake2b(f"{thread_id}\0{ns}".encode(), digest_size=15).hexdigest()


class Put(NamedTuple):
    """One checkpoint as it is stored; ``values`` are the blobs that are new, by name.

    ``channels`` is a JSON object with the name of each channel's blob, "" for a value that stands in the body.
    """

    checkpoint_id: str
    parent_id: str | None
    run_id: str
    channels: str
    metadata: str
    body: Value
    values: Mapping[str, Value]


class Write(NamedTuple):
    """What a task wrote to a channel before the next checkpoint."""

    task_id: str
    idx: int
    task_path: str
    channel: str
    value: Value


# ---- writing


def put(tx: Transaction, owner: Owner, space: Space, given: Put) -> dict[str, Any]:
    """Store a checkpoint and its new values; all pieces of a large one must be there already."""
    key = space.key
    _check_pieces(tx, owner, key, [given.body, *given.values.values()])
    _touch(tx, owner, space)
    tx.upsert_many(CHANNEL_BLOBS, owner, [
        {"space": key, "blob_id": name, "type": value.type, "data": value.data, "pieces": value.pieces}
        for name, value in given.values.items()])
    tx.upsert(CHECKPOINTS, owner, {
        "space": key, "checkpoint_id": given.checkpoint_id, "parent_id": given.parent_id, "run_id": given.run_id,
        "channels": given.channels, "metadata": given.metadata, **given.body._asdict()})
    return {}


def put_writes(tx: Transaction, owner: Owner, space: Space, checkpoint_id: str, writes: list[Write], *,
               replace: bool) -> dict[str, Any]:
    """Store what a task wrote; what is there already stays, or with ``replace`` goes."""
    key = space.key
    _check_pieces(tx, owner, key, [write.value for write in writes])
    _touch(tx, owner, space)
    rows = [{"space": key, "checkpoint_id": checkpoint_id, "task_id": task_id, "idx": idx, "task_path": path,
             "channel": channel, "type": value.type, "data": value.data, "pieces": value.pieces}
            for task_id, idx, path, channel, value in writes]
    (tx.upsert_many if replace else tx.add_missing)(CHECKPOINT_WRITES, owner, rows)
    return {}


def put_piece(tx: Transaction, owner: Owner, space: Space, digest: str, piece: int, data: str) -> dict[str, Any]:
    """Store one piece of a large value, before the request that names it."""
    tx.upsert(CHECKPOINT_PIECES, owner, {"space": space.key, "digest": digest, "piece": piece, "data": data,
                                         "at": tx.now_ms})
    return {}


def _touch(tx: Transaction, owner: Owner, space: Space) -> None:
    """See to it that a space is known, and held where several may write; its time may be TOUCH_MS old.

    So there is a page less to write with every checkpoint.
    """
    if (owner, space) not in tx.touched:
        tx.touched.add((owner, space))
        tx.touch(THREADS, owner, {"space": space.key, "thread_id": space.thread_id, "ns": space.ns,
                                  "updated_at": tx.now_ms}, column="updated_at", within=TOUCH_MS)


def _check_pieces(tx: Transaction, owner: Owner, key: str, values: Iterable[Value]) -> None:
    for value in values:
        if value.pieces:
            found = tx.select(CHECKPOINT_PIECES, owner, ("COUNT(*)",), where="space={space} AND digest={digest}",
                              space=key, digest=value.data)[0][0]
            if found != value.pieces:
                raise BadInput(f"value {value.data} has {found} of its {value.pieces} pieces; nothing was stored",
                               hint="send the pieces first, then the request that names them")


# ---- deleting and copying


def delete_threads(tx: Transaction, owner: Owner, thread_ids: Iterable[str]) -> int:
    """Delete everything of threads; return how many checkpoints that were."""
    gone = 0
    for thread_id in thread_ids:
        for space, _ in _spaces(tx, owner, thread_id):
            gone += _delete_space(tx, owner, space)
    return gone


def delete_runs(tx: Transaction, owner: Owner, run_ids: Iterable[str]) -> int:
    """Delete the checkpoints that runs made, their writes, and the values nobody has then."""
    gone = 0
    touched: dict[str, None] = {}
    for run_id in run_ids:
        for space, checkpoint_id in tx.select(CHECKPOINTS, owner, ("space", "checkpoint_id"), where="run_id={run}",
                                              run=run_id):
            gone += _delete_checkpoint(tx, owner, space, checkpoint_id)
            touched[space] = None
    for space in touched:
        _sweep(tx, owner, space)
    return gone


def prune(tx: Transaction, owner: Owner, thread_ids: Iterable[str]) -> int:
    """Keep the newest checkpoint of each namespace, with the ancestors its delta channels are still made from."""
    gone = 0
    for thread_id in thread_ids:
        for space, _ in _spaces(tx, owner, thread_id):
            kept = _needed(tx, owner, space)
            old = [row[0] for row in tx.select(CHECKPOINTS, owner, ("checkpoint_id",), where="space={space}",
                                               space=space) if row[0] not in kept]
            for checkpoint_id in old:
                gone += _delete_checkpoint(tx, owner, space, checkpoint_id)
            if old:
                _sweep(tx, owner, space)
    return gone


def copy(tx: Transaction, owner: Owner, source: str, target: str) -> int:
    """Copy everything of a thread to another one; what that has already stays."""
    copied = 0
    for old, ns in _spaces(tx, owner, source):
        space = Space(target, ns)
        copied += tx.select(CHECKPOINTS, owner, ("COUNT(*)",), where="space={space}", space=old)[0][0]
        _touch(tx, owner, space)
        for table in CHECKPOINT_TABLES[1:]:
            tx.copy_rows(table, owner, "space", old, space.key)
    return copied


def forget_old_threads(tx: Transaction, owner: Owner, before: int, limit: int) -> int:
    """Delete spaces that nobody has written to since; return how many."""
    old = tx.select(THREADS, owner, ("space",), where="updated_at < {before}", order="space", limit=limit,
                    before=before)
    for row in old:
        _delete_space(tx, owner, row[0])
    return len(old)


def forget_lost_pieces(tx: Transaction, owner: Owner) -> int:
    """Delete the pieces that were sent a day ago and that no value names; return how many."""
    before = tx.now_ms - PIECE_MS
    spaces = tx.select(CHECKPOINT_PIECES, owner, ("DISTINCT space",), where="at < {before}", before=before)
    return sum(_delete_lost_pieces(tx, owner, row[0], before=before) for row in spaces)


def _spaces(tx: Transaction, owner: Owner, thread_id: str) -> list[tuple[str, str]]:
    tx.lock(THREADS, owner, where="thread_id={thread_id}", thread_id=thread_id)
    return [(row[0], row[1]) for row in tx.select(THREADS, owner, ("space", "ns"), where="thread_id={thread_id}",
                                                  order="space", thread_id=thread_id)]


def _delete_space(tx: Transaction, owner: Owner, space: str) -> int:
    tx.touched.clear()
    gone = 0
    for table in CHECKPOINT_TABLES:
        found = tx.delete(table, owner, where="space={space}", space=space)
        gone += found if table is CHECKPOINTS else 0
    return gone


def _delete_checkpoint(tx: Transaction, owner: Owner, space: str, checkpoint_id: str) -> int:
    where = "space={space} AND checkpoint_id={id}"
    tx.delete(CHECKPOINT_WRITES, owner, where=where, space=space, id=checkpoint_id)
    return tx.delete(CHECKPOINTS, owner, where=where, space=space, id=checkpoint_id)


def _needed(tx: Transaction, owner: Owner, space: str) -> set[str]:
    """Return the newest checkpoint and its ancestors back to where each delta channel has a value of its own."""
    columns = ("checkpoint_id", "parent_id", "channels", "metadata")
    rows = {row[0]: row for row in tx.select(CHECKPOINTS, owner, columns, where="space={space}", space=space)}
    blobs = {row[0] for row in tx.select(CHANNEL_BLOBS, owner, ("blob_id",), where="space={space}", space=space)}
    here: str | None = max(rows, default=None)
    needed: set[str] = set()
    missing: set[str] | None = None
    while here is not None and here in rows:
        needed.add(here)
        _, parent, channels, metadata = rows[here]
        if missing is None:  # what the newest one says was written since a channel's last own value
            missing = set(json.loads(metadata).get("counters_since_delta_snapshot") or ())
        missing -= {channel for channel, blob in json.loads(channels).items() if not blob or blob in blobs}
        here = parent if missing else None
    return needed


def _sweep(tx: Transaction, owner: Owner, space: str) -> None:
    """Delete the values no checkpoint of a space has any more, and the space when it is empty."""
    tx.lock(THREADS, owner, where="space={space}", space=space)
    rows = tx.select(CHECKPOINTS, owner, ("channels",), where="space={space}", space=space)
    if not rows and not tx.select(CHECKPOINT_WRITES, owner, ("1",), where="space={space}", limit=1, space=space):
        _delete_space(tx, owner, space)
        return
    used = {blob for row in rows for blob in json.loads(row[0]).values()}
    for (blob,) in tx.select(CHANNEL_BLOBS, owner, ("blob_id",), where="space={space}", space=space):
        if blob not in used:
            tx.delete(CHANNEL_BLOBS, owner, where="space={space} AND blob_id={blob}", space=space, blob=blob)
    _delete_lost_pieces(tx, owner, space, before=tx.now_ms - PIECE_MS)


def _delete_lost_pieces(tx: Transaction, owner: Owner, space: str, *, before: int) -> int:
    named = {row[0] for table in (CHANNEL_BLOBS, CHECKPOINTS, CHECKPOINT_WRITES)
             for row in tx.select(table, owner, ("data",), where="space={space} AND pieces > 0", space=space)}
    gone = 0
    for (digest,) in tx.select(CHECKPOINT_PIECES, owner, ("DISTINCT digest",), where="space={space} AND at < {before}",
                               space=space, before=before):
        if digest not in named:
            gone += tx.delete(CHECKPOINT_PIECES, owner, where="space={space} AND digest={digest}", space=space,
                              digest=digest)
    return gone


# ---- reading


def get(reads: Reads, owner: Owner, space: Space, checkpoint_id: str | None, after: int) -> dict[str, Any] | None:
    """Return a checkpoint, without an id the newest one, with its values and writes from a place on; None: no such."""
    key = space.key
    with reads.one_state():
        rows = reads.select(
            CHECKPOINTS, owner, _ROW, where="space={space}" + (" AND checkpoint_id={id}" if checkpoint_id else ""),
            order="checkpoint_id DESC", limit=1, space=key, id=checkpoint_id)
        return _whole(reads, owner, space, rows[0], after, REPLY_CHARS)[0] if rows else None


def list_(reads: Reads, owner: Owner, thread_id: str | None, ns: str | None, checkpoint_id: str | None,
          before: str | None, matches: Callable[[str], bool] | None, limit: int,
          after: tuple[str, str] | None) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Return a page of checkpoints, newest first, and where the next one begins, None at the end."""
    found: list[dict[str, Any]] = []
    room = REPLY_CHARS
    with reads.one_state():
        names: dict[str, Space] = {}
        for row in _matching(reads, owner, thread_id, ns, checkpoint_id, before, matches, after):
            if len(found) == limit or room <= 0:
                return found, (found[-1]["checkpoint_id"], found[-1]["space"])
            space = names.get(row[0]) or names.setdefault(row[0], _space(reads, owner, row[0]))
            whole, taken = _whole(reads, owner, space, row, 0, room)
            found.append({**whole, "space": row[0]})
            room -= taken
    return found, None


def pieces(reads: Reads, owner: Owner, space: Space, digest: str, first: int) -> list[str]:
    """Return pieces of a large value from a number on, as many as fit a reply."""
    rows = reads.select(CHECKPOINT_PIECES, owner, ("data",), where="space={space} AND digest={digest} AND "
                        "piece >= {first}", order="piece", limit=4, space=space.key, digest=digest, first=first)
    return [row[0] for row in rows]


def _matching(reads: Reads, owner: Owner, thread_id: str | None, ns: str | None, checkpoint_id: str | None,
              before: str | None, matches: Callable[[str], bool] | None,
              after: tuple[str, str] | None) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of checkpoints that are asked for, newest first."""
    where = ["1=1"]
    values: dict[str, Any] = {"thread_id": thread_id, "id": checkpoint_id, "before": before}
    if thread_id is not None and ns is not None:
        where.append("space={space}")
        values["space"] = Space(thread_id, ns).key
    elif thread_id is not None:
        where.append(_OF_THREADS.format("thread_id"))
    elif ns is not None:
        where.append(_OF_THREADS.format("ns"))
        values["ns"] = ns
    where += ["checkpoint_id={id}"] if checkpoint_id else []
    where += ["checkpoint_id < {before}"] if before else []
    while True:
        on = " AND (checkpoint_id < {last} OR (checkpoint_id={last} AND space > {last_space}))" if after else ""
        keys = reads.select(
            CHECKPOINTS, owner, ("space", "checkpoint_id", "metadata"), where=" AND ".join(where) + on,
            order="checkpoint_id DESC, space", limit=_SCANNED, **values, last=after and after[0],
            last_space=after and after[1])
        for space, id_, metadata in keys:
            if matches is None or matches(metadata):
                rows = reads.select(CHECKPOINTS, owner, _ROW, where="space={space} AND checkpoint_id={id}",
                                    space=space, id=id_)
                yield from rows
        if len(keys) < _SCANNED:
            return
        after = keys[-1][1], keys[-1][0]


def _space(reads: Reads, owner: Owner, key: str) -> Space:
    rows = reads.select(THREADS, owner, ("thread_id", "ns"), where="space={space}", space=key)
    if not rows:
        raise StoreCorrupt(f"a checkpoint of space {key} belongs to no thread", hint="restore a backup")
    return Space(*rows[0])


def _whole(reads: Reads, owner: Owner, space: Space, row: tuple[Any, ...], after: int,
           room: int) -> tuple[dict[str, Any], int]:
    """Return a checkpoint with its values and writes from a place on, as many as there is room for, and their size."""
    key, checkpoint_id, parent_id, channels, metadata, *body = row
    named: dict[str, str] = json.loads(channels)
    apart = [blob for blob in named.values() if blob]
    blobs = {one[0]: one[1:] for one in reads.by_keys(
        CHANNEL_BLOBS, owner, ("blob_id", *Value._fields), "blob_id", apart, where="space={space}",
        space=key)} if apart else {}
    writes = reads.select(CHECKPOINT_WRITES, owner, ("task_path", "task_id", "idx", "channel", *Value._fields),
                          where="space={space} AND checkpoint_id={id}", space=key, id=checkpoint_id)
    values = [(channel, *blobs[blob]) for channel, blob in sorted(named.items()) if blob in blobs]
    entries: list[tuple[Any, ...]] = [*values, *(one[1:] for one in sorted(writes, key=lambda one: one[:3]))]
    end, taken = after, len(body[1]) + len(metadata)
    while end < len(entries) and (taken < room or end == after):
        taken += len(entries[end][-2]) + 200
        end += 1
    return {"thread_id": space.thread_id, "ns": space.ns, "checkpoint_id": checkpoint_id, "parent_id": parent_id,
            "metadata": metadata, "body": body, "plain": [channel for channel, blob in named.items() if not blob],
            "values": entries[after:min(end, len(values))],
            "writes": entries[max(after, len(values)):end], "next": end if end < len(entries) else None}, taken


def matcher(wanted: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return what tells whether metadata has all the wanted values; what it has not is null."""
    def matches(metadata: str) -> bool:
        found = json.loads(metadata)
        return all(same_json(found.get(key), value) for key, value in wanted.items())
    return matches


__all__ = ["Put", "Space", "Value", "Write", "copy", "delete_runs", "delete_threads", "forget_lost_pieces",
           "forget_old_threads", "get", "list_", "matcher", "pieces", "prune", "put", "put_piece", "put_writes"]
