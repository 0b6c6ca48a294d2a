"""Installs a wheel where there is no compiler, network or checkout, and uses it there as a person would.

Run by ``.ci/run``; ``--only`` runs some of the checks by name. Dependencies are fetched into a wheelhouse
first; from then on pip has no index, PATH has no compiler, and where the system allows it the network is cut.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

COMPILER = re.compile(r"(^|-)(cc|gcc|g\+\+|c\+\+|c89|c99|clang|clang\+\+|tcc|cpp|as|ld|ld\.\w+)(-[\d.]+)?$")

IN_WHEEL = [
    r"engram/__init__\.py",
    r"engram/py\.typed",
    r"engram_core/py\.typed",
    r"engram_core/_config/engram\.toml",
    r"engram_core/_config/policies/\w+\.toml",
    r"engram_core/_config/systemd/user/engram\.service",
    r"engram_core/_config/systemd/system/engram@\.service",
    r"engram_core/vocab/o200k_base\.\w+",
    r"engram_core/vocab/cl100k_base\.\w+",
    r"engram_core/kernel/\w+\.cpython-\w+-[\w-]+\.so",
    r"engram-[\d.]+\.data/scripts/engram",
    r"engram-[\d.]+\.data/data/share/man/man1/engram\.1",
    r"engram-[\d.]+\.data/data/share/bash-completion/completions/engram",
    r"engram-[\d.]+\.data/data/share/zsh/site-functions/_engram",
    r"engram-[\d.]+\.data/data/share/fish/vendor_completions\.d/engram\.fish",
    r"engram-[\d.]+\.data/data/share/engram/systemd/user/engram\.socket",
    r"engram-[\d.]+\.dist-info/licenses/LICENSE",
]
NOT_IN_WHEEL = [r"tests/", r"\.pyx?c$", r"engram_core/kernel/\w+\.c$", r"engram_build\.py", r"benchmarks/"]

# What a person has typed once the shell's completion is set up; {share} is the venv's own.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {share}/bash-completion/completions/engram"),
    "zsh": (
        ["zsh", "-f", "-i"],
        "unsetopt zle_bracketed_paste; bindkey -e; fpath=({share}/zsh/site-functions $fpath); "
        "autoload -Uz compinit; compinit -u -d $HOME/zcompdump",
    ),
    "fish": (["fish", "--private", "--interactive"], "set -g fish_autosuggestion_enabled 0"),
}


class CheckFailed(Exception):
    """What a check found, for the one line that reports it."""


class Site:
    """A fresh venv in a fresh home, with the wheel installed and nothing else at hand."""

    def __init__(self, root: Path, wheel: Path, python: str) -> None:
        self.root, self.wheel, self.python = root, wheel, python
        self.venv, self.home, self.tools = root / "venv", root / "home", root / "tools"
        self.engram = str(self.venv / "bin/engram")
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{self.venv / 'bin'}:{self.tools}",
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "XDG_DATA_DIRS": str(self.venv / "share"),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm",
            "PIP_NO_INDEX": "1",
        }
        self.cut: list[str] = []

    def prepare(self) -> None:
        """Fetch the dependencies, then leave the compiler and the network behind."""
        house = self.root / "wheelhouse"
        download = [self.python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*download, "--only-binary", ":all:", "--dest", house, str(self.wheel)], check=True)
        subprocess.run([self.python, "-m", "venv", str(self.venv)], check=True)
        (self.home / "run").mkdir(parents=True, mode=0o700)
        self._link_tools()
        unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
        self.cut = unshare if subprocess.run([*unshare, "true"], capture_output=True).returncode == 0 else []
        print("network: " + ("cut" if self.cut else "there, as unshare is not permitted; pip has no index"))
        pip = [str(self.venv / "bin/pip"), "install", "--quiet", "--no-index", "--find-links", str(house)]
        self.run(*pip, str(self.wheel))

    def _link_tools(self) -> None:
        self.tools.mkdir()
        for folder in ("/bin", "/usr/bin"):
            for entry in os.scandir(folder):
                link = self.tools / entry.name
                if not COMPILER.search(entry.name) and not link.is_symlink():
                    link.symlink_to(entry.path)

    def run(self, *command: str, stdin: str | None = None, **environment: str) -> str:
        """Run a command as the person would; a failure shows what it said."""
        done = subprocess.run(
            [*self.cut, *command],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.home,
            env=self.environment | environment,
        )
        if done.returncode:
            raise CheckFailed(f"{' '.join(command)} ended {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Stop, in the end, the daemon that the first command started by itself."""
        try:
            yield
        finally:
            stop = [self.engram, "daemon", "stop"]
            subprocess.run(stop, cwd=self.home, env=self.environment, capture_output=True)


def expect(truth: object, message: str) -> None:
    """Fail with the message unless the claim is true."""
    if not truth:
        raise CheckFailed(message)


def check_contents(site: Site) -> None:
    """The wheel carries all it needs and nothing of the workshop."""
    names = zipfile.ZipFile(site.wheel).namelist()
    for wanted in IN_WHEEL:
        expect(any(re.fullmatch(wanted, name) for name in names), f"{site.wheel.name} has no {wanted}")
    for unwanted in NOT_IN_WHEEL:
        found = [name for name in names if re.search(unwanted, name)]
        expect(not found, f"{site.wheel.name} has {found[:3]}")


def check_installed(site: Site) -> None:
    """No compiler is at hand, the code is the wheel's, and the kernel is the compiled one."""
    path = site.environment["PATH"]
    for compiler in ("cc", "gcc", "clang", "c99", "as", "ld"):
        expect(shutil.which(compiler, path=path) is None, f"{compiler} is still on PATH")
    where = site.run(str(site.venv / "bin/python"), "-c", "import engram; print(engram.__file__)")
    expect(where.startswith(str(site.venv)), f"engram comes from {where}")
    shown = json.loads(site.run(site.engram, "version", "--json"))
    expect(shown.get("kernel_compiled") is True, f"version does not say the kernel is compiled: {shown}")


def check_append(site: Site) -> None:
    """A first append in an empty home starts the daemon and prints the id."""
    printed = site.run(site.engram, "append", "Maya moved to Lisbon in March.").strip()
    expect(printed and "\n" not in printed, f"append printed {printed!r}")
    line = json.dumps({"payload": {"role": "user", "content": "It rains here."}})
    results = site.run(site.engram, "append", "--stdin-ndjson", stdin=line + "\n")
    expect(results.count("\n") == 1, f"append --stdin-ndjson printed {results!r} for one line")


def check_packet(site: Site) -> None:
    """A packet holds what was appended."""
    packet = site.run(site.engram, "packet", "--purpose", "responder", "--query", "Where does Maya live?")
    expect("Lisbon" in packet, f"the packet lacks the appended event: {packet[:400]}")


def check_explain(site: Site) -> None:
    """An explanation names its purpose, as text and as JSON."""
    expect("responder" in site.run(site.engram, "explain"), "explain does not name the purpose")
    expect(json.loads(site.run(site.engram, "explain", "--json")), "explain --json is empty")


def check_man(site: Site) -> None:
    """The installed page is a page, and man finds nothing to warn about."""
    page = site.venv / "share/man/man1/engram.1"
    shown = site.run("man", "--warnings", "-l", str(page), MANPAGER="cat", MANWIDTH="80")
    expect("NAME" in shown and "engram" in shown, f"man shows {shown[:200]!r}")


def check_bash(site: Site) -> None:
    """``engram pa<TAB>`` in bash."""
    completed(site, "bash")


def check_zsh(site: Site) -> None:
    """``engram pa<TAB>`` in zsh."""
    completed(site, "zsh")


def check_fish(site: Site) -> None:
    """``engram pa<TAB>`` in fish."""
    completed(site, "fish")


def completed(site: Site, shell: str) -> None:
    """Type ``engram pa<TAB>`` into a real shell, then let it write down the line it made of that."""
    command, setup = SHELLS[shell]
    written = site.home / f"{shell}.line"
    with Terminal(site, command) as person:
        person.types("")
        person.types(setup.format(share=site.venv / "share") + "\r")
        person.types("engram pa\t")
        person.types(f"\x01echo \x05> {written}\r")  # \x01 goes to the start of the line, \x05 to its end
        person.types("exit\r")
    line = written.read_text().strip() if written.exists() else "(nothing)"
    said = person.saw[-600:]
    expect(line == "engram packet", f"{shell} made {line!r} of 'engram pa<TAB>'; it said {said!r}")


class Terminal:
    """A command on a pseudo-terminal, and someone who waits for the screen to be still before typing on."""

    def __init__(self, site: Site, command: list[str]) -> None:
        self.saw = ""
        self.child, self.screen = pty.fork()
        if self.child == 0:
            os.chdir(site.home)
            os.execvpe(command[0], command, site.environment | {"PS1": "$ "})

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.screen)  # hangs up: a shell that is still there ends
        os.waitpid(self.child, 0)

    def types(self, text: str, *, still: float = 1.0, most: float = 15.0) -> None:
        """Type, and look until nothing has changed for a while."""
        os.write(self.screen, text.encode())
        end = time.monotonic() + most
        while time.monotonic() < end and select.select([self.screen], [], [], still)[0]:
            try:
                self.saw += os.read(self.screen, 65536).decode(errors="replace")
            except OSError:  # the shell has gone
                return


CHECKS: dict[str, Callable[[Site], None]] = {
    name.removeprefix("check_"): found for name, found in list(globals().items()) if name.startswith("check_")
}


def check_sdist(sdist: Path) -> None:
    """The source distribution can build and test itself."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ["pyproject.toml", "Makefile", "LICENSE", ".ci/run", "config/engram.toml"]
    wanted += ["engram_core/kernel/backend/engram_build.py", "examples/quickstart.sh"]
    for name in wanted:
        expect(name in names, f"{sdist.name} has no {name}")
    left = [name for name in names if re.search(r"\.so$|\.pyc$|engram_core/kernel/\w+\.c$", name)]
    expect(not left, f"{sdist.name} has built files: {left[:3]}")


def main() -> int:
    """Run the checks in order and report each; the first failure ends the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--sdist", type=Path)
    parser.add_argument("--python", default=sys.executable, help="interpreter the wheel was built for")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), default=list(CHECKS), metavar="CHECK")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="engram-wheel-", ignore_cleanup_errors=True) as folder:
        site = Site(Path(folder), chosen.wheel.resolve(), os.path.abspath(chosen.python))
        name = "sdist"
        try:
            if chosen.sdist:
                check_sdist(chosen.sdist)
                print("ok  sdist", flush=True)
            name = "install"
            site.prepare()
            with site.daemon():
                for name in chosen.only:
                    CHECKS[name](site)
                    print(f"ok  {name}", flush=True)
        except CheckFailed as failure:
            print(f"FAILED  {name}: {failure}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
