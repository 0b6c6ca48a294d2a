"""Run the benches one after the other and print the JSON of each.

    python benchmarks [NAME…] [OPTION…]      such as: startup append, or packet --runs 3

Without names all of ``bench_*.py`` run, in alphabetical order; options go to each bench that runs. A bench that misses
a goal ends with 1 and does not stop the others; this program then ends with 1 too and names it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def scripts(names: list[str]) -> list[Path]:
    """Return the scripts of some names, which may also be given as paths; all of them for none."""
    known = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}
    wanted = [Path(name).name.removesuffix(".py").removeprefix("bench_") for name in names]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"there is no bench {', '.join(unknown)}; known are {', '.join(known)}")
    return [known[name] for name in wanted] or list(known.values())


def main(arguments: list[str]) -> int:
    """Run what is asked for and return 1 when any of it failed."""
    first = next((at for at, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    names, options = arguments[:first], arguments[first:]
    if {"-h", "--help"} & set(options) and not names:
        print(__doc__.strip())
        return 0
    failed = []
    for script in scripts(names):
        print(f"# {script.stem}", file=sys.stderr, flush=True)
        if subprocess.run([sys.executable, str(script), *options], check=False).returncode:
            failed.append(script.stem)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
