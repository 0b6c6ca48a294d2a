from collections.abc import Collection, Sequence
from typing import Final

from engram_core.kernel.index import Scores

SIGNALS: Final[tuple[str, ...]]
NEVER: Final[int]
ALWAYS: Final[int]

class Selection:
    docs: list[int]
    scores: list[float]
    signals: list[tuple[float, ...]]
    filtered: dict[int | str, int]
    total: int
    not_ranked: int

class Table:
    live: int
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def add(self, kind: int, *, seq: int, ts: int, status: int, importance: float, start: int = ..., end: int = ...,
            group: int = ..., fold: int = ..., pinned: bool = ..., cues: Sequence[int] = ...,
            costs: Sequence[tuple[int, int]] = ...) -> int: ...
    def remove(self, number: int) -> None: ...
    def costs(self, number: int) -> list[tuple[int, int]]: ...
    def set_costs(self, number: int, costs: Sequence[tuple[int, int]]) -> None: ...
    def set_pinned(self, number: int, pinned: bool) -> None: ...
    def about(self, number: int) -> tuple[int, int, int, int, bool, int, int, int, int, float]: ...
    def alive(self, number: int) -> bool: ...
    def status_counts(self, kind: int) -> list[int]: ...
    def select(self, kind: int, k: int, *, now: int, weights: tuple[float, ...], half_life: float, layer: float,
               scores: Scores | None = ..., cues: Sequence[int] = ..., ncues: int = ...,
               range_: tuple[int, int] | None = ..., groups: Collection[int] | None = ...,
               subset: Sequence[int] | None = ..., moments: bool = ..., oldest: int = ...,
               whole: bool = ...) -> Selection: ...
