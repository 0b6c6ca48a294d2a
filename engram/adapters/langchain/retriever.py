"""``EngramRetriever``: a search of Engram as LangChain's documents. Driven by LangChain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, PrivateAttr

from engram.adapters.place import Place, Steps
from engram.aio import AsyncMemory
from engram.memory import Memory

__all__ = ["EngramRetriever"]


class EngramRetriever(BaseRetriever):
    """Find memories for a query; each becomes a document whose metadata has its id, kind, score and tokens.

    ``memory`` is a ``Memory`` or ``AsyncMemory``, the path of a database, a DSN, or None for this user's daemon;
    ``scope`` has the five ids. ``k`` is the number of documents, ``kinds`` which kinds of memories are looked at, and
    ``max_tokens``, if given, how many tokens they have together.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    memory: Memory | AsyncMemory | str | None = None
    scope: Mapping[str, Any]
    k: int = 10
    kinds: list[str] | None = None
    max_tokens: int | None = None
    _place: Place = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Open the database, unless a memory was given."""
        self._place = Place(self.memory)

    def close(self) -> None:
        """Close the database, if it was opened here."""
        self._place.close()

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun,
                                **named: Any) -> list[Document]:
        return self._place.run(self._find(query, **named))

    async def _aget_relevant_documents(self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun,
                                       **named: Any) -> list[Document]:
        return await self._place.arun(self._find(query, **named))

    def _find(self, query: str, *, k: int | None = None, kinds: list[str] | None = None,
              max_tokens: int | None = None) -> Steps[list[Document]]:
        found = yield "search", {"scope": dict(self.scope), "query": query, "limit": self.k if k is None else k,
                                 "kinds": kinds or self.kinds, "max_tokens": max_tokens or self.max_tokens}
        return [Document(page_content=hit["text"], id=hit["id"], metadata={
            name: one for name, one in hit.items() if name != "text"}) for hit in found["hits"]]
