"""End a run. Driven by main."""

from __future__ import annotations

from engram_cli.call import Call
from engram_cli.options import command, family

app = family("run", "End a run.")


@command(app, "end", example="engram run end --session s1 --run nightly")
def end(call: Call) -> None:
    """End this run: insights that were to last until its end expire; everything else stays."""
    reply = call.ask("end_run")
    if call.out.json or call.out.ndjson:
        call.out.document("run-end", reply)
    else:
        call.out.line(f"expired insights: {reply['expired_insights']}")
