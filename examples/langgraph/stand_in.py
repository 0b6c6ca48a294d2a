"""A stand-in for a model, so that the examples run without a key and without a network.

With MODEL set, such as MODEL=openai:gpt-5-mini, `model` gives that one instead (install its package and set its key).
"""

import os

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class StandIn(BaseChatModel):
    """Answer by a function of the messages."""

    answer: object

    @property
    def _llm_type(self):
        return "stand-in"

    def bind_tools(self, tools, **named):
        """Take the tools; the answers say themselves which they call."""
        return self

    def _generate(self, messages, stop=None, run_manager=None, **named):
        said = self.answer(messages)
        message = said if isinstance(said, AIMessage) else AIMessage(said)
        return ChatResult(generations=[ChatGeneration(message=message)])


def model(answer):
    """Return the model that MODEL names, else one that answers by a function."""
    if os.environ.get("MODEL"):
        from langchain.chat_models import init_chat_model

        return init_chat_model(os.environ["MODEL"])
    return StandIn(answer=answer)


def calls(tool, **args):
    """Return an answer that calls a tool."""
    return AIMessage("", tool_calls=[{"name": tool, "args": args, "id": f"call_{tool}", "type": "tool_call"}])
