"""The usage of a run, also where the LLM has not reported it."""

from ..domain.conversation import Conversation, Functions
from ..domain.usage import Usage, total_usage
from ..hosts.port import Run
from ..runtime import runtime
from ..tokens.counting import count_prompt_tokens, count_tokens
from ..wire.json import encode
from .reply import Reply


async def count_usage(run: Run, reply: Reply) -> Usage:
    """Count tokens, for an LLM that reports no usage or was stopped before its report. Images are not counted."""
    calls = [text for call in reply.calls() for text in (call.name, call.arguments)]
    prompt = await count_prompt_tokens(prompt_texts(run.conversation, run.functions), runtime.vocabulary)
    completion = await count_tokens([reply.text(), reply.refusal(), *calls], runtime.vocabulary)
    return Usage(prompt, completion, prompt + completion)


async def usage_of_closed(run: Run, reply: Reply) -> Usage | None:
    """The usage of a closed reply, which may have failed or lost its client; None if nothing has reached the LLM.

    A call of the LLM that was ended from outside has reported nothing, so it is counted. A call that the LLM or its
    provider has refused is not: nothing was used.
    """
    if not reply.has_begun:
        return None
    if reply.finish_reason is not None:
        return reply.end.usage or await count_usage(run, reply)
    before = total_usage([usage for usage in run.usages if usage is not None])
    if reply.has_llm_failed and reply.first_delta_at is None:
        return before
    counted = await count_usage(run, reply)
    return before + counted if before else counted


def prompt_texts(conversation: Conversation, functions: Functions | None) -> list[str]:
    """One text for each message, and one for the client's functions."""
    turns = ("".join([turn.text, *(call.name + call.arguments for call in turn.calls)]) for turn in conversation.turns)
    tools = [encode([*functions.tools.values()]).decode()] if functions else []
    return [*conversation.instructions, *turns, *tools]
