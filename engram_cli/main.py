"""The whole command line: which commands there are, where each lives, and how errors become exit codes.

The console entry hands over what it does not serve itself. A command's module is imported when that command runs, so
that each pays for its own imports only; ``COMMANDS`` is what `engram --help` shows without importing any.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from engram_cli.errors import report
from engram_cli.options import HELP, NO_MARKUP, Family
from engram_cli.output import prepare_streams
from engram_core.errors import EngramError, UsageError

# section: name, module below commands/, short help
COMMANDS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("Remember", (
        ("append", "memory", "Remember a message, a tool result or another event."),
        ("fact", "fact", "Keep facts: one value per key, with its history."),
        ("episode", "episode", "Keep summaries of what happened in a stretch of time."),
        ("procedure", "procedure", "Keep how a kind of task is done."),
        ("insight", "insight", "Keep hypotheses, and test, validate or reject them."),
        ("state", "state", "Keep what the current run is working on."),
        ("stm", "stm", "Keep the session's rolling summary and key quotes."),
        ("run", "run", "End a run."),
    )),
    ("Recall", (
        ("packet", "packet", "Build a memory packet: what a prompt needs, within a budget."),
        ("explain", "packet", "Show why each memory is in a packet, or is not."),
        ("search", "memory", "Find memories by what they say."),
        ("events", "events", "List what happened, newest last, or follow it."),
    )),
    ("Look after it", (
        ("forget", "forget", "Delete memories for good, with everything made of them."),
        ("pin", "forget", "Put a memory first and keep it from being forgotten by rules."),
        ("unpin", "forget", "Undo a pin."),
        ("policy", "policy", "Show and check the policies that shape a packet."),
        ("config", "config", "Show, change and check the configuration."),
        ("store", "store", "Copy a whole store to another database."),
        ("daemon", "daemon", "Start, stop and watch the daemon."),
        ("doctor", "doctor", "Check everything Engram needs, and say what to do where something is wrong."),
        ("backup", "keep", "Copy the database into one file, while everything goes on."),
        ("restore", "keep", "Put a backup in the place of the database."),
        ("export", "keep", "Write memories of every kind as lines of JSON."),
        ("import", "keep", "Store what an export holds."),
        ("status", "admin", "Show the daemon, and whose memories your commands use."),
        ("version", "admin", "Show the version and whether the compiled kernel is in use."),
    )),
)
_MODULES = {name: module for _, rows in COMMANDS for name, module, _ in rows}


class Root(Family):
    """The top level: finds a command by importing its module."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the help."""
        return list(_MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command's module and return the command."""
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        app = importlib.import_module(f"engram_cli.commands.{module}").app
        found = typer.main.get_command(app)
        return found if found.name == cmd_name else found.commands[cmd_name]  # type: ignore[attr-defined]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an option that belongs to a command, and say where it goes."""
        option = args[0].partition("=")[0] if args else ""
        if option.startswith("-") and option not in ("--version", *HELP["help_option_names"]):
            command = next((word for word in args[1:] if word in _MODULES), "COMMAND")
            raise UsageError(f"{option} stands before the command",
                             hint=f"options go after it: engram {command} {option}")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Refuse an unknown command with the nearest known one."""
        if args and args[0] not in _MODULES and not args[0].startswith("-"):
            from engram_core.errors import nearest

            near = nearest(args[0], list(_MODULES))
            raise UsageError(f"there is no command {args[0]!r}",
                             hint=f"did you mean {near}?" if near else "see engram --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands by section, from the table."""
        for title, rows in COMMANDS:
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, _, text in rows])


class App(typer.Typer):
    """A Typer app that, when called, reports errors in this program's way and exits."""

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the command line of this process."""
        sys.exit(main(args[0] if args else None))


app = App(name="engram", cls=Root, context_settings=HELP, invoke_without_command=True, **NO_MARKUP)

FIRST_STEPS = """\
Engram remembers for agents: append what happened, ask for the memories that matter.

  engram append "Ada moved to Lyon in May"     remember something
  engram packet --query "where does Ada live"  get the memories for a prompt
  engram explain                               see why each one is in it
  engram --help                                everything else
"""


EXAMPLE = """\b
Example:
  engram append 'Ada moved to Lyon in May'
  engram packet -q 'where does Ada live'"""


@app.callback(epilog=EXAMPLE)
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Remember what happened, and recall what a prompt needs within a budget of tokens.

    A daemon keeps the memories of every user, agent and session on this machine; it starts by itself with the first
    command. Each command has its own help: engram COMMAND --help.
    """
    if version:
        from engram_core import __version__

        sys.stdout.write(f"engram {__version__}\n")
    elif ctx.invoked_subcommand is None:
        sys.stdout.write(FIRST_STEPS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; without one, run the process's own and end the process.

    Tearing down what Typer has loaded would cost more than a whole start of Python, and everything is flushed.
    """
    if argv is None:
        os._exit(main(sys.argv[1:]))
    args = list(argv)
    as_json = "--json" in args or "--ndjson" in args
    try:
        prepare_streams()
        code = _invoke(args)
        sys.stdout.flush()
        return code
    except (BrokenPipeError, SystemExit):  # Typer turns the first into the second
        _silence_stdout()
        return 141
    except (KeyboardInterrupt, typer.Abort):
        _silence_stdout()
        return 130
    except Exception as exc:
        code = report(exc, as_json=as_json)
        _silence_stdout()
        return code


# The class of every mistake on the command line; Typer names only those derived from it.
_Mistake: Any = typer.BadParameter.__base__


def _invoke(args: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        result = command.main(args, prog_name="engram", standalone_mode=False)
    except _Mistake as exc:
        if isinstance(exc.__context__, EngramError):  # what an option's own reader says, wrapped as any ValueError
            raise exc.__context__ from None
        ctx = getattr(exc, "ctx", None)
        path = ctx.command_path if ctx is not None else "engram"
        raise _in_plain_words(exc.format_message().rstrip(".").replace("\n", " "), path) from exc
    return result if isinstance(result, int) else 0


def _in_plain_words(message: str, path: str) -> UsageError:
    """Say a mistake of the command line as a person would."""
    if message.startswith("Got unexpected extra argument"):
        words = message.partition("(")[2].partition("(")[2].rstrip(")")
        return UsageError(f"too many words: {words}",
                          hint=f"put a text of several words into quotes; see {path} --help")
    return UsageError(message, hint=f"see {path} --help")


def _silence_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter's exit does not stumble over it."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.close(null)
        except OSError:
            return
