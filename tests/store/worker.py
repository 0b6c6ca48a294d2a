"""A process that appends to a database without end and prints the number of each event once it is durable."""

from __future__ import annotations

import sys
from itertools import count

from engram_core.store.store import Store
from tests.store.conftest import Opened, appending


def main() -> None:
    """Append in groups of ``size`` under ids that begin with ``name``; start at ``first``, end after ``most``."""
    path, name, first, size, most = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    opened = Opened(Store(path))
    print("open", flush=True)
    for start in count(first, size):
        if start >= first + most:
            break
        numbers = range(start, min(start + size, first + most))
        opened.store.group([appending({"n": number, "pad": "x" * 500}, f"{name}{number}") for number in numbers], 1)
        print(*numbers, sep="\n", flush=True)
    opened.store.close()


if __name__ == "__main__":
    main()
