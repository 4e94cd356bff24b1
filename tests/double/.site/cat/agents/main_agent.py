import time
from typing import Any

from cat.agents import AgentOutput
from cat.agents.memory_agent import MemoryAgent
from cat.agents.procedures_agent import ProceduresAgent
from cat.agents.prompts import PREFIX, SUFFIX
from cat.utils import BaseModelDict


class MainAgent:
    def execute(self, cat: Any) -> AgentOutput:
        memory = cat.working_memory
        call = cat.mad_hatter.execute_hook
        memory.agent_input = call("before_agent_starts", _agent_input(memory), cat=cat)
        fast = call("agent_fast_reply", {}, cat=cat)
        if isinstance(fast, AgentOutput):
            return fast
        if isinstance(fast, dict) and "output" in fast:
            return AgentOutput(**fast)
        prefix = call("agent_prompt_prefix", PREFIX, cat=cat)
        suffix = call("agent_prompt_suffix", SUFFIX, cat=cat)
        used = ProceduresAgent().execute(cat)
        if used.return_direct:
            return used
        said = MemoryAgent().execute(cat, prefix, suffix)
        said.intermediate_steps += used.intermediate_steps
        return said


def _agent_input(memory: Any) -> BaseModelDict:
    said = [
        f"{document.page_content} ({(time.time() - document.metadata['when']) // 60:.0f} minutes ago)"
        for document, *_ in memory.episodic_memories
    ]
    return BaseModelDict(
        episodic_memory=_listed("## Context of things the Human said in the past: ", said),
        declarative_memory="",
        tools_output="",
        input=memory.user_message_json.text,
        chat_history=memory.stringify_chat_history(),
    )


def _listed(heading: str, texts: list[str]) -> str:
    return "\n  - ".join([heading, *(text.replace("\n", ". ") for text in texts)]) if texts else ""
