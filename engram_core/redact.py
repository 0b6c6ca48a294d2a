"""Keep secrets out of the store: patterns of well-known keys and tokens are replaced before anything is written.

Driven by the writing handlers; the count of replacements goes into the reply. In an id or a key a secret is refused
instead: replaced, it would name another memory, and two of them the same one. There the patterns of the
configuration do not count, because an id that Engram makes may hold six digits by chance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from engram_core.errors import BadInput
from engram_core.kernel.hints import Hints

PATTERNS: Mapping[str, str] = {
    "private-key": r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
    "jwt": r"\beyJ[A-Za-z0-9]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    "api-key": r"\bsk-(?=[A-Za-z_-]{0,100}[0-9])[A-Za-z0-9_-]{20,}",
    "aws-key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "github-token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    "gitlab-token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "slack-token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "google-key": r"\bAIza[0-9A-Za-z_-]{35}",
    "stripe-key": r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}",
    "npm-token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "hf-token": r"\bhf_[A-Za-z]{30,}\b",
    "bearer-token": r"(?<=[Bb]earer )[A-Za-z0-9._~+/-]{20,}=*",
    "url-password": r"(?<=://)[^\s/:@]{1,64}:[^\s/@]{1,128}(?=@)",
}
"""Name and pattern of what is redacted unless the configuration says otherwise.

None of them can begin at many places of one run of its letters and then fail at its end: any text is searched in time
that grows with its length. So the first part of a JWT takes no ``-`` and ``_``, which JSON in ASCII does not give.
"""

_HINTS = Hints(("eyJ", "AKIA", "ASIA", "xox", "AIza", "earer ", "://", "-----BEGIN", "sk-", "glpat-", "ghp_", "gho_",
                "ghu_", "ghs_", "ghr_", "github_pat_", "k_live_", "k_test_", "npm_", "hf_"))
"""What a text holds that holds a secret."""
_IDS = frozenset(("event_id", "fact_id", "fact_key", "episode_id", "procedure_id", "task_type", "id", "sources",
                  "evidence_id", "build_id", "scope"))
_HOLDERS = ("key_quotes", "tool_evidence")


class Redactor:
    """Replaces what any pattern matches by ``[redacted:name]``."""

    def __init__(self, extra: Mapping[str, str], *, enabled: bool = True) -> None:
        self._enabled = enabled
        # Each on its own: groups and references of one pattern must not disturb another.
        self._extra = [(name, re.compile(pattern)) for name, pattern in extra.items()]
        self._pattern: re.Pattern[str] | None = None

    def memory(self, value: Any, field: str) -> tuple[Any, int]:
        """Return a memory with its texts redacted and its ids, which name it and what it cites, as they are."""
        if not self._enabled or type(value) is not dict:
            return value, 0
        self.check_ids(value, field)
        done = {key: self._field(key, one, field) for key, one in value.items()}
        return {key: one for key, (one, _) in done.items()}, sum(count for _, count in done.values())

    def _field(self, key: str, value: Any, field: str) -> tuple[Any, int]:
        if key in _HOLDERS and type(value) is list:
            done = [self.memory(one, f"{field}.{key}[{at}]") for at, one in enumerate(value)]
            return [one for one, _ in done], sum(count for _, count in done)
        return (value, 0) if key in _IDS else self.value(value)

    def check_ids(self, value: Any, field: str) -> None:
        """Raise BadInput, without repeating it, for a secret in one of an object's ids."""
        if not self._enabled or type(value) is not dict:
            return
        if not _HINTS.held_in(value, _IDS):  # every append passes here, so the paths are made for a suspect only
            return
        for where, text in _ids_in(value, field):
            found = self._shipped.search(text)
            if found:
                raise BadInput(f"{where} holds what looks like a secret ({_name(found)}); allowed is an id without "
                               "one: ids are stored as they are", hint="name it otherwise, or turn redact.enabled off")

    @property
    def _shipped(self) -> re.Pattern[str]:
        if self._pattern is None:  # compiled at the first text that may need it: that takes milliseconds
            self._pattern = re.compile("|".join(f"(?P<p{at}>{one})" for at, one in enumerate(PATTERNS.values())))
        return self._pattern

    def value(self, value: Any) -> tuple[Any, int]:
        """Return the JSON value with its texts and keys redacted, and how many replacements that took."""
        if not self._enabled:
            return value, 0
        if type(value) is str:
            return self._text(value)
        if type(value) is list:
            done = [self.value(one) for one in value]
            return [one for one, _ in done], sum(count for _, count in done)
        if type(value) is dict:
            return self._object(value)
        return value, 0

    def _object(self, value: dict[Any, Any]) -> tuple[Any, int]:
        found: dict[Any, Any] = {}
        total = 0
        for key, one in value.items():
            inner, count = self.value(one)
            name, more = self._text(key) if type(key) is str else (key, 0)
            while more and (name in found or name in value):  # two secrets as keys stay two entries
                name += "'"
            found[name] = inner
            total += count + more
        return found, total

    def _text(self, text: str) -> tuple[str, int]:
        count = 0
        if _HINTS.held(text):
            text, count = self._shipped.subn(_mark, text)
        for name, pattern in self._extra:
            pieces = [match.span() for match in pattern.finditer(text) if match[0]]
            if pieces:
                begins = [0, *(end for _, end in pieces)]
                ends = [*(start for start, _ in pieces), len(text)]
                text = f"[redacted:{name}]".join(text[one:other] for one, other in zip(begins, ends, strict=True))
                count += len(pieces)
        return text, count


def _ids_in(value: dict[Any, Any], field: str) -> Iterator[tuple[str, str]]:
    """Yield the ids of an object with their paths: a text, those of a list, those of a scope."""
    path = f"{field}." if field else ""
    for key, one in value.items():
        if key not in _IDS:
            continue
        if type(one) is str:
            yield path + key, one
        elif type(one) is list:
            yield from ((f"{path}{key}[{at}]", text) for at, text in enumerate(one) if type(text) is str)
        elif type(one) is dict:
            yield from ((f"{path}{key}.{name}", text) for name, text in one.items() if type(text) is str)


def _name(match: re.Match[str]) -> str:
    return next(name for at, name in enumerate(PATTERNS) if match.group(f"p{at}") is not None)


def _mark(match: re.Match[str]) -> str:
    return f"[redacted:{_name(match)}]"
