from array import array
from collections.abc import Sequence
from typing import Final

KEPT: Final = 0
DEGRADED: Final = 1
BUDGET_SECTION: Final = 2
BUDGET_TOTAL: Final = 3
MAX_ITEMS: Final = 4
UNLIMITED: Final[int]

class Fit:
    def __init__(
        self,
        sections: Sequence[tuple[float, int, int, int, int]],
        section: array[int],
        form_start: array[int],
        forms: array[int],
        last_form: array[int],
        *,
        wrapper: int = 0,
    ) -> None: ...
    def run(self, budget: int) -> None: ...
    def more(self, budget: int) -> None: ...
    def form(self, i: int) -> int: ...
    def reason(self, i: int) -> int: ...
    def miss(self, i: int) -> int: ...
    def outcomes(self) -> array[int]: ...
    @property
    def used(self) -> int: ...
    @property
    def section_used(self) -> list[int]: ...
    @property
    def section_caps(self) -> list[int]: ...
