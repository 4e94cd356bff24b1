import json
from typing import Any

from langchain_core.output_parsers import StrOutputParser

from cat.agents import AgentOutput
from cat.agents.prompts import TOOL_PROMPT, conversation
from cat.log import log

READ_AS = {"None": "null", "\\_": "_", "\\-": "-"}
"""What small LLMs write, and what it is in JSON."""


class ProceduresAgent:
    """Has the LLM choose among the tools that the message resembles."""

    def execute(self, cat: Any) -> AgentOutput:
        """A failure is logged and nothing more."""
        if not cat.working_memory.procedural_memories:
            return AgentOutput()
        try:
            used = self._use_tool(cat)
        except Exception:
            log.error("Error while executing procedures")
            return AgentOutput()
        if used.intermediate_steps and not used.return_direct:
            said = "".join(f" - {name}: {output}\n" for (name, _), output in used.intermediate_steps)
            cat.working_memory.agent_input.tools_output = "## Context of executed system tools: \n" + said
        return used

    def _use_tool(self, cat: Any) -> AgentOutput:
        call = cat.mad_hatter.execute_hook
        template = call("agent_prompt_instructions", TOOL_PROMPT, cat=cat)
        names = {document.metadata["source"] for document, *_ in cat.working_memory.procedural_memories}
        names = call("agent_allowed_tools", names, cat=cat)
        tools = {tool.name: tool for tool in cat.mad_hatter.procedures if tool.name in names}
        prompt, known = conversation(cat, template, _tools_for_prompt(tools))
        choice = _first_json((prompt | cat._llm | StrOutputParser()).invoke(known))
        tool = tools.get(choice.get("action"))
        if tool is None:
            return AgentOutput(output="")
        tool_input = choice.get("action_input")
        if tool_input and not isinstance(tool_input, str):
            tool_input = json.dumps(tool_input)
        output = tool.run(tool_input, cat=cat)
        steps = [((tool.name, tool_input), output)]
        return AgentOutput(output=output, intermediate_steps=steps, return_direct=tool.return_direct)


def _tools_for_prompt(tools: dict[str, Any]) -> dict[str, str]:
    examples = [f'"{example}" -> "{tool.name}"' for tool in tools.values() for example in tool.start_examples]
    listed = [f'- "{tool.name}": {tool.description}' for tool in tools.values()]
    return {"tools": "\n".join(listed), "examples": "\n".join(examples)}


def _first_json(text: str) -> dict[str, Any]:
    for written, meant in READ_AS.items():
        text = text.replace(written, meant)
    try:
        found, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    except ValueError:
        log.warning("LLM did not produce a valid JSON")
        return {}
    return found
