"""What ``make fuzz`` runs under atheris, in a process of its own that libFuzzer ends.

Everything of Engram is imported here under instrumentation, so that an input counts as new when it reaches a new branch
of the parser, of the request checks or of the checks of a write. Half of the inputs are spoiled the way `fuzz.mutate`
does it, which keeps them near to requests; the other half is libFuzzer's own.
"""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["engram_core"]):
    from tests.faults import fuzz

    fuzz.handlers()


def mutator(data: bytes, most: int, seed: int) -> bytes:
    """Return an input that differs from another one."""
    if seed & 1:
        return bytes(atheris.Mutate(data, most))
    return fuzz.mutate(data, random.Random(seed))[:most]


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz.one_input, custom_mutator=mutator)
    atheris.Fuzz()
