"""Embedding models for tests: deterministic, made of hashes, one method each. Named as ``module:function``."""

from __future__ import annotations

import re
import time
from hashlib import blake2b

SAME = {"hound": "dog", "xyloq": "dog", "barked": "dog", "automobile": "car"}
EMBEDDED: list[str] = []
"""Every text that was embedded in this process, in order."""


class Words:
    """The sum of a pseudo-random vector for each word; words of ``SAME`` have that of what they mean."""

    def __init__(self, model_id: str = "words/1", width: int = 64) -> None:
        self.model_id, self.width = model_id, width

    def embed(self, texts: list[str]) -> list[list[float]]:
        EMBEDDED.extend(texts)
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        total = [0.0] * self.width
        for word in re.findall(r"\w+", text.lower()) or [""]:
            found = blake2b(f"{self.model_id} {SAME.get(word, word)}".encode(), digest_size=self.width).digest()
            total = [one + byte - 127.5 for one, byte in zip(total, found, strict=True)]
        return total


class Failing(Words):
    """Fails on a text with ``bad`` in it, saying the text."""

    def embed(self, texts: list[str]) -> list[list[float]]:
        for text in texts:
            if "bad" in text:
                raise RuntimeError(f"cannot read {text}")
        return super().embed(texts)


class Slow(Words):
    """Takes its time for questions that say so."""

    def embed(self, texts: list[str]) -> list[list[float]]:
        if any("slowly" in text for text in texts):
            time.sleep(1.5)
        return super().embed(texts)


class Odd(Words):
    """Gives vectors that are none to some texts."""

    def embed(self, texts: list[str]) -> list[list[float]]:
        found = super().embed(texts)
        for text, vector in zip(texts, found, strict=True):
            if "nan" in text:
                vector[0] = float("nan")
            if "zero" in text:
                vector[:] = [0.0] * len(vector)
            if "short" in text:
                vector.pop()
        return found[:-1] if any("lost" in text for text in texts) else found


def words() -> Words:
    return Words()


def other() -> Words:
    return Words("words/2", 32)


def failing() -> Words:
    return Failing("failing/1")


def slow() -> Words:
    return Slow("slow/1")


def odd() -> Words:
    return Odd("odd/1")


def broken() -> Words:
    raise ValueError("no such weights")
