"""A model that says what it was told to, for agents in tests and examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr


class Scripted(BaseChatModel):
    """Answer with the next of ``replies``, or with what ``reply`` makes of the messages; remember what was asked."""

    replies: Sequence[Any] = ()
    reply: Callable[[list[BaseMessage]], Any] | None = None
    _asked: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @property
    def asked(self) -> list[list[BaseMessage]]:
        """The messages of every call."""
        return self._asked

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **named: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None,
                  **named: Any) -> ChatResult:
        self._asked.append(list(messages))
        said = self.reply(messages) if self.reply is not None else self.replies[len(self._asked) - 1]
        if isinstance(said, Exception):
            raise said
        message = said if isinstance(said, AIMessage) else AIMessage(said)
        return ChatResult(generations=[ChatGeneration(message=message)])


def calling(name: str, call: str, /, **args: Any) -> AIMessage:
    """Return a reply that calls a tool."""
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": call, "type": "tool_call"}])
