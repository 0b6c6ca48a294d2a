"""The whole error tree of Engram, with the RPC code, the exit code and the hint each error carries.

Raised everywhere; turned into an error object by the protocol, into one line and an exit code by the command line,
and back into the same class by the client. Imports nothing but the interpreter's core, because the client's fast path
uses it.

    EngramError                      anything Engram raises
    |- BadInput (ValueError)         the caller's data: 65
    |  |- UnknownField               a key nobody knows: 65
    |  |- BudgetTooSmall             max_tokens below the empty packet: 65
    |  |- TokenizerError             a tokenizer that is not available: 65
    |  `- UsageError                 the command line itself: 2
    |- Conflict                      an id with other content, a stale version: 65
    |- NotFound                      the asked-for thing is not there: 1
    |- ConfigError (ValueError)      a configuration or policy file: 78
    |- StoreError                    the database: 74
    |  |- SchemaTooNew               a database from the future
    |  `- StoreCorrupt               a database that fails its check
    |- Busy                          try again: 75
    |  |- DeadlineExceeded           the answer did not come in time
    |  `- Unavailable                the database's server is away
    |- NoDaemon                      no daemon, and none could be started: 69
    |- ProtocolError                 a line the other side cannot read: 76
    |  `- MethodNotFound
    |- AccessDenied                  not ours, or forbidden by the system: 77
    |- InputOutputError              a stream or a file of a command: 74
    `- InternalError                 a defect of Engram: 70
"""

from __future__ import annotations

__all__ = [
    "AccessDenied", "BadInput", "BudgetTooSmall", "Busy", "ConfigError", "Conflict", "DeadlineExceeded",
    "EngramError", "InputOutputError", "InternalError", "MethodNotFound", "NoDaemon", "NotFound", "ProtocolError",
    "SchemaTooNew", "StoreCorrupt", "StoreError", "TokenizerError", "Unavailable", "UnknownField", "UsageError",
    "by_kind", "nearest",
]


class EngramError(Exception):
    """Say what is wrong, and in ``hint`` what to type or change next."""

    kind = "error"
    code = -32000
    exit_code = 70
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class BadInput(EngramError, ValueError):
    """The caller's data breaks a rule; the message names the field, its value and what is allowed."""

    kind, code, exit_code = "bad_input", -32602, 65


class UnknownField(BadInput):
    """A key that no model knows; the message names it and the nearest known one."""

    kind = "unknown_field"


class BudgetTooSmall(BadInput):
    """The budget is below what the empty packet takes; the message names that minimum."""

    kind = "budget_too_small"


class TokenizerError(BadInput):
    """The named tokenizer does not exist or cannot be loaded here."""

    kind = "tokenizer"


class UsageError(BadInput):
    """The command line cannot be understood."""

    kind, exit_code = "usage", 2


class Conflict(EngramError):
    """A used id with other content, or a version that is not the current one."""

    kind, code, exit_code = "conflict", -32010, 65


class NotFound(EngramError):
    """The asked-for thing is not there."""

    kind, code, exit_code = "not_found", -32011, 1


class ConfigError(EngramError, ValueError):
    """A configuration or policy file is wrong; the message names file, field and what is allowed."""

    kind, code, exit_code = "config", -32020, 78
    more: tuple[ConfigError, ...] = ()
    """What else is wrong, where everything was looked through."""

    @classmethod
    def of(cls, problems: list[ConfigError]) -> ConfigError:
        """Return the first of several problems with the others, each once."""
        different = list({problem.message: problem for problem in problems}.values())
        first = cls(different[0].message, hint=different[0].hint)
        first.more = tuple(different[1:])
        return first


class StoreError(EngramError):
    """The database cannot be read or written."""

    kind, code, exit_code = "store", -32030, 74


class SchemaTooNew(StoreError):
    """The database was written by a newer version of Engram."""

    kind = "schema_too_new"


class StoreCorrupt(StoreError):
    """The database is damaged or is no Engram database; it is never replaced by an empty one."""

    kind = "store_corrupt"


class Busy(EngramError):
    """The daemon or the database is occupied; the same call may succeed later."""

    kind, code, exit_code, retryable = "busy", -32040, 75, True


class DeadlineExceeded(Busy):
    """No answer within the deadline; a write may or may not have happened, repeat it with the same id."""

    kind, code = "deadline", -32041


class Unavailable(Busy):
    """The database's server cannot be reached, or went away; what was acknowledged is there when it is back."""

    kind, code = "unavailable", -32044


class NoDaemon(EngramError):
    """No daemon answers, and none could be started."""

    kind, code, exit_code, retryable = "no_daemon", -32042, 69, True


class ProtocolError(EngramError):
    """A line that is not the protocol's."""

    kind, code, exit_code = "protocol", -32600, 76


class MethodNotFound(ProtocolError):
    """A method this daemon does not have."""

    kind, code = "method_not_found", -32601


class AccessDenied(EngramError):
    """A path or peer that is not ours, or an action the system forbids."""

    kind, code, exit_code = "access_denied", -32043, 77


class InputOutputError(EngramError):
    """A stream or a file of a command cannot be read or written; the message names it."""

    kind, code, exit_code = "io", -32044, 74


class InternalError(EngramError):
    """A defect of Engram itself."""

    kind, code, exit_code = "internal", -32603, 70


def _tree(cls: type[EngramError]) -> dict[str, type[EngramError]]:
    found: dict[str, type[EngramError]] = {}
    for sub in cls.__subclasses__():
        found.update(_tree(sub))
    found[cls.kind] = cls  # a part of the program may have a class of its own under the same kind
    return found


def by_kind(kind: str) -> type[EngramError]:
    """Return the class an error object's ``kind`` names, EngramError for one from a newer version."""
    return _tree(EngramError).get(kind, EngramError)


_LONGEST = 100  # beyond this nobody has mistyped a name, and comparing would take long


def nearest(word: str, known: list[str]) -> str:
    """Return the known word most like the given one, for "did you mean", or "" when none is near."""
    if len(word) > _LONGEST:
        return ""
    from difflib import get_close_matches  # imported late: only an error needs it

    found = get_close_matches(word, known, n=1, cutoff=0.5)
    return found[0] if found else ""
