"""A graph that asks a person before it books, is ended, and goes on in another process.

    python examples/langgraph/approval.py DATABASE start "two seats to Lyon"
    python examples/langgraph/approval.py DATABASE resume yes
    python examples/langgraph/approval.py DATABASE history
"""

import sys
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from engram.adapters.langgraph import EngramSaver


class Trip(TypedDict, total=False):
    """What the graph knows of a trip."""

    wish: str
    offer: str
    booked: bool


def look_up(trip):
    """Find an offer."""
    return {"offer": f"{trip['wish']}, 08:50, 42 EUR"}


def ask(trip):
    """Stop here until a person has answered; nothing runs meanwhile, and nothing is lost."""
    return {"booked": interrupt(f"Book {trip['offer']}?") == "yes"}


def report(trip):
    """Say what came of it."""
    return {"offer": f"{trip['offer']}: {'booked' if trip['booked'] else 'not booked'}"}


builder = StateGraph(Trip)
for name, step, after in (("look_up", look_up, START), ("ask", ask, "look_up"), ("report", report, "ask")):
    builder.add_node(name, step)
    builder.add_edge(after, name)
builder.add_edge("report", END)

database, what = sys.argv[1:3]
with EngramSaver(database) as saver:
    graph = builder.compile(checkpointer=saver)
    thread = {"configurable": {"thread_id": "trip"}}
    if what == "start":
        print(graph.invoke({"wish": sys.argv[3]}, thread)["__interrupt__"][0].value)
    elif what == "resume":
        print(graph.invoke(Command(resume=sys.argv[3]), thread)["offer"])
    else:
        for state in graph.get_state_history(thread):
            print(state.metadata["step"], state.next or "done", state.values)
