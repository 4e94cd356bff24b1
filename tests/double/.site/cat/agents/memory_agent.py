from typing import Any

from langchain_core.output_parsers import StrOutputParser

from cat.agents import AgentOutput
from cat.agents.prompts import conversation
from cat.looking_glass.callbacks import NewTokenHandler


class MemoryAgent:
    """Asks the main prompt."""

    def execute(self, cat: Any, prompt_prefix: str, prompt_suffix: str) -> AgentOutput:
        variables = cat.working_memory.agent_input.model_dump()
        prompt, known = conversation(cat, prompt_prefix + prompt_suffix, variables)
        chain = prompt | cat._llm | StrOutputParser()
        return AgentOutput(output=chain.invoke(known, {"callbacks": [NewTokenHandler(cat)]}))
