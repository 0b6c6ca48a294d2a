"""Name beforehand what the next reads of a packet will ask for, so that a far database is asked once for all of it.

Driven by the index cache and by compose; nothing here reads, and where the database is near nobody calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram_core.recall.index import CITED_COLUMNS, COLUMNS, KINDS, WANTED, OwnerIndex, state_places

if TYPE_CHECKING:
    from engram_core.scope import Scope
    from engram_core.store.reads import Reads, Request


def ask_news(indexes: list[OwnerIndex], scope: Scope, turns: int, reads: Reads, stamp: int) -> None:
    """Ask for what the indexes and the session's state need to be up to date.

    News comes with all columns of everything that may have changed, many of them, so an index of whose owner none is
    known is asked after by its revision alone. When there was some after all, that takes a second question.
    """
    stale = [index for index in indexes if not index.is_fresh(stamp)]
    sure = [index for index in stale if reads.surely_has_news(index.owner, index.revision)]
    unsure = [index for index in stale if index not in sure]
    reads.ahead([*(one for index in sure for one in _of_refresh(index, reads)),
                 *(reads.of_revision(index.owner) for index in unsure), *_of_session(indexes[0], scope, turns, reads)])
    changed = [index for index in unsure if reads.revision(index.owner) != index.revision]
    for index in unsure:
        if index not in changed:
            reads.has_no_news(index.owner, index.revision, WANTED)
    if changed:
        reads.late = True
        reads.ahead([one for index in changed for one in _of_refresh(index, reads)])


def _of_refresh(index: OwnerIndex, reads: Reads) -> list[Request]:
    if index.revision >= 0:
        return [reads.of_news(index.owner, index.revision, WANTED)]
    kinds = [reads.of_memories(kind, index.owner, COLUMNS[kind]) for kind in KINDS]
    vectors = [reads.of_vectors(index.owner, index.model)] if index.model else []
    return [reads.of_revision(index.owner), *(request for requests in kinds for request in requests), *vectors]


def _of_session(index: OwnerIndex, scope: Scope, turns: int, reads: Reads) -> list[Request]:
    """Return what the state and the newest turns of the session will ask, as far as it is not remembered."""
    requests = [] if all(place in index.bodies for place in state_places(scope)) else reads.of_states(scope)
    docs = [doc for unit in index.turns(scope.session_id, turns) for doc in unit] if turns else []
    seqs = index.unread(docs)
    return requests + (reads.of_memories("event", index.owner, ("seq", "line"), list(seqs)) if seqs else [])


def of_sources(index: OwnerIndex, scope: Scope, ids: list[str], reads: Reads) -> list[Request]:
    """Return what resolving cited events will ask."""
    _, missing, several = index.cited_lines(ids)
    return [*(reads.of_memories("event", index.owner, CITED_COLUMNS, list(missing)) if missing else []),
            *(reads.of_source_events(scope, several) if several else [])]
