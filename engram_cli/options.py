"""Declare a command with the options every command shares. Driven by the modules in commands/.

A command is a function whose first argument is the Call and whose others are its own options. The decorator adds the
shared options to the signature Typer reads, makes the Call, and closes it. Help is shown in sections, so that the
shared options do not hide a command's own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from engram_cli.call import Call
from engram_cli.numbers import number
from engram_cli.output import Output
from engram_cli.times import TIMES
from engram_core.errors import BadInput, UsageError, nearest

_SCOPE = {
    "tenant_id": ("--tenant", "ENGRAM_TENANT", "Tenant the memories belong to; 'default' unless given."),
    "user_id": ("--user", "ENGRAM_USER", "Person the memories are about; your login name unless given."),
    "agent_id": ("--agent", "ENGRAM_AGENT", "Agent that remembers; 'cli' unless given."),
    "session_id": ("--session", "ENGRAM_SESSION", "Conversation; 'default' unless given."),
    "run_id": ("--run", "ENGRAM_RUN", "Run within the session; 'default' unless given."),
}
SECTIONS: tuple[tuple[str, frozenset[str]], ...] = (
    ("Options", frozenset()),
    ("Whose memories", frozenset(_SCOPE)),
    ("Output and connection", frozenset({"json_out", "ndjson_out", "color", "socket", "timeout", "help"})),
)
MAX_TIMEOUT_S = 3600
# Their options are checked by the daemon: the console entry sends them without a look at what is allowed.
SERVED_FAST = ("append", "packet", "explain")
NO_MARKUP: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False, "add_completion": False}
HELP = {"help_option_names": ["-h", "--help"]}


def _scope_parameters() -> list[inspect.Parameter]:
    return [_parameter(name, str | None, typer.Option(flag, envvar=env, metavar="ID", help=text))
            for name, (flag, env, text) in _SCOPE.items()]


def _daemon_parameters(direct: bool) -> list[inspect.Parameter]:
    without = _parameter("direct", bool, typer.Option(
        "--direct", help="Open the database in this process, without a daemon, as where sockets are forbidden."))
    return [
        *([without] if direct else []),
        _parameter("socket", str | None, typer.Option(
            "--socket", envvar="ENGRAM_SOCKET", metavar="PATH", help="Socket of the daemon.")),
        _parameter("timeout", float | None, number(
            "--timeout", low=0, high=MAX_TIMEOUT_S, above=True, whole=False, metavar="SECONDS",
            hint="give the seconds to wait for the answer", help="How long to wait for the answer; 10 by default.")),
    ]


def _output_parameters(stream: bool) -> list[inspect.Parameter]:
    found = [_parameter("json_out", bool, typer.Option("--json", help="Write one JSON document."), False)]
    if stream:
        found.append(_parameter("ndjson_out", bool, typer.Option(
            "--ndjson", help="Write one JSON object per line."), False))
    found.append(_parameter("color", str, typer.Option(
        "--color", metavar="auto|always|never", help="Colour: auto, always or never."), "auto"))
    return found


def _parameter(name: str, kind: Any, info: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default,
                             annotation=Annotated[kind, info])


def _write_examples(formatter: Any, lines: list[str]) -> None:
    """Write the last section of a help as it is to be typed, never wrapped."""
    if lines:
        with formatter.section("Examples" if len(lines) > 1 else "Example"):
            for line in lines:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def examples_of(command: Any) -> list[str]:
    """Return the example lines that the decorator put into a command's epilog."""
    return [line.strip() for line in (command.epilog or "").partition("Example:\n")[2].splitlines()]


def takes_times(command: Any) -> bool:
    """Tell whether an option of a command takes a TIME."""
    return any(str(getattr(param, "metavar", "") or "").startswith("TIME") for param in command.params)


class Command(TyperCommand):
    """Show a command's own options first, the shared ones after."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write how times are written where there are any, and the examples."""
        if takes_times(self):
            formatter.write_paragraph()
            formatter.write_text(TIMES)
        _write_examples(formatter, examples_of(self))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the usage line's words; a required argument needs no braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of the help."""
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], **{title: [] for title, _ in SECTIONS}}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                rows[_section(param)].append(record)
        for title, found in rows.items():
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)


def _section(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    if param.name in _SCOPE and not param.envvar:  # declared by the command itself: there it means something else
        return "Options"
    return next((title for title, names in SECTIONS if param.name in names), "Options")


class Family(TyperGroup):
    """A group of commands; with a default one, that is run when no command is named."""

    default = ""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the usage line's words; with a default command none need be named."""
        return ["[COMMAND]" if self.default else "COMMAND", "[OPTIONS]"]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the family is for, and what it does alone."""
        super().format_help_text(ctx, formatter)
        if self.default:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(f"Alone it is {ctx.command_path} {self.default}, and takes its options.")

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the first sentence of each, in full."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_sentence(command)) for name, command in found])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the family's own examples, or one of each command; the latter loads them all."""
        own = examples_of(self)
        if own:
            _write_examples(formatter, own)
            return
        found = [examples_of(self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        firsts = found[0] if len(found) == 1 else [lines[0] for lines in found if lines]
        _write_examples(formatter, firsts)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command's name before options that belong to it."""
        if len(args) > 1 and args[0] in ("--json", "--ndjson") and args[1] in self.list_commands(ctx):
            raise UsageError(f"{args[0]} stands before the command",
                             hint=f"options go after it: {ctx.command_path} {args[1]} {args[0]}")
        if self.default and (not args or (args[0].startswith("-") and args[0] not in ("-h", "--help"))):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def _first_sentence(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def family(name: str, help: str, *, default: str = "") -> typer.Typer:
    """Return the app of a family of commands."""
    cls = type("Family", (Family,), {"default": default})
    app = typer.Typer(name=name, help=help, cls=cls, context_settings=HELP, **NO_MARKUP)
    app.callback()(lambda: None)  # keeps a family of one command a family
    return app


def command(app: typer.Typer, name: str, *, example: str, scope: bool = True, daemon: bool = True,
            direct: bool = True, stream: bool = False,
            ) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Register a function as a command, with the shared options it takes part in."""
    shared = [*(_scope_parameters() if scope else []), *(_daemon_parameters(direct) if daemon else []),
              *_output_parameters(stream)]

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        taken = {parameter.name for parameter in own}
        added = [parameter for parameter in shared if parameter.name not in taken]
        choices = {} if name in SERVED_FAST else dict(_choices(own))

        @functools.wraps(function)
        def run(**values: Any) -> int | None:
            given = {parameter.name: values.pop(parameter.name) for parameter in added}
            for flag, (key, allowed) in choices.items():
                _check_choice(flag, values.get(key), allowed)
            call = make_call(given, values)
            try:
                return function(call, **values)
            finally:
                call.close()

        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {}
        epilog = "\b\nExample:\n" + "\n".join("  " + line for line in example.strip().splitlines())
        app.command(name, cls=Command, epilog=epilog, context_settings=HELP)(run)
        return function

    return register


def _choices(own: list[inspect.Parameter]) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Yield each option whose metavar lists all it takes: its flag, the parameter's name, the words."""
    for parameter in own:
        for info in getattr(parameter.annotation, "__metadata__", ()):
            words = (getattr(info, "metavar", None) or "").split("|")
            if len(words) > 1 and all(word.islower() for word in words):
                flag = info.default if isinstance(info.default, str) else parameter.name  # Typer keeps it there
                yield flag, (parameter.name, words)


def _check_choice(flag: str, given: object, allowed: list[str]) -> None:
    for word in given if isinstance(given, list) else [given]:
        if word is not None and word not in allowed:
            near = nearest(str(word), allowed)
            raise BadInput(f"{flag} is {word!r}; allowed are {', '.join(allowed)}",
                           hint=f"did you mean {near}?" if near else "choose one of them")


def make_call(given: dict[str, Any], own: dict[str, Any]) -> Call:
    """Build the Call from the shared options; one that the command declared itself counts as well."""
    color = given.get("color") or "auto"
    if color not in ("auto", "always", "never"):
        raise typer.BadParameter(f"--color is {color!r}, but must be auto, always or never")
    output = Output(as_json=bool(given.get("json_out")), ndjson=bool(given.get("ndjson_out")), color=color)
    scope = {name: given.get(name, own.get(name)) for name in _SCOPE}
    return Call(output, scope=scope, socket=given.get("socket"), timeout=given.get("timeout"),
                direct=bool(given.get("direct")))
