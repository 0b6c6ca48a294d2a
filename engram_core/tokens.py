"""The tokenizers by name, and the packed vocabularies the exact ones count with.

Driven by whoever must know how many tokens a text takes: the writer after the ack, the fit, the renderer.
Counting is the kernel's (engram_core.kernel.bpe). Importing this module loads nothing: a vocabulary is
mapped at the first count, because the way to the daemon's first reply has no time for it.

    o200k_base    exact, the default
    cl100k_base   exact
    estimate      for models whose tokenizer is not shipped: at least o200k_base and half as much again
    bytes         bytes of UTF-8; no byte-level tokenizer takes more

Every one of them is additive: a text's count is the sum over its lines, when each line ends in a newline
and the next begins with a character that is neither white space nor ``/``. Text that names a special token
is ordinary text.
"""

from __future__ import annotations

import os
from _thread import allocate_lock  # threading wraps it, for more than a millisecond of start-up

from engram_core.errors import BadInput, TokenizerError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing's own constant would cost an import
    from engram_core.kernel.bpe import Counter

__all__ = ["DEFAULT", "Tokenizer", "get", "names"]

DEFAULT = "o200k_base"
VOCABULARIES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vocab")


class Tokenizer:
    """Count the tokens of texts by one rule; safe to share between threads."""

    name: str
    exact = False

    def load(self) -> None:
        """Make ready what the first count would load; TokenizerError when it cannot be."""

    def count(self, text: str) -> int:
        """Return the tokens of a text; BadInput for a lone surrogate."""
        return self.count_bytes(_encoded(text))

    def count_bytes(self, data: bytes) -> int:
        """Return the tokens of a text in UTF-8; BadInput when it is not UTF-8."""
        raise NotImplementedError


class Packed(Tokenizer):
    """Count exactly, with a packed vocabulary that is mapped and checked at the first count."""

    exact = True

    def __init__(self, name: str, style: str, *, path: str, sha256: str) -> None:
        self.name = name
        self._style, self._path, self._sha256 = style, path, sha256
        self._counter: Counter | None = None
        self._lock = allocate_lock()

    def load(self) -> None:
        """Map the vocabulary and build its table."""
        self._loaded()

    def count(self, text: str) -> int:
        """Return the tokens of a text; BadInput for a lone surrogate."""
        counter = self._counter or self._loaded()
        try:
            return counter.count(text)
        except UnicodeEncodeError as exc:
            raise _lone_surrogate(exc) from exc

    def count_bytes(self, data: bytes) -> int:
        """Return the tokens of a text in UTF-8; BadInput when it is not UTF-8."""
        counter = self._counter or self._loaded()
        try:
            return counter.count_bytes(data)
        except UnicodeDecodeError as exc:
            raise _not_utf8(exc) from exc

    def _loaded(self) -> Counter:
        with self._lock:
            if self._counter is None:
                self._counter = self._open()
            return self._counter

    def _open(self) -> Counter:
        try:
            from engram_core.kernel.bpe import Counter

            return Counter(self._path, self._style, sha256=self._sha256)
        except (ImportError, OSError, ValueError) as exc:
            raise TokenizerError(
                f"tokenizer {self.name} cannot be loaded: {exc}", hint="install Engram again"
            ) from exc


class Estimate(Tokenizer):
    """Count for an unknown tokenizer: per line, half as much again as o200k_base.

    The margin is 50 %, and a line counts at least half its bytes that are not ASCII, for scripts that newer
    vocabularies store in few tokens and older ones in one per letter. It covers cl100k_base, a generation
    older, in English and code, in Russian, Arabic, Hindi, Tamil, Thai, Chinese, Japanese and Korean; not in
    Vietnamese, Greek, Georgian, Armenian, Hebrew or Burmese, nor in mere emoji. Where no text may take more
    than was counted, ``bytes`` is the choice.
    """

    name = "estimate"

    def __init__(self, base: Tokenizer) -> None:
        self._base = base

    def load(self) -> None:
        """Load the vocabulary the estimate rests on."""
        self._base.load()

    def count_bytes(self, data: bytes) -> int:
        """Return the estimate for a text in UTF-8."""
        *lines, rest = data.split(b"\n")
        return sum([self._line(line + b"\n") for line in lines]) + self._line(rest)

    def _line(self, line: bytes) -> int:
        floor = 0 if line.isascii() else (len(line.translate(None, _ASCII)) + 1) // 2
        return max((3 * self._base.count_bytes(line) + 1) // 2, floor)


class Bytes(Tokenizer):
    """Count bytes of UTF-8, the bound no byte-level tokenizer exceeds."""

    name = "bytes"

    def count_bytes(self, data: bytes) -> int:
        """Return the length of a text in UTF-8."""
        try:
            if not data.isascii():
                data.decode()
        except UnicodeDecodeError as exc:
            raise _not_utf8(exc) from exc
        return len(data)


def get(name: str) -> Tokenizer:
    """Return the tokenizer of a name, always the same object; TokenizerError when it is not available."""
    found = _TOKENIZERS.get(name)
    if found is not None:
        return found
    allowed = ", ".join(names())
    if name.startswith("file:"):
        raise TokenizerError(
            f"tokenizer {name!r} is not available: reading tokenizer.json needs an extra that comes later",
            hint=f"use one of {allowed}",
        )
    near = nearest(name, list(names()))
    hint = f"did you mean {near}?" if near else f"{DEFAULT} is the default"
    raise TokenizerError(f"tokenizer {name!r} is not known, allowed are {allowed}", hint=hint)


def names() -> tuple[str, ...]:
    """Return the names that get() takes, the default first."""
    return tuple(_TOKENIZERS)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise _lone_surrogate(exc) from exc


def _lone_surrogate(exc: UnicodeEncodeError) -> BadInput:
    return BadInput(
        f"text is not Unicode: lone surrogate U+{ord(exc.object[exc.start]):04X} at character {exc.start}",
        hint="decode it with errors='replace' first",
    )


def _not_utf8(exc: UnicodeDecodeError) -> BadInput:
    return BadInput(
        f"text is not UTF-8: invalid byte 0x{exc.object[exc.start]:02x} at byte {exc.start}",
        hint="convert it to UTF-8 first",
    )


def _packed(name: str, style: str, sha256: str) -> Packed:
    return Packed(name, style, path=os.path.join(VOCABULARIES, f"{name}.bpe"), sha256=sha256)


_ASCII = bytes(range(128))
_O200K = _packed("o200k_base", "o200k", "9f80b3f45b8e4cbe4a58208ba63a17af07b7d1b031e152b289be053404f30210")
_CL100K = _packed("cl100k_base", "cl100k", "5476deb22aceed5d09436a618a2c56fe8fd6c5bac1fbdd7a480ff64bf4f2e8b5")
_ALL = (_O200K, _CL100K, Estimate(_O200K), Bytes())
_TOKENIZERS: dict[str, Tokenizer] = {found.name: found for found in _ALL}
