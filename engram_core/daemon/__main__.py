"""Start a daemon for a client that found none: leave the client's session behind, then run.

Executed by path with the client's interpreter; everything but stderr, the pipe to the client, is closed first.
"""

import os
import sys


def main(args: list[str]) -> int:
    """Detach and serve; ``args`` are pairs of an option and its value."""
    if os.fork():
        os._exit(0)  # the client waits for this one; the daemon's parent is init from here on
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") > 0 else 65536)
    os.chdir("/")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if root not in sys.path:
        sys.path.insert(0, root)
    from engram_core.daemon.process import run

    options = dict(zip(args[::2], args[1::2], strict=True))
    return run(socket=options.get("--socket"), database=options.get("--database"),
               config=options.get("--config"), detached=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
