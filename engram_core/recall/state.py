"""What the run and the session bring to a packet by themselves: working state, summary, quotes, loops, evidence.

Made once for a revision of the owner and a purpose, and remembered with the owner's index. Driven by gather.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.recall.forms import summary_cut, working_state_forms
from engram_core.recall.index import OwnerIndex, fold_number
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.recall.gather import Question
    from engram_core.store.reads import Reads

_REMEMBERED = 64


class Part(NamedTuple):
    """One part of the state; ``place`` orders the parts of a kind, ``fold`` tells equal quotes."""

    kind: str
    section: str
    array: str
    id: str
    forms: list[tuple[str, str]]
    place: int
    reason: str
    fold: int = 0


def state_parts(question: Question, index: OwnerIndex, reads: Reads) -> tuple[dict[str, Any], list[Part]]:
    """Return the working state and all parts of the state for the question's run, session and purpose."""
    key = (question.scope.session_id, question.scope.run_id, question.request.purpose, question.policy.digest)
    known = index.states.get(key)
    if known is not None and known[0] == index.revision:
        return known[1], known[2]
    scope = question.scope
    state_json, stm_json = index.state(scope, reads)
    state = json.loads(state_json) if state_json else {}
    stm = json.loads(stm_json) if stm_json else {}
    parts = [*_working_state(question, state), *_summary(question, stm), *_lists(question, state, stm)]
    if len(index.states) >= _REMEMBERED:
        index.states.clear()
    index.states[key] = (index.revision, state, parts)
    return state, parts


def _working_state(question: Question, state: dict[str, Any]) -> list[Part]:
    if not state:
        return []
    purpose = question.purpose
    whole: dict[str, Any] = {str(name): value for name, value in state.items() if name in purpose.state and value}
    for name in purpose.state_short if purpose.state_items else ():
        if state.get(name) and name not in whole:
            entries = state[name]
            whole[str(name)] = entries[: purpose.state_items] if name == "plan" else entries[-purpose.state_items:]
    if not whole and not state.get("state_version"):
        return []
    whole["state_version"] = state.get("state_version", 0)
    forms = [("full", whole), *working_state_forms(whole).items()]
    lines = [(name, dump_json({key: dump_json(one) for key, one in form.items() if one or key == "state_version"}))
             for name, form in forms]
    return [Part("working_state", "working_state", "working_state", question.scope.run_id, lines, -2, "")]


def _summary(question: Question, stm: dict[str, Any]) -> list[Part]:
    summary = stm.get("rolling_summary", "")
    if not summary:
        return []
    lines = [("full", dump_json(summary))]
    for part in (3, 2, 1):
        cut = summary_cut(summary, len(summary) // 4 * part // 4, lambda text: len(text) // 4)
        if cut and cut != summary and ("cut", dump_json(cut)) not in lines:
            lines.append(("cut", dump_json(cut)))
    return [Part("rolling_summary", "rolling_summary", "rolling_summary", question.scope.session_id, lines, -1, "")]


def _lists(question: Question, state: dict[str, Any], stm: dict[str, Any]) -> list[Part]:
    policy = question.policy
    parts: list[Part] = []
    seen: set[int] = set()
    for one in stm.get("key_quotes", ()):
        folded = fold_number(one["quote"])
        reason = "duplicate" if folded in seen else "max_key_quotes" if len(seen) >= policy.max_key_quotes else ""
        seen.add(folded)
        parts.append(Part("quote", "key_quotes", "key_quotes", one["evidence_id"], [("full", dump_json(one))],
                          len(parts), reason, folded))
    parts += [Part("open_loop", "open_loops", "open_loops", f"open_loop:{at}", [("full", dump_json(loop))], at, "")
              for at, loop in enumerate(state.get("open_loops", ()))]
    limit = policy.last_tool_evidence_limit
    parts += [Part("tool_evidence", "last_tool_evidence", "last_tool_evidence", one["evidence_id"],
                   [("full", dump_json(one))], at, "last_tool_evidence_limit" if at >= limit else "")
              for at, one in enumerate(reversed(state.get("tool_evidence", ())))]
    return parts
