"""Write what is generated from the commands and the settings: man pages, completions, the shipped configuration.

Run by ``make docs``; a test compares the committed files with what this returns.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402

from engram_cli.errors import EXIT_CODES  # noqa: E402
from engram_cli.main import COMMANDS, app  # noqa: E402
from engram_cli.options import SECTIONS  # noqa: E402
from engram_cli.times import TIMES  # noqa: E402
from engram_core import __version__  # noqa: E402
from engram_core.settings import AT_START, FIELDS  # noqa: E402

Generated = dict[str, str]
SHARED = frozenset().union(*(names for _, names in SECTIONS))


class Choice(NamedTuple):
    """An option or argument: its spellings, what it takes, what it is for."""

    names: tuple[str, ...]
    metavar: str
    help: str
    values: tuple[str, ...]
    shared: bool = False


class Page(NamedTuple):
    """A command or family: its path below engram, its texts, its parts."""

    path: tuple[str, ...]
    usage: str
    help: str
    example: str
    arguments: list[Choice]
    options: list[Choice]
    commands: list[Page]

    @property
    def short(self) -> str:
        """The first sentence of the help."""
        return self.help.split("\n\n")[0].replace("\n", " ").strip()


def page(command: Any, path: tuple[str, ...], parent: Any = None) -> Page:
    """Read a command and everything below it."""
    context = typer.Context(command, info_name=path[-1] if path else "engram", parent=parent)
    inner = []
    if hasattr(command, "list_commands"):
        inner = [page(command.get_command(context, name), (*path, name), context)
                 for name in command.list_commands(context)]
    params = [_choice(param, context) for param in command.get_params(context) if not getattr(param, "hidden", False)]
    usage = " ".join(piece for piece in command.collect_usage_pieces(context))
    example = re.sub(r"(?s)^\x08\nExample:\n", "", command.epilog or "")
    return Page(path, usage, (command.help or "").strip(), "\n".join(line[2:] for line in example.splitlines()),
                [one for is_argument, one in params if is_argument],
                [one for is_argument, one in params if not is_argument], inner)


def _choice(param: Any, context: Any) -> tuple[bool, Choice]:
    names, text = param.get_help_record(context)
    if param.param_type_name == "argument":
        metavar = names.strip("[]")
        words = (param.help or "") if "|" in (param.help or "") and " " not in (param.help or "") else ""
        return True, Choice((names,), metavar, text.replace("  [required]", ""), _values(words))
    metavar = "" if param.is_flag else (param.metavar or "VALUE")
    return False, Choice(tuple(param.opts), metavar, text, _values(metavar), param.name in SHARED)


def _values(metavar: str) -> tuple[str, ...]:
    return tuple(word for word in metavar.split("|") if word.islower()) if "|" in metavar else ()


def pages() -> Page:
    """Return the whole command line."""
    return page(typer.main.get_command(app), ())


def walk(top: Page) -> Iterator[Page]:
    """Yield a page and all below it."""
    yield top
    for one in top.commands:
        yield from walk(one)


# ---- man pages


def roff(text: str) -> str:
    """Return text safe for a man page."""
    for plain, written in (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), ("`", "\\(ga"), ("^", "\\(ha"), ("~", "\\(ti")):
        text = text.replace(plain, written)
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.splitlines())


def man_pages(top: Page) -> Generated:
    """Return engram(1) and one page per command."""
    found = {"man/engram.1": _man_top(top)}
    for one in top.commands:
        found[f"man/engram-{one.path[0]}.1"] = _man_command(one)
    return found


def _head(name: str, short: str) -> list[str]:
    return [f'.TH {roff(name.upper())} 1 "" "engram {__version__}" "Engram"', ".nh", ".ad l", ".SH NAME",
            f"{roff(name)} \\- {roff(short.rstrip('.'))}"]


def _man_top(top: Page) -> str:
    lines = [*_head("engram", top.short), ".SH SYNOPSIS", ".B engram", ".I COMMAND", "[options]", ".SH DESCRIPTION",
             *_paragraphs(top.help), ".SH COMMANDS", "Each has its own page, such as", ".BR engram\\-append (1)."]
    for title, rows in COMMANDS:
        lines.append(f".SS {title}")
        for name, _, short in rows:
            lines += [".TP", f".B {roff(name)}", roff(short)]
    lines += [".SH OPTIONS", *_options(top.options), ".SH EXAMPLES", *_example(top.example), ".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES:
        lines += [".TP 6", f".B {code}", roff(meaning[0].upper() + meaning[1:] + ".")]
    lines += [".SH ENVIRONMENT", "Every setting has a variable that overrides the files:"]
    for field in FIELDS:
        if field.kind != "patterns":
            lines += [".TP", f".B {field.env}", roff(f"{field.key}: {field.help}.")]
    for name, text in ENVIRONMENT:
        lines += [".TP", f".B {name}", roff(text)]
    lines += [".SH FILES"]
    for name, text in FILES:
        lines += [".TP", f".I {roff(name)}", roff(text)]
    lines += [".SH SEE ALSO", *_see([f"engram-{one.path[0]}" for one in top.commands])]
    return "\n".join(lines) + "\n"


def _man_command(one: Page) -> str:
    name = "engram-" + "-".join(one.path)
    lines = [*_head(name, one.short), ".SH SYNOPSIS"]
    for leaf in one.commands or [one]:
        for part in _leaves(leaf):
            lines += [f".B engram {' '.join(part.path)}", f"{roff(part.usage)}", ".br"]
    lines += [".SH DESCRIPTION", *_paragraphs(one.help)]
    if not one.commands:
        lines += [".SH OPTIONS", *_options(one.arguments), *_options(one.options),
                  ".SH EXAMPLES", *_example(one.example)]
    else:
        lines.append(".SH COMMANDS")
        for leaf in (part for member in one.commands for part in _leaves(member)):
            lines += [f".SS engram {' '.join(leaf.path)} {roff(leaf.usage)}", *_paragraphs(leaf.help),
                      *_options(leaf.arguments), *_options([o for o in leaf.options if not o.shared]),
                      ".PP", "Example:", *_example(leaf.example)]
        shared = {option.names: option for leaf in _leaves(one) for option in leaf.options if option.shared}
        lines += [".SH SHARED OPTIONS", *_options(list(shared.values()))]
    if any(option.metavar.startswith("TIME") for leaf in _leaves(one) for option in leaf.options):
        lines += [".SH TIMES", roff(TIMES)]
    lines += [".SH EXIT STATUS", "See", ".BR engram (1).", ".SH SEE ALSO", *_see(["engram"])]
    return "\n".join(lines) + "\n"


def _leaves(one: Page) -> list[Page]:
    return [one] if not one.commands else [leaf for inner in one.commands for leaf in _leaves(inner)]


def _paragraphs(text: str) -> list[str]:
    return [line for paragraph in text.split("\n\n") for line in (".PP", roff(" ".join(paragraph.split())))]


def _options(choices: list[Choice]) -> list[str]:
    lines = []
    for one in choices:
        names = ", ".join(f"\\fB{roff(name)}\\fR" for name in one.names)
        metavar = f" \\fI{roff(one.metavar)}\\fR" if one.metavar and one.names[0].startswith("-") else ""
        lines += [".TP", names + metavar, roff(one.help.replace("  [", " ["))]
    return lines


def _example(text: str) -> list[str]:
    return [".PP", ".nf", ".RS 4", *(roff(line) for line in text.splitlines()), ".RE", ".fi"]


def _see(names: list[str]) -> list[str]:
    return [f".BR {roff(name)} (1)" + ("," if name != names[-1] else "") for name in names]


ENVIRONMENT = (
    ("ENGRAM_CONFIG", "A file to use in place of your own configuration."),
    ("ENGRAM_AUTOSTART", "0 keeps commands from starting a daemon."),
    ("ENGRAM_SUPERVISED", "1 says that a service manager keeps the daemon, and commands start none."),
    ("ENGRAM_DEBUG", "1 shows where in the program an error arose."),
    ("NO_COLOR, FORCE_COLOR, COLUMNS", "Turn colour off or on, and set the width of tables."),
)
FILES = (
    ("$XDG_CONFIG_HOME/engram/engram.toml",
     "Your configuration; ~/.config by default. A file others can write is refused."),
    ("$XDG_CONFIG_HOME/engram/policies/*.toml", "Your own packet policies."),
    (".engram.toml", "A project's scope, in its folder or one above."),
    ("/etc/engram/engram.toml", "The configuration of the machine."),
    ("$XDG_DATA_HOME/engram/engram.db", "The memories; ~/.local/share by default."),
    ("$XDG_RUNTIME_DIR/engram/engram.sock", "The daemon's socket; without it ~/.local/state/engram/run."),
    ("$XDG_STATE_HOME/engram/daemon.log", "The log of a daemon that a command started; ~/.local/state by default."),
)


# ---- completions: static, so that no Python runs while a key is pressed


def _key(path: tuple[str, ...]) -> str:
    return " ".join(path)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def bash(top: Page) -> str:
    """Return the completion for bash; needs nothing but bash itself."""
    paths = " ".join(_quoted(_key(one.path)) for one in walk(top) if one.path)
    words, values = [], []
    for one in walk(top):
        names = [inner.path[-1] for inner in one.commands]
        names += [value for argument in one.arguments for value in argument.values]
        options = [name for option in one.options for name in option.names]
        words.append(f"    {_quoted(_key(one.path))}) words={_quoted(' '.join(names))}; "
                     f"options={_quoted(' '.join(options))} ;;")
        for option in one.options:
            if option.metavar:
                spelled = "|".join(_quoted(f"{_key(one.path)} {name}".strip()) for name in option.names)
                values.append(f"    {spelled}) takes=1; words={_quoted(' '.join(option.values))} ;;")
    return BASH.format(paths=paths, words="\n".join(words), values="\n".join(values))


BASH = """\
# Completion of engram for bash. Made by `make docs`; do not edit.
_engram() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev='' path='' words='' options='' takes='' word at known
  (( COMP_CWORD > 0 )) && prev=${{COMP_WORDS[COMP_CWORD-1]}}
  local -a paths=({paths})
  for (( at = 1; at < COMP_CWORD; at++ )); do
    word="${{path:+$path }}${{COMP_WORDS[at]}}"
    for known in "${{paths[@]}}"; do
      [[ $known == "$word" ]] && path=$word && break
    done
  done
  case "${{path:+$path }}$prev" in
{values}
  esac
  if [[ -z $takes ]]; then
    case "$path" in
{words}
    esac
    [[ $cur == -* ]] && words=$options
  fi
  COMPREPLY=()
  while IFS= read -r word; do
    [[ -n $word ]] && COMPREPLY+=("$word")
  done < <(compgen -W "$words" -- "$cur")
}}
complete -o bashdefault -o default -F _engram engram
"""


def zsh(top: Page) -> str:
    """Return the completion for zsh."""
    paths = " ".join(_quoted(_key(one.path)) for one in walk(top) if one.path)
    cases, values = [], []
    for one in walk(top):
        names = [_described(inner.path[-1], inner.short) for inner in one.commands]
        names += [_described(value, "") for argument in one.arguments for value in argument.values]
        options = [_described(name, option.help) for option in one.options for name in option.names]
        cases.append(f"    {_quoted(_key(one.path))})\n      words_=({' '.join(names)})\n"
                     f"      options_=({' '.join(options)}) ;;")
        for option in one.options:
            if option.metavar:
                spelled = "|".join(_quoted(f"{_key(one.path)} {name}".strip()) for name in option.names)
                values.append(f"    {spelled}) takes=1; words_=({' '.join(_quoted(v) for v in option.values)}) ;;")
    return ZSH.format(paths=paths, cases="\n".join(cases), values="\n".join(values))


def _described(name: str, text: str) -> str:
    said = " ".join(text.replace("[", "(").replace("]", ")").split())
    return _quoted(name.replace(":", "\\:") + (f":{said}" if said else ""))


ZSH = """\
#compdef engram
# Completion of engram for zsh. Made by `make docs`; do not edit.
_engram() {{
  local path_='' word known takes=''
  local -i at
  local -a words_ options_ paths_
  paths_=({paths})
  for (( at = 2; at < CURRENT; at++ )); do
    word="${{path_:+$path_ }}${{words[at]}}"
    (( ${{paths_[(Ie)$word]}} )) && path_=$word
  done
  case "${{path_:+$path_ }}${{words[CURRENT-1]}}" in
{values}
  esac
  if [[ -z $takes ]]; then
    case "$path_" in
{cases}
    esac
    [[ ${{words[CURRENT]}} == -* ]] && words_=("${{options_[@]}}")
  fi
  if (( $#words_ )); then
    _describe 'engram' words_
  else
    _files
  fi
}}
if [[ ${{funcstack[1]}} == _engram ]]; then
  _engram "$@"
else
  compdef _engram engram
fi
"""


def fish(top: Page) -> str:
    """Return the completion for fish."""
    lines = [FISH.format(paths=" ".join(_quoted(_key(one.path)) for one in walk(top) if one.path))]
    for one in walk(top):
        at = f"__engram_at {_quoted(_key(one.path))}" if one.path else "__engram_at ''"
        for inner in one.commands:
            lines.append(f"complete -c engram -f -n {_fish(at)} -a {_fish(inner.path[-1])} -d {_fish(inner.short)}")
        for argument in one.arguments:
            if argument.values:
                lines.append(f"complete -c engram -f -n {_fish(at)} -a {_fish(' '.join(argument.values))}")
        for option in one.options:
            spelled = " ".join("-l " + name[2:] if name.startswith("--") else "-s " + name[1:] for name in option.names)
            takes = f" -x -a {_fish(' '.join(option.values))}" if option.values else " -r" if option.metavar else ""
            said = _fish(" ".join(option.help.split()))
            lines.append(f"complete -c engram -n {_fish(at)} {spelled}{takes} -d {said}")
    return "\n".join(lines) + "\n"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


FISH = """\
# Completion of engram for fish. Made by `make docs`; do not edit.
function __engram_at
    set -l found ''
    set -l paths {paths}
    for word in (commandline -opc)[2..-1]
        set -l path (string trim -- "$found $word")
        contains -- "$path" $paths; and set found $path
    end
    test "$found" = "$argv[1]"
end"""


# ---- the shipped configuration


def configuration() -> str:
    """Return config/engram.toml: every setting with its default and what it is for."""
    lines = ["# The shipped configuration: every setting with its default. Made by `make docs` from the table in",
             "# engram_core/settings.py. Your own file holds only what it changes: engram config set.",
             "# Every setting but a table can be set by an environment variable, named in brackets."]
    section = ""
    for field in FIELDS:
        table, name = field.key.split(".")
        if table != section:
            section = table
            lines += ["", f"[{table}]"]
        allowed = "" if field.kind in ("text", "name", "bool") and not field.allowed else f"; {field.describe()}"
        if field.kind == "patterns":
            lines += [f"# {field.help}", f"{name} = {{}}"]
            continue
        restart = "; read at the daemon's start" if field.key in AT_START else ""
        lines += _wrapped(f"{field.help}{allowed}{restart} [{field.env}]")
        lines.append(f"{name} = {_literal(field.default)}")
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 108, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def generated() -> Generated:
    """Return every generated file by its path below the repository."""
    top = pages()
    return {**man_pages(top), "completions/engram.bash": bash(top), "completions/_engram": zsh(top),
            "completions/engram.fish": fish(top), "config/engram.toml": configuration()}


def main() -> None:
    """Write the files, and remove pages of commands that are no more."""
    found = generated()
    for path, text in found.items():
        target = ROOT / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for stale in (ROOT / "man").glob("*.1"):
        if f"man/{stale.name}" not in found:
            stale.unlink()
    print(f"wrote {len(found)} files: man/, completions/, config/engram.toml")


if __name__ == "__main__":
    main()
