"""The files of the repository, for the tests that look at all of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

_MADE = {"build", "dist", "__pycache__", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}


def files() -> list[Path]:
    """Return every file that is or will be committed; without git, as in an sdist, all that was not built."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        found = (ROOT / name for name in listed.stdout.split("\0") if name)
        return sorted(path for path in found if path.is_file())
    return sorted(_walk())


def _walk() -> list[Path]:
    found: list[Path] = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _MADE and not name.startswith(".venv")]
        found += [Path(folder, name) for name in names if not name.endswith((".so", ".pyc"))]
    return found


def text(path: Path) -> str | None:
    """Return a file's text, None for one that has none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
