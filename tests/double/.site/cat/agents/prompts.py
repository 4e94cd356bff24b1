from typing import Any

from langchain_core.prompts import ChatPromptTemplate, PromptTemplate, SystemMessagePromptTemplate

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


def conversation(cat: Any, template: str, variables: dict[str, Any]) -> tuple[ChatPromptTemplate, dict[str, Any]]:
    """The prompt, and those of the variables that it takes. Placeholders for which there is none are cut out."""
    wanted = set(PromptTemplate.from_template(template).input_variables)
    for unknown in wanted - variables.keys():
        template = template.replace("{" + unknown + "}", "")
    system = SystemMessagePromptTemplate.from_template(template)
    prompt = ChatPromptTemplate([system, *cat.working_memory.langchainfy_chat_history()])
    return prompt, {name: variables[name] for name in wanted & variables.keys()}
