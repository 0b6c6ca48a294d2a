"""Keep secrets out of the store: patterns of well-known keys and tokens are replaced before anything is written.

Driven by the writing handlers; the count of replacements goes into the reply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PATTERNS: Mapping[str, str] = {
    "private-key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "jwt": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    "api-key": r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}",
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
"""Name and pattern of what is redacted unless the configuration says otherwise."""

_HINTS = ("-----BEGIN", "eyJ", "sk-", "AKIA", "ASIA", "gh", "glpat-", "xox", "AIza", "k_live_", "k_test_", "npm_", "hf_",
          "earer ", "://")


class Redactor:
    """Replaces what any pattern matches by ``[redacted:name]``."""

    def __init__(self, extra: Mapping[str, str], *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._extra = bool(extra)
        parts = [f"(?P<p{at}>{one})" for at, one in enumerate([*PATTERNS.values(), *extra.values()])]
        self._names = [*PATTERNS, *extra]
        self._pattern: re.Pattern[str] | None = None
        self._source = "|".join(parts)

    def value(self, value: Any) -> tuple[Any, int]:
        """Return the JSON value with its texts redacted, and how many replacements that took."""
        if not self._enabled:
            return value, 0
        if type(value) is str:
            return self._text(value)
        if type(value) is list:
            done = [self.value(one) for one in value]
            return [one for one, _ in done], sum(count for _, count in done)
        if type(value) is dict:
            pairs = {key: self.value(one) for key, one in value.items()}
            return {key: one for key, (one, _) in pairs.items()}, sum(count for _, count in pairs.values())
        return value, 0

    def _text(self, text: str) -> tuple[str, int]:
        if not self._extra and not any(hint in text for hint in _HINTS):
            return text, 0
        if self._pattern is None:  # compiled at the first text that may need it: that takes milliseconds
            self._pattern = re.compile(self._source)
        return self._pattern.subn(self._mark, text)

    def _mark(self, match: re.Match[str]) -> str:
        name = next(name for at, name in enumerate(self._names) if match.group(f"p{at}") is not None)
        return f"[redacted:{name}]"
