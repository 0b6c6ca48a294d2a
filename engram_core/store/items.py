"""Items of a key-value store: JSON objects under a key in a namespace, some for a time only. Driven by the handlers.

An item's row has the owner's revision of its last write, so an index asks for what is newer; of what was deleted it
hears when it reads a row that is gone. What is past its time is not there for any reader, and deleted when it is quiet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.store.tables import ITEM_PLACES, ITEMS
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.store.reads import Reads
    from engram_core.store.transaction import Owner, Transaction

_SHOWN = ("item_key", "value", "created_at", "updated_at", "ttl_ms", "expires_at")


class Key(NamedTuple):
    """Where an item is; ``place`` and ``item`` name it in every row."""

    path: tuple[str, ...]
    key: str

    @property
    def place(self) -> str:
        """The digest of the namespace."""
        return _digest(dump_json(self.path))

    @property
    def item(self) -> str:
        """The digest of the key."""
        return _digest(self.key)


class Given(NamedTuple):
    """An item to be written; without a value it is deleted, without words a query does not find it."""

    key: Key
    value: str | None
    words: str | None
    ttl_ms: int | None


class Stored(NamedTuple):
    """An item as it is read."""

    key: str
    value: Any
    created_at: int
    updated_at: int
    ttl_ms: int | None


def _digest(text: str) -> str:
    from _blake2 import blake2b

    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=15).hexdigest()


# ---- writing


def put(tx: Transaction, owner: Owner, items: Iterable[Given]) -> dict[str, Any]:
    """Write items, all in one transaction; one that is there keeps the time it was made at."""
    for one in items:
        place, item = one.key.place, one.key.item
        where = "place={place} AND item={item}"
        if one.value is None:
            tx.delete(ITEMS, owner, where=where, place=place, item=item)
            continue
        seq = tx.next_revision(owner)
        rows = tx.select(ITEMS, owner, ("created_at", "expires_at"), where=where, place=place, item=item)
        lives = bool(rows) and (rows[0][1] is None or rows[0][1] > tx.now_ms)
        tx.add_missing(ITEM_PLACES, owner, [{"place": place, "path": dump_json(one.key.path)}])
        if rows:
            tx.delete(ITEMS, owner, where=where, place=place, item=item)
        tx.insert(ITEMS, owner, {
            "place": place, "item": item, "item_key": one.key.key, "seq": seq, "value": one.value, "words": one.words,
            "created_at": rows[0][0] if lives else tx.now_ms, "updated_at": tx.now_ms, "ttl_ms": one.ttl_ms,
            "expires_at": None if one.ttl_ms is None else tx.now_ms + one.ttl_ms})
    return {}


def touch(tx: Transaction, owner: Owner, keys: Iterable[Key]) -> dict[str, Any]:
    """Let the time of items that have one begin anew, unless it is over."""
    for key in keys:
        where = "place={place} AND item={item}"
        rows = tx.select(ITEMS, owner, ("ttl_ms",), where=where + " AND expires_at > {now}", place=key.place,
                         item=key.item, now=tx.now_ms)
        if rows:
            tx.update(ITEMS, owner, {"expires_at": tx.now_ms + rows[0][0]}, where=where, place=key.place, item=key.item)
    return {}


def forget_expired(tx: Transaction, owner: Owner) -> int:
    """Delete the items whose time is over, and the namespaces that nothing is in; return how many items."""
    gone = tx.delete(ITEMS, owner, where="expires_at <= {now}", now=tx.now_ms)
    if gone:
        tx.delete(ITEM_PLACES, owner, where="NOT EXISTS (SELECT 1 FROM items i WHERE i.tenant_id={tenant_id} AND "
                  "i.user_id={user_id} AND i.agent_id={agent_id} AND i.place=item_places.place)")
    return gone


# ---- reading


def read(reads: Reads, owner: Owner, keys: Iterable[Key], now_ms: int) -> dict[Key, Stored]:
    """Return the items with the given keys that are there and in their time."""
    by_path: dict[tuple[str, ...], dict[str, Key]] = {}
    for key in keys:
        by_path.setdefault(key.path, {})[key.item] = key
    found: dict[Key, Stored] = {}
    for members in by_path.values():
        rows = reads.by_keys(ITEMS, owner, ("item", *_SHOWN), "item", list(members), where="place={place}",
                             place=next(iter(members.values())).place)
        found |= {members[row[0]]: stored for row in rows if (stored := _stored(row[1:], now_ms))}
    return found


def by_seq(reads: Reads, owner: Owner, seqs: list[int], now_ms: int) -> dict[int, Stored]:
    """Return the items last written at the given revisions that are there and in their time."""
    rows = reads.by_keys(ITEMS, owner, ("seq", *_SHOWN), "seq", seqs) if seqs else []
    return {row[0]: stored for row in rows if (stored := _stored(row[1:], now_ms))}


def _stored(row: tuple[Any, ...], now_ms: int) -> Stored | None:
    key, value, *times, expires_at = row
    return Stored(key, json.loads(value), *times) if expires_at is None or expires_at > now_ms else None


def newer(reads: Reads, owner: Owner, seq: int) -> list[tuple[Any, ...]]:
    """Return what was written after a revision, in order: place, digest, revision, words."""
    return reads.select(ITEMS, owner, ("place", "item", "seq", "words", "updated_at"), where="seq > {seq}", order="seq",
                        seq=seq)


def paths(reads: Reads, owner: Owner) -> dict[str, tuple[str, ...]]:
    """Return the namespaces there ever were, by place."""
    return {row[0]: tuple(json.loads(row[1])) for row in reads.select(ITEM_PLACES, owner, ("place", "path"))}


def namespaces(reads: Reads, owner: Owner, now_ms: int) -> list[tuple[str, ...]]:
    """Return the namespaces something is in."""
    rows = reads.select(
        ITEM_PLACES, owner, ("path",), where="EXISTS (SELECT 1 FROM items i WHERE i.tenant_id={tenant_id} AND "
        "i.user_id={user_id} AND i.agent_id={agent_id} AND i.place=item_places.place AND "
        "(i.expires_at IS NULL OR i.expires_at > {now}))", now=now_ms)
    return [tuple(json.loads(row[0])) for row in rows]


__all__ = ["Given", "Key", "Stored", "by_seq", "forget_expired", "namespaces", "newer", "paths", "put", "read", "touch"]
