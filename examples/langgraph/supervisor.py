"""A supervisor with two agents that share the facts of their tenant, each with its own users' memories beside them.

    python examples/langgraph/supervisor.py [DATABASE]
"""

import sys

from langchain.agents import create_agent
from langgraph.graph import END, START, MessagesState, StateGraph
from stand_in import calls, model

from engram import Memory
from engram.adapters.langchain import EngramMiddleware
from engram.adapters.langgraph import EngramSaver


def travel(messages):
    """Remember what the house rule is, in the way of every agent of the tenant."""
    return calls("remember", key="traveller", value="Ada") if messages[-1].type == "human" else "Ada travels on Friday."


def billing(messages):
    """Quote the rule, which this agent was never told."""
    system = next((one.text for one in messages if one.type == "system"), "")
    rules = [line for line in system.splitlines() if "travel.rule" in line]
    return f"By our rule: {rules[0].partition(': ')[2]}" if rules else "I know of no rule."


with Memory(sys.argv[1] if len(sys.argv) > 1 else "supervisor.db") as memory:
    everyone = {"tenant_id": "acme", "user_id": "office", "agent_id": "admin", "session_id": "setup", "run_id": "main"}
    memory.upsert_fact(everyone, {"fact_key": "travel.rule", "value": "second class, booked a week ahead",
                                  "scope_level": "tenant"})
    agents = {name: create_agent(model(answer), name=name, middleware=[EngramMiddleware(
        memory, scope={"tenant_id": "acme", "agent_id": name}, tools=name == "travel")])
        for name, answer in (("travel", travel), ("billing", billing))}

    def choose(state):
        """Send the question to the agent it is for."""
        return "billing" if "rule" in state["messages"][-1].text else "travel"

    builder = StateGraph(MessagesState)
    for name, agent in agents.items():
        builder.add_node(name, agent)
        builder.add_edge(name, END)
    builder.add_conditional_edges(START, choose, [*agents])
    graph = builder.compile(checkpointer=EngramSaver(memory))
    for question in ("Who travels on Friday?", "What is the rule for my ticket?"):
        found = graph.invoke({"messages": [("user", question)]}, {"configurable": {
            "thread_id": "t1", "user_id": "ada"}})
        print(found["messages"][-1].text)
    for name in agents:
        facts = memory.list_facts({**everyone, "user_id": "ada", "agent_id": name})
        print(name, "knows", sorted(fact["fact_key"] for fact in facts))
