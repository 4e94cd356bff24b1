from typing import Any

from pydantic import Field

from cat.utils import BaseModelDict


class AgentOutput(BaseModelDict):
    output: str | None = None
    intermediate_steps: list[Any] = Field(default_factory=list)
    return_direct: bool = False
