"""tiktoken's own encodings, built without network from the shipped ranks and the published patterns."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from unittest.mock import patch

import tiktoken
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

VOCABULARIES = Path(__file__).parent.parent / "engram_core" / "vocab"


def packed_tokens(name: str) -> list[bytes]:
    """Read a packed vocabulary in plain Python: magic, counts, lengths, bytes."""
    data = (VOCABULARIES / f"{name}.bpe").read_bytes()
    tokens = int.from_bytes(data[8:12], "little")
    found, at = [], 16 + tokens
    for length in data[16:at]:
        found.append(data[at:at + length])
        at += length
    assert at == len(data)
    return found


@cache
def encoding(name: str) -> tiktoken.Encoding:
    """Return tiktoken's encoding of this name; special-token text is ordinary text in it."""
    with patch.object(openai_public, "load_tiktoken_bpe", lambda *_, **__: {}):  # it would download
        pattern = getattr(openai_public, name)()["pat_str"]
    ranks = {token: rank for rank, token in enumerate(packed_tokens(name))}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def count(name: str, text: str) -> int:
    """Return tiktoken's count of a text."""
    return len(encoding(name).encode_ordinary(text))
