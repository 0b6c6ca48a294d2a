"""Builds Engram: the PEP 517 backend that pip and build call, and the in-place build of ``make kernel``.

Setuptools does the work. What is said here and not in pyproject.toml is what must follow from the files:
every ``*.pyx`` of the kernel is an extension, ``config/`` travels inside ``engram_core``, and manual pages,
completions and units are installed under ``share/``. The folder holds this one module, because a backend's
folder is searched first for every top-level import of the build: a kernel module named like one of
setuptools' would hide it.

    python engram_build.py check     say in one line whether this machine can compile the kernel
    python engram_build.py kernel    compile, beside their sources, the kernel modules whose sources changed
"""

from __future__ import annotations

import glob
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from typing import Any

KERNEL = "engram_core/kernel"
COMPILE = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-unused-function"]
INSTALL_HINT = "install gcc or clang (Debian: apt-get install gcc python3-dev)"

# Pattern in the source tree, and the place under sys.prefix: a folder with a final slash, or a new name.
# Manual pages and completions are generated files: a tree that has none yet still builds.
SHARE = [
    ("man/*.1", "share/man/man1/"),
    ("completions/engram.bash", "share/bash-completion/completions/engram"),
    ("completions/_engram", "share/zsh/site-functions/_engram"),
    ("completions/engram.fish", "share/fish/vendor_completions.d/engram.fish"),
    ("config/systemd/user/*", "share/engram/systemd/user/"),
    ("config/systemd/system/*", "share/engram/systemd/system/"),
    ("config/launchd/*", "share/engram/launchd/"),
]


def compiler_problem() -> str | None:
    """Return one line that says why no extension can be compiled here, or None."""
    named = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = shlex.split(named)[0]
    if shutil.which(command) is None:
        return f"engram: no C compiler found ({command} is not on PATH); {INSTALL_HINT}"
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.isfile(header):
        return f"engram: no C headers of Python found ({header} is missing); {INSTALL_HINT}"
    return None


def require_compiler() -> None:
    """End the process with one clear line when the kernel cannot be compiled."""
    problem = compiler_problem()
    if problem:
        raise SystemExit(problem)


def shared_files() -> Iterator[tuple[str, str]]:
    """Yield each file to install under the prefix, with its place there."""
    for pattern, place in SHARE:
        for source in sorted(glob.glob(pattern)):
            yield source, place + os.path.basename(source) if place.endswith("/") else place


def included() -> list[str]:
    """Return the files whose change makes every module stale."""
    return sorted(found for end in ("pxd", "pxi", "h") for found in glob.glob(f"{KERNEL}/*.{end}"))


def setup_arguments() -> dict[str, Any]:
    """Return what setuptools cannot read from pyproject.toml: extensions, shared files, commands."""
    from setuptools import Command, Extension  # first: it puts its own distutils in place
    from setuptools.command.build_ext import build_ext
    from setuptools.command.build_py import build_py

    from distutils.command.build_scripts import build_scripts  # isort: skip
    from distutils.command.install_data import install_data  # isort: skip

    extensions = [
        Extension(
            source.removesuffix(".pyx").replace("/", "."),
            [source],
            include_dirs=[KERNEL],
            depends=included(),
            extra_compile_args=COMPILE,
        )
        for source in sorted(glob.glob(f"{KERNEL}/*.pyx"))
    ]

    class CompileKernel(build_ext):
        """Compile through Cython, the C files out of the source tree."""

        def initialize_options(self) -> None:
            super().initialize_options()
            self.cython_c_in_temp = True

        def run(self) -> None:
            require_compiler()
            super().run()

    class CopyConfig(build_py):
        """Copy ``config/`` into the package as ``_config``; an editable install reads it where it is."""

        def run(self) -> None:
            super().run()
            if self.editable_mode:
                return
            for source, target in self._config_files():
                self.mkpath(os.path.dirname(target))
                self.copy_file(source, target)

        def get_outputs(self, include_bytecode: bool = True) -> list[str]:
            config = [] if self.editable_mode else [target for _, target in self._config_files()]
            return [*super().get_outputs(include_bytecode), *config]

        def _config_files(self) -> list[tuple[str, str]]:
            target = os.path.join(self.build_lib, "engram_core", "_config")
            found = sorted(f for f in glob.glob("config/**", recursive=True) if os.path.isfile(f))
            return [(source, os.path.join(target, os.path.relpath(source, "config"))) for source in found]

    class CopyScripts(build_scripts):
        """Leave ``#!python`` for the installer, as setuptools does for a wheel but not for an editable install.

        The copy below ``build/`` outlives the environment it was made for, so it must not name an interpreter.
        """

        def finalize_options(self) -> None:
            super().finalize_options()
            self.executable = "python"
            self.force = True

    class CopyShared(install_data):
        """Install under the prefix with renaming, which setuptools' own data-files cannot."""

        def run(self) -> None:
            for source, place in shared_files():
                target = os.path.join(self.install_dir, place)
                self.mkpath(os.path.dirname(target))
                self.copy_file(source, target)
                self.outfiles.append(target)

    commands: Mapping[str, type[Command]] = {
        "build_ext": CompileKernel,
        "build_py": CopyConfig,
        "build_scripts": CopyScripts,
        "install_data": CopyShared,
    }
    files = [(os.path.dirname(place), [source]) for source, place in shared_files()]
    return {"ext_modules": extensions, "data_files": files, "cmdclass": dict(commands), **command_line()}


def command_line() -> dict[str, Any]:
    """Return how the command ``engram`` is installed: as a script of our own, or as an entry point.

    The wrapper that pip 23, as it comes with Python 3.11, writes for an entry point imports ``re``, which makes
    `engram append` 1.7 times as slow. But the kernel cannot start a script whose interpreter's path holds white space
    or is long, which an installer works round for entry points only.
    """
    python = sys.executable or ""
    if len(python) > 120 or any(letter.isspace() for letter in python):
        return {"entry_points": {"console_scripts": ["engram = engram_cli._entry:main"]}}
    return {"scripts": ["engram_cli/bin/engram"]}


def kernel_is_fresh() -> bool:
    """Tell whether every compiled module is newer than every source, without loading setuptools or Cython."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    modules = glob.glob(f"{KERNEL}/*.pyx")
    sources = [*modules, *included(), __file__]
    newest = max(os.path.getmtime(source) for source in sources)
    compiled = [module.removesuffix(".pyx") + suffix for module in modules]
    return all(os.path.exists(found) and os.path.getmtime(found) >= newest for found in compiled)


def compile_in_place() -> None:
    """Compile what changed, one builder at a time, and leave the modules beside their sources."""
    import fcntl

    os.makedirs("build", exist_ok=True)
    with open("build/.kernel.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kernel_is_fresh():
            return
        require_compiler()
        from setuptools import Distribution

        arguments = setup_arguments()
        distribution = Distribution({key: arguments[key] for key in ("ext_modules", "cmdclass")})
        command = distribution.get_command_obj("build_ext")
        command.inplace = True  # type: ignore[attr-defined]
        command.ensure_finalized()
        command.run()
        # Modules that were left alone are fresh as well, and their time must say so.
        for extension in arguments["ext_modules"]:
            os.utime(command.get_ext_fullpath(extension.name))  # type: ignore[attr-defined]


def main(arguments: list[str]) -> None:
    """Run one of the two commands of the module's docstring in the source tree this file lies in."""
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
    if arguments == ["check"]:
        require_compiler()
    elif arguments == ["kernel"]:
        compile_in_place()
    else:
        raise SystemExit("usage: engram_build.py check|kernel")


if __name__ == "__main__":
    main(sys.argv[1:])
else:
    from setuptools.build_meta import _BuildMetaBackend

    class Backend(_BuildMetaBackend):
        """Setuptools' backend, with the arguments above in place of a setup.py."""

        def run_setup(self, setup_script: str = "setup.py") -> None:
            """Run setuptools on pyproject.toml and the arguments derived from the files."""
            import setuptools

            setuptools.setup(**setup_arguments())

        def get_requires_for_build_wheel(self, config_settings: Any = None) -> list[str]:
            """Refuse before anything is built when there is no compiler."""
            require_compiler()
            return super().get_requires_for_build_wheel(config_settings)

        def get_requires_for_build_editable(self, config_settings: Any = None) -> list[str]:
            """Refuse before anything is built when there is no compiler."""
            require_compiler()
            return super().get_requires_for_build_editable(config_settings)

        def build_wheel(self, *arguments: Any, **keywords: Any) -> str:
            """Build from nothing: setuptools would pack modules that only an earlier build still has."""
            for left in [*glob.glob("build/lib*"), *glob.glob("build/bdist*")]:
                shutil.rmtree(left, ignore_errors=True)
            return super().build_wheel(*arguments, **keywords)

    backend = Backend()
    build_wheel = backend.build_wheel
    build_sdist = backend.build_sdist
    build_editable = backend.build_editable
    prepare_metadata_for_build_wheel = backend.prepare_metadata_for_build_wheel
    prepare_metadata_for_build_editable = backend.prepare_metadata_for_build_editable
    get_requires_for_build_wheel = backend.get_requires_for_build_wheel
    get_requires_for_build_sdist = backend.get_requires_for_build_sdist
    get_requires_for_build_editable = backend.get_requires_for_build_editable
