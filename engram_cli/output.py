"""Write to the terminal or the pipe: stdout is data, stderr is everything else. Driven by every command.

Three forms of the same reply: ``--json`` is one document with a schema name, ``--ndjson`` one object per line, and
without them a view. A view is a Table or a list of fields: on a terminal Rich draws it, in a pipe it is plain text
that does not change with the window: one line per row, columns separated by a tab.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
STDOUT = "stdout"  # the name under which a failure to write it is told
GAP = 2  # between columns
ENOUGH = 40  # cells of text that are worth more than another column

_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]{0,4096}(?:\x07|\x1b\\|\x9c)"  # titles, links
    r"|\x1b[ -/]*[0-~]"
)
# Overrides of the writing direction could make a line read other than it is stored.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_RAW_CONTROL = re.compile("[\x7f-\x9f\ud800-\udfff]")


class _Stdout(io.FileIO):
    """The file below stdout; it names itself when it cannot be written, whoever wrote to it."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as exc:
            exc.filename = STDOUT
            raise


def prepare_streams() -> None:
    """Make stdout UTF-8 whatever the locale says, and able to name itself; let stderr take any text."""
    if sys.stdout is sys.__stdout__:
        # A closed one becomes one that cannot be written, so that nothing opened later takes its place.
        fd = 1 if sys.stdout is not None else os.open(os.devnull, os.O_RDONLY)
        raw = _Stdout(fd, "w", closefd=False)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="replace",
                                      line_buffering=raw.isatty())
    else:
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    if sys.stderr is not None:
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


class Column(NamedTuple):
    """One column: title, style on a terminal, whether it takes what the others leave, or gives way first."""

    title: str
    style: str = ""
    wide: bool = False
    right: bool = False
    spare: bool = False


class Table(NamedTuple):
    """Rows under columns, and what to say when there are none."""

    columns: tuple[Column, ...]
    rows: list[list[str]]
    empty: str = ""


class Output:
    """Hold how this command writes: as JSON or as a view, with or without colour, how wide."""

    def __init__(self, *, as_json: bool = False, ndjson: bool = False, color: str = "auto") -> None:
        self.json, self.ndjson = as_json, ndjson
        self.terminal = sys.stdout.isatty()
        self.color = wants_color(color, self.terminal)
        self.rich = self.terminal or self.color

    def write(self, text: str) -> None:
        """Write text to stdout as it is, as UTF-8 whatever the locale says."""
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))

    def flush(self) -> None:
        """Hand everything written to the system, so that a failure is seen here and not at exit."""
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """Write one line of memory text or figures, without terminal escapes."""
        self.write(clean(text) + "\n")

    def note(self, text: str) -> None:
        """Tell the person something that is not data, after the data written before it."""
        self.flush()
        note(text)

    def document(self, name: str, body: Mapping[str, Any]) -> None:
        """Write the one document of ``--json``."""
        schema = {"schema": f"engram.{name}/1"}
        self.write(dumps({**schema, **body, **schema}) + "\n")

    def rows(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Write one compact object per line."""
        for item in items:
            self.write(dumps(item) + "\n")

    def listing(self, name: str, reply: Mapping[str, Any], key: str,
                view: Callable[[list[Json]], Table]) -> None:
        """Write a list in the asked form: one document, one object per line, or a table."""
        if self.json:
            self.document(name, reply)
        elif self.ndjson:
            self.rows(reply[key])
        else:
            self.table(view(reply[key]))

    def table(self, table: Table) -> None:
        """Write a table: drawn on a terminal, tab-separated in a pipe."""
        if not table.rows:
            if table.empty:
                self.note(table.empty)
            return
        if self.rich:
            self._draw_table(table)
            return
        for row in table.rows:
            self.write("\t".join(one_line(cell) for cell in row) + "\n")

    def fields(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Write a record, one ``name: value`` per line; further lines of a value are indented.

        On a terminal the values stand in a column, long ones are wrapped, and a name is not repeated.
        """
        if not self.terminal:
            for name, value in pairs:
                self.write(f"{self._dim(name + ':')} {clean(value).replace(chr(10), chr(10) + '  ')}\n")
            return
        room = max((len(name) for name, _ in pairs), default=0) + 2
        width = max(20, shutil.get_terminal_size().columns - room)
        last = ""
        for name, value in pairs:
            label = self._dim(f"{'' if name == last else name + ':'}".ljust(room))
            for line in _wrapped(clean(value), width):
                self.write(f"{label}{line}\n")
                label = " " * room
            last = name

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self.color and text.strip() else text

    def console(self) -> Console:
        """Return a Rich console on stdout that follows the colour rules."""
        from rich.console import Console  # late: 60 ms that a pipe does not pay

        sys.stdout.flush()
        return Console(file=sys.stdout, force_terminal=self.rich, no_color=not self.color, highlight=False,
                       color_system="auto" if self.color else None, emoji=False, markup=False, soft_wrap=False)

    def _draw_table(self, table: Table) -> None:
        from rich.cells import cell_len
        from rich.table import Table as RichTable
        from rich.text import Text

        console = self.console()
        rows = [[one_line(cell) for cell in row] for row in table.rows]
        widths = [max(cell_len(column.title), *(cell_len(row[at]) for row in rows))
                  for at, column in enumerate(table.columns)]
        shown = _columns_that_fit(table.columns, widths, console.width)
        drawn = RichTable(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        for at in shown:
            column = table.columns[at]
            drawn.add_column(column.title, style=column.style, overflow="ellipsis", no_wrap=True, width=widths[at],
                             justify="right" if column.right else "left")
        for row in rows:
            drawn.add_row(*(Text(row[at]) for at in shown))
        console.print(drawn)


def _wrapped(text: str, width: int) -> list[str]:
    from textwrap import wrap  # late: only a terminal needs it

    lines = [piece for line in text.split("\n")
             for piece in wrap(line, width, break_on_hyphens=False, break_long_words=False) or [""]]
    return lines or [""]


def _columns_that_fit(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """Choose the columns for a window, and give the wide one what the others leave."""
    shown = list(range(len(columns)))
    wide = next((at for at in shown if columns[at].wide), None)
    if wide is None:
        return shown
    while True:
        left = width - sum(widths[at] + GAP for at in shown if at != wide)
        last = next((at for at in reversed(shown) if columns[at].spare), None)
        if left >= min(widths[wide], ENOUGH) or last is None:
            break
        shown.remove(last)
    widths[wide] = min(widths[wide], max(left, 10))
    return shown


class Progress:
    """Count on stderr while something takes long and a person watches nothing else."""

    DELAY_S, STEP_S, BAR = 0.3, 0.2, 30

    def __init__(self, what: str, *, watched: bool) -> None:
        self._what, self._shown = what, False
        self._on = watched and sys.stderr is not None and sys.stderr.isatty()
        self._next = time.monotonic() + self.DELAY_S

    def step(self, count: int, total: int = 0) -> None:
        """Show how many there are so far, not too often, and as a bar where it is known how many there will be."""
        if self._on and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.STEP_S
            self._shown = True
            done = self.BAR * count // max(total, 1)
            bar = f"[{'#' * done}{'.' * (self.BAR - done)}] {100 * count // total:3d} % " if total else ""
            sys.stderr.write(f"\r{bar}{count:,} {self._what}")
            sys.stderr.flush()

    def end(self) -> None:
        """Take the count away again."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def wants_color(choice: str, terminal: bool) -> bool:
    """Decide about colour: --color, then NO_COLOR, then FORCE_COLOR, then whether a terminal reads."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return terminal and os.environ.get("TERM") != "dumb"


def dumps(value: Any) -> str:
    """Return compact JSON; characters a terminal could obey are written as escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _RAW_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def clean(text: str) -> str:
    """Return text without terminal escapes and control characters; tabs and line ends stay."""
    return _CONTROL.sub("", _SEQUENCE.sub("", text))


def one_line(text: str) -> str:
    """Return text as one line without tabs, for a cell of a table."""
    return " ".join(clean(text).split())


def plural(count: int, word: str, words: str = "") -> str:
    """Return a count with its word: 1 memory, 2 memories."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def note(text: str) -> None:
    """Write a line to stderr, where there is one."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, UnicodeError):
        return
