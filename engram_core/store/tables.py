"""The tables as data: the only place that says what is stored. Dialects and statements are made from it.

Every memory row of an owner has ``seq``, the owner's revision at which the row was made: one small number that names
it in the index, in ``changes`` and in the reads of a packet. ``body`` is the memory's canonical JSON, ``line`` what a
packet emits for it where that differs, ``tokens`` the counts of that line as "tokenizer:inner:last". A fact's ``past``
lists what its body was until when, while its status or validity was another; an insight's ``digest`` is that of its
first body, by which a repeated append is known after the insight has changed. A vector belongs to the memory of its
seq; ``digest`` is that of the text it was made from, ``vector`` the base64 of its bytes. Vectors can be made again from
the memories, so they are no part of an export or a copy.

Checkpoints of graphs are no memories: no revision, no ``changes``. A *space* is a thread and one of its namespaces,
named by a digest, so that a namespace of any length fits a key. ``type`` and ``data`` are what a serializer made, as
the client encoded it; nothing here looks inside. A value with ``pieces`` is in as many rows of ``checkpoint_pieces``,
and its ``data`` is their digest. ``channels`` of a checkpoint says which blob each of its channels has.

Items of a key-value store have the owner's revision of their last write as ``seq``, so that an index of them finds what
is new; ``place`` and ``item`` are digests of the namespace and the key, ``words`` the text they are found by.
"""

from __future__ import annotations

from dataclasses import dataclass

OWNER = ("tenant_id", "user_id", "agent_id")
RUN = (*OWNER, "session_id", "run_id")


@dataclass(frozen=True)
class Column:
    """One column; kinds are key (indexable text), text, json, ms, int and real."""

    name: str
    kind: str
    null: bool = False


@dataclass(frozen=True, eq=False)  # one object per table: statements are cached by identity
class Table:
    """One table: the ids its rows belong to, its key and columns beside them, and further unique or plain indexes."""

    name: str
    scope: tuple[str, ...]
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()

    def all_columns(self) -> tuple[Column, ...]:
        """The scope's ids, then the table's own columns."""
        return (*(Column(name, "key") for name in self.scope), *self.columns)


_KEPT = (
    Column("body", "json"), Column("tokens", "text", null=True), Column("pinned", "int"),
    Column("created_at", "ms"), Column("updated_at", "ms"),
    Column("recalled_at", "ms", null=True), Column("recall_count", "int"),
)

META = Table("meta", (), ("name",), (Column("name", "key"), Column("value", "text")))
OWNERS = Table("owners", OWNER, (), (Column("revision", "int"),))
CHANGES = Table("changes", OWNER, ("revision",), (
    Column("revision", "int"), Column("kind", "key"), Column("seq", "int"), Column("id", "key"), Column("op", "key"),
    Column("session_id", "key"), Column("run_id", "key"), Column("at", "ms")))
EVENTS = Table("events", RUN, ("seq",), (
    Column("seq", "int"), Column("event_id", "key"), Column("kind", "key"), Column("ts", "ms"), Column("line", "text"),
    *_KEPT), unique=((*OWNER, "event_id", "session_id", "run_id"),), indexes=((*RUN, "ts"),))
FACTS = Table("facts", OWNER, ("seq",), (
    Column("seq", "int"), Column("fact_id", "key"), Column("version", "int"), Column("fact_key", "key"),
    Column("status", "key"), Column("valid_from", "ms", null=True), Column("valid_to", "ms", null=True),
    Column("replaces", "int", null=True), Column("replaced_by", "int", null=True), Column("past", "json", null=True),
    *_KEPT), unique=((*OWNER, "fact_id", "version"),), indexes=((*OWNER, "fact_key", "status"),))
EPISODES = Table("episodes", OWNER, ("seq",), (
    Column("seq", "int"), Column("episode_id", "key"), Column("starts", "ms"), Column("ends", "ms", null=True),
    *_KEPT), unique=((*OWNER, "episode_id"),))
PROCEDURES = Table("procedures", OWNER, ("seq",), (
    Column("seq", "int"), Column("procedure_id", "key"), Column("task_type", "key"), Column("priority", "int"),
    *_KEPT), unique=((*OWNER, "procedure_id"),))
INSIGHTS = Table("insights", RUN, ("seq",), (
    Column("seq", "int"), Column("id", "key"), Column("validation_state", "key"), Column("expires", "ms", null=True),
    Column("ended", "int"), Column("digest", "text"), *_KEPT), unique=((*RUN, "id"),))
WORKING_STATES = Table("working_states", RUN, (), (
    Column("version", "int"), Column("body", "json"), Column("updated_at", "ms")))
SHORT_TERMS = Table("short_terms", RUN[:4], (), (Column("body", "json"), Column("updated_at", "ms")))
BUILDS = Table("builds", RUN, ("build_id",), (
    Column("build_id", "key"), Column("packet", "json"), Column("explanation", "json"), Column("at", "ms")),
    indexes=((*RUN, "at"),))
VECTORS = Table("vectors", OWNER, ("seq",), (
    Column("seq", "int"), Column("model", "text"), Column("digest", "text"), Column("vector", "text")))

_VALUE = (Column("type", "key"), Column("data", "text"), Column("pieces", "int"))
THREADS = Table("threads", OWNER, ("space",), (
    Column("space", "key"), Column("thread_id", "key"), Column("ns", "text"), Column("updated_at", "ms")),
    indexes=((*OWNER, "thread_id"),))
CHECKPOINTS = Table("checkpoints", OWNER, ("space", "checkpoint_id"), (
    Column("space", "key"), Column("checkpoint_id", "key"), Column("parent_id", "key", null=True),
    Column("run_id", "key"), Column("channels", "json"), Column("metadata", "json"), *_VALUE),
    indexes=((*OWNER, "run_id"),))
CHANNEL_BLOBS = Table("channel_blobs", OWNER, ("space", "blob_id"), (
    Column("space", "key"), Column("blob_id", "key"), *_VALUE))
CHECKPOINT_WRITES = Table("checkpoint_writes", OWNER, ("space", "checkpoint_id", "task_id", "idx"), (
    Column("space", "key"), Column("checkpoint_id", "key"), Column("task_id", "key"), Column("idx", "int"),
    Column("task_path", "text"), Column("channel", "text"), *_VALUE))
CHECKPOINT_PIECES = Table("checkpoint_pieces", OWNER, ("space", "digest", "piece"), (
    Column("space", "key"), Column("digest", "key"), Column("piece", "int"), Column("data", "text"),
    Column("at", "ms")))

ITEM_PLACES = Table("item_places", OWNER, ("place",), (Column("place", "key"), Column("path", "json")))
ITEMS = Table("items", OWNER, ("seq",), (
    Column("seq", "int"), Column("place", "key"), Column("item", "key"), Column("item_key", "text"),
    Column("value", "json"), Column("words", "text", null=True), Column("created_at", "ms"), Column("updated_at", "ms"),
    Column("ttl_ms", "int", null=True), Column("expires_at", "ms", null=True)),
    unique=((*OWNER, "place", "item"),), indexes=((*OWNER, "expires_at"),))

FIRST_TABLES = (META, OWNERS, CHANGES, EVENTS, FACTS, EPISODES, PROCEDURES, INSIGHTS, WORKING_STATES, SHORT_TERMS,
                BUILDS)
CHECKPOINT_TABLES = (THREADS, CHECKPOINTS, CHANNEL_BLOBS, CHECKPOINT_WRITES, CHECKPOINT_PIECES)
ITEM_TABLES = (ITEM_PLACES, ITEMS)
TABLES = (*FIRST_TABLES, *CHECKPOINT_TABLES, *ITEM_TABLES, VECTORS)

MEMORIES: dict[str, Table] = {"event": EVENTS, "fact": FACTS, "episode": EPISODES, "procedure": PROCEDURES,
                              "insight": INSIGHTS}
"""The table of each memory kind that recall ranks."""

ID_COLUMN = {"event": "event_id", "fact": "fact_id", "episode": "episode_id", "procedure": "procedure_id",
             "insight": "id"}
"""The column that holds the caller's id of each memory kind."""
