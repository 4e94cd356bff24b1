import json
import time
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import (
    ChatPromptTemplate,
    PromptTemplate,
    SystemMessagePromptTemplate,
)
from pydantic import Field

from cat.log import log
from cat.utils import BaseModelDict

PREFIX = "You are the Cheshire Cat of a test. Answer the Human with the help of the context below."

SUFFIX = """

# Context
{episodic_memory}

{declarative_memory}

{tools_output}
"""

TOOL_PROMPT = """Create a JSON with the correct "action" and "action_input", for one of these actions:
{tools}
- "no_action": if none of them helps

```json
{{"action": "an action's name", "action_input": "a text or null"}}
```
{examples}"""


class AgentOutput(BaseModelDict):
    output: str | None = None
    intermediate_steps: list[Any] = Field(default_factory=list)
    return_direct: bool = False


class NewTokenHandler(BaseCallbackHandler):
    def __init__(self, cat: Any) -> None:
        self.cat = cat

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        """The bare chunk with which current versions of LangChain mark the end was not there in the Cat's."""
        is_mark = getattr(getattr(chunk, "message", None), "chunk_position", None) == "last"
        if token or not is_mark or chunk.generation_info:
            self.cat.send_ws_message(token, msg_type="chat_token")


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
        template = call("agent_prompt_prefix", PREFIX, cat=cat) + call("agent_prompt_suffix", SUFFIX, cat=cat)
        used = self._use_tool(cat)
        if used.return_direct:
            return used
        output = _ask(cat, template, memory.agent_input.model_dump(), [NewTokenHandler(cat)])
        return AgentOutput(output=output, intermediate_steps=used.intermediate_steps)

    def _use_tool(self, cat: Any) -> AgentOutput:
        """The LLM chooses among the tools that the message resembles. A failure is logged and nothing more."""
        memory = cat.working_memory
        if not memory.procedural_memories:
            return AgentOutput()
        call = cat.mad_hatter.execute_hook
        try:
            template = call("agent_prompt_instructions", TOOL_PROMPT, cat=cat)
            names = {document.metadata["source"] for document, *_ in memory.procedural_memories}
            names = call("agent_allowed_tools", names, cat=cat)
            tools = {tool.name: tool for tool in cat.mad_hatter.tools if tool.name in names}
            choice = _first_json(_ask(cat, template, _tools_for_prompt(tools), []))
            tool = tools.get(choice.get("action"))
            if tool is None:
                return AgentOutput(output="")
            tool_input = choice.get("action_input")
            output = tool.run(tool_input, cat=cat)
        except Exception:
            log.error("Error while executing procedures")
            return AgentOutput()
        memory.agent_input.tools_output = f"## Context of executed system tools: \n - {tool.name}: {output}\n"
        steps = [((tool.name, tool_input), output)]
        return AgentOutput(output=output, intermediate_steps=steps, return_direct=tool.return_direct)


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


def _tools_for_prompt(tools: dict[str, Any]) -> dict[str, str]:
    examples = [f'"{example}" -> "{tool.name}"' for tool in tools.values() for example in tool.start_examples]
    listed = [f'- "{tool.name}": {tool.description}' for tool in tools.values()]
    return {"tools": "\n".join(listed), "examples": "\n".join(examples)}


def _ask(cat: Any, template: str, variables: dict[str, Any], callbacks: list[Any]) -> str:
    """The LLM's reply to the conversation. Placeholders for which there is no variable are cut out."""
    wanted = set(PromptTemplate.from_template(template).input_variables)
    for unknown in wanted - variables.keys():
        template = template.replace("{" + unknown + "}", "")
    system = SystemMessagePromptTemplate.from_template(template)
    prompt = ChatPromptTemplate([system, *cat.working_memory.langchainfy_chat_history()])
    known = {name: variables[name] for name in wanted & variables.keys()}
    return (prompt | cat._llm | StrOutputParser()).invoke(known, {"callbacks": callbacks})


def _first_json(text: str) -> dict[str, Any]:
    try:
        found, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    except ValueError:
        log.warning("LLM did not produce a valid JSON")
        return {}
    return found
