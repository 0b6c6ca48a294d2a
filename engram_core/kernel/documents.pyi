from typing import Final

from engram_core.kernel.lexicon import Lexicon

ROLES: Final[frozenset[str]]
ASSISTANTS: Final[frozenset[str]]
OBEYING: Final[frozenset[str]]

class Documents:
    def __init__(self, language: str) -> None: ...
    @property
    def lexicon(self) -> Lexicon: ...
    @property
    def speakers_version(self) -> int: ...
