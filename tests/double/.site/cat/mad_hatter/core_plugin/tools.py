from datetime import datetime
from typing import Any

from cat.mad_hatter.decorators import tool


@tool(examples=["what time is it", "get the time"])
def get_the_time(tool_input: str, cat: Any) -> str:
    """Useful to get the current time when asked. Input is always None."""
    return f"The current time is {datetime.now()}"
