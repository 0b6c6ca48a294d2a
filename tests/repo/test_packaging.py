"""Checks how Engram is built: one version, one clear line without a compiler, every kernel module."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import engram_core
from engram_core import shipped

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "engram_core/kernel/backend/engram_build.py"


def project() -> dict[str, object]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def build(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BUILD), *arguments], capture_output=True, text=True, env=os.environ | environment
    )


def test_the_version_is_a_version_and_said_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", engram_core.__version__)
    modules = (ROOT / "engram_core").glob("*.py")
    said = [path.name for path in modules if re.search("^__version__ =", path.read_text(), re.MULTILINE)]
    assert said == ["_version.py"]
    assert project()["dynamic"] == ["version", "scripts"]


def test_the_changelog_knows_the_version() -> None:
    assert f"[{engram_core.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_asking_for_the_version_loads_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import engram_core.shipped; engram_core.__version__;"
        "print(sorted(set(sys.modules) - before - {'__future__'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = done.stdout.strip()
    assert loaded == "['engram_core', 'engram_core._version', 'engram_core.shipped']"


def test_shipped_files_are_there_in_a_checkout() -> None:
    assert Path(shipped.path("systemd", "user", "engram.service")).is_file()


@pytest.mark.parametrize(("name", "value"), [("PATH", ""), ("CC", "no-such-compiler")])
def test_a_missing_compiler_is_one_clear_line(name: str, value: str) -> None:
    done = build("check", **{name: value})
    assert done.returncode != 0
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("engram: no C compiler found")
    assert "apt-get install gcc python3-dev" in done.stderr


def test_with_a_compiler_the_check_is_silent() -> None:
    done = build("check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_kernel_module_is_compiled_and_has_a_stub() -> None:
    sources = sorted((ROOT / "engram_core/kernel").glob("*.pyx"))
    assert sources
    for source in sources:
        assert source.with_suffix(".pyi").exists(), f"{source.name} has no .pyi"
        found = importlib.util.find_spec(f"engram_core.kernel.{source.stem}")
        assert found and str(found.origin).endswith(".so"), f"{source.name} is not compiled: make kernel"


def test_the_build_takes_every_kernel_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(BUILD.parent))
    arguments = pytest.importorskip("engram_build", reason="needs setuptools").setup_arguments()
    built = {extension.name for extension in arguments["ext_modules"]}
    sources = (ROOT / "engram_core/kernel").glob("*.pyx")
    assert built == {f"engram_core.kernel.{source.stem}" for source in sources}
    assert all("-O3" in extension.extra_compile_args for extension in arguments["ext_modules"])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tree without the compiled modules, for what writes into the tree it builds."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip(f"setuptools {setuptools.__version__} is older than the build needs")
    ignore = shutil.ignore_patterns(".venv*", ".git", "build", "dist", "tests", "*.so", "*.egg-info")
    return Path(shutil.copytree(ROOT, tmp_path / "copy", ignore=ignore))


def backend(code: str, tree: Path) -> str:
    """Run code in a tree with its build backend imported, and return the last line it printed."""
    code = f"import sys; sys.path.insert(0, 'engram_core/kernel/backend'); import engram_build, setuptools; {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tree)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_metadata_is_what_pyproject_says(tmp_path: Path, copy: Path) -> None:
    """Ask the backend as an installer would."""
    folder = tmp_path / backend(f"print(engram_build.prepare_metadata_for_build_wheel({str(tmp_path)!r}))", copy)
    metadata = (folder / "METADATA").read_text()
    assert f"\nVersion: {engram_core.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    # An installer would write a wrapper of its own in place of our script.
    assert not (folder / "entry_points.txt").exists()


def test_the_program_is_ours_and_gets_its_interpreter_from_the_installer(tmp_path: Path, copy: Path) -> None:
    """Also in an editable install, for which setuptools would write down the one that happens to build."""
    (copy / "build/scripts").mkdir(parents=True)
    stale = copy / "build/scripts/engram"
    stale.write_text("#!/gone/bin/python\n")
    arguments = "script_args=['build_scripts', '--build-dir', 'build/scripts'], **engram_build.setup_arguments()"
    backend(f"setuptools.setup({arguments}); print('built')", copy)
    first, *lines = stale.read_text().splitlines()
    assert first == "#!python"
    program = tmp_path / "engram"
    program.write_text("\n".join([f"#!{sys.executable}", *lines]))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(program), "version"], capture_output=True, text=True, env=environment)
    assert (done.returncode, engram_core.__version__ in done.stdout) == (0, True), done.stderr


def test_the_daemon_asks_for_every_kernel_module() -> None:
    from engram_core.daemon.handlers import KERNEL, kernel_facts

    assert sorted(KERNEL) == sorted(path.stem for path in (ROOT / "engram_core/kernel").glob("*.pyx"))
    assert kernel_facts()["compiled"] is True
