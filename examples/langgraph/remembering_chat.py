"""A chat agent that remembers across threads, and says why it knew.

    python examples/langgraph/remembering_chat.py [DATABASE]

Each line of standard input is a thread of its own: what is known in the second comes from the memory alone.
"""

import sys

from langchain.agents import create_agent
from stand_in import model

from engram import Memory
from engram.adapters.langchain import EngramMiddleware
from engram.adapters.langgraph import EngramSaver


def answer(messages):
    """Repeat the first quote that the memory brought along beside the user's question, if any."""
    quotes = [line for line in messages[-1].text.splitlines() if "**user**: " in line]
    asked = messages[-1].text.endswith("?")
    return f"You said: {quotes[0].partition('**user**: ')[2]}" if quotes and asked else "Tell me more."


with Memory(sys.argv[1] if len(sys.argv) > 1 else "chat.db") as memory:
    agent = create_agent(model(answer), system_prompt="Be brief.", middleware=[EngramMiddleware(memory)],
                         checkpointer=EngramSaver(memory))
    ids = {"user_id": "ada", "agent_id": "chat"}
    for number, line in enumerate(sys.stdin):
        thread = f"thread-{number}"
        found = agent.invoke({"messages": [("user", line.strip())]}, {"configurable": {"thread_id": thread}},
                             context=ids)
        print(found["messages"][-1].text)
        account = memory.explain({**ids, "session_id": thread, "run_id": "main"})  # of the packet that was just shown
        for row in account["candidates"]:
            if row["outcome"] == "kept":
                print(f"  because of {row['text']!r}: it has {', '.join(row['matched'])}, score {row['score']:.2f}")
