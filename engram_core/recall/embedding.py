"""Vectors of texts from an embedding model of the user's own, behind one method. Driven by the cache and the engine.

Off unless ``embed.model`` names a model, and nothing else depends on it. The model is loaded and asked on a thread of
its own, so that neither a slow nor a failing one holds up a packet: what it does not say in time counts as not said.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from importlib import import_module
from math import isfinite
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

MOST_CHARS = 2000
"""Of a text's beginning so much is embedded; small models read less."""
_KEPT = 64
_PAUSE_S = 60.0
log = logging.getLogger("engram.recall")


class Embedder(Protocol):
    """What turns texts into vectors.

    ``model_id`` names the model and its version. It is stored with every vector: vectors of two models are never
    compared, and another id has them all computed anew.
    """

    model_id: str

    def embed(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """Return a vector for each text, all of one length; only their direction counts."""


def load(name: str) -> Embedder:
    """Return the embedder that ``embed.model`` names: a folder of a model, or module:function that returns one."""
    if "/" in name or name.startswith("~"):
        return _SentenceTransformer(Path(name).expanduser())
    module, _, function = name.partition(":")
    made: Embedder = getattr(import_module(module), function)()
    return made


class _SentenceTransformer:
    """A model in a folder, run by sentence-transformers on the processor; nothing is fetched from anywhere."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}")
        os.environ["HF_HUB_OFFLINE"] = "1"
        try:
            library = import_module("sentence_transformers")
        except ImportError as error:
            raise ImportError("sentence-transformers is not installed; run: pip install 'engram[embed]'") from error
        digest = blake2b(digest_size=8)
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
        self.model_id = f"{folder.name}@{digest.hexdigest()}"
        self._model: Any = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    def embed(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """Return the model's vectors."""
        vectors: Sequence[Sequence[float]] = self._model.encode(texts, show_progress_bar=False).tolist()
        return vectors


def pack(vector: Sequence[float]) -> bytes:
    """Return a vector's direction as signed bytes; raise ValueError for one that has none."""
    values = [float(one) for one in vector]
    most = max(map(abs, values), default=0.0)
    if not (most > 0 and isfinite(sum(map(abs, values)))):
        raise ValueError("the model gave a vector that is empty, all zeros or not finite")
    return array("b", [round(127 * one / most) for one in values]).tobytes()


def digest_of(text: str) -> str:
    """Return what tells whether a stored vector is of the text as it is now."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


class Asked:
    """Texts given to the model, and what came of it: ``vectors``, or ``problem``."""

    __slots__ = ("_done", "problem", "texts", "vectors")

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.vectors: list[bytes] = []
        self.problem = ""
        self._done = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait for the answer; tell whether it is there."""
        return self._done.wait(seconds)

    def finish(self) -> None:
        """Say that the answer is there."""
        self._done.set()


class Embedding:
    """A model on a thread of its own; ``model_id`` is "" until it is loaded."""

    def __init__(self, name: str, timeout_ms: int) -> None:
        self.name = name
        self.model_id = ""
        self.problem = ""
        self._timeout_s = timeout_ms / 1000
        self._queue: SimpleQueue[Asked] = SimpleQueue()
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._late: Asked | None = None
        self._told: set[str] = set()
        self._again = 0.0
        self._width = 0
        threading.Thread(target=self._run, name="engram-embedding", daemon=True).start()

    def ask(self, texts: list[str]) -> Asked:
        """Have texts embedded, after what was asked before."""
        asked = Asked(texts)
        self._queue.put(asked)
        return asked

    def question(self, text: str) -> tuple[bytes | None, str]:
        """Return a question's vector, or None and why there is none; waits no longer than the configured time."""
        text = text[:MOST_CHARS]
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known, ""
        if not self.model_id:
            return None, self.problem or "the model is being loaded"
        if time.monotonic() < self._again:
            return None, self.problem
        if self._late is not None and not self._late.wait(0):
            return None, "the model is still busy with an earlier question"
        self._late = asked = self.ask([text])
        if not asked.wait(self._timeout_s):
            return None, f"the model gave no vector within {self._timeout_s:g} s"
        if asked.problem:
            self._again = time.monotonic() + _PAUSE_S
            return None, asked.problem
        self._known[text] = asked.vectors[0]
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return asked.vectors[0], ""

    def facts(self) -> dict[str, Any]:
        """Return what the status says of the model."""
        return {"model": self.model_id or self.name, "ready": bool(self.model_id), "problem": self.problem}

    def _run(self) -> None:
        try:
            embedder = load(self.name)
            self.model_id = str(embedder.model_id)
            if not self.model_id:
                raise ValueError("the model has an empty model_id")
        except Exception as error:
            self._fail(f"the model {self.name} cannot be loaded: {type(error).__name__}: "
                       f"{' '.join(str(error).split())[:200]}")
            return
        while True:
            asked = self._queue.get()
            try:
                vectors = [pack(one) for one in embedder.embed(asked.texts)]
                self._width = self._width or len(vectors[0])
                if len(vectors) != len(asked.texts) or any(len(one) != self._width for one in vectors):
                    raise ValueError(f"{len(vectors)} vectors for {len(asked.texts)} texts, or not of one length")
                asked.vectors, self.problem = vectors, ""
            except Exception as error:
                # Its words may quote a memory, which may be somebody else's: they stand at DEBUG only.
                asked.problem = f"the model {self.model_id} failed with {type(error).__name__}"
                log.debug("%s: %s", asked.problem, error)
                self._fail(asked.problem)
            asked.finish()

    def _fail(self, problem: str) -> None:
        """Remember what is wrong, and log it once."""
        self.problem = problem
        if problem not in self._told:
            self._told.add(problem)
            log.warning("no meaning in recall: %s", problem)
