from typing import Any

import tiktoken  # noqa: F401  the real one counts tokens with it
from langchain_core.callbacks import BaseCallbackHandler


class NewTokenHandler(BaseCallbackHandler):
    def __init__(self, cat: Any) -> None:
        self.cat = cat

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        """The bare chunk with which current versions of LangChain mark the end was not there in the Cat's."""
        is_mark = getattr(getattr(chunk, "message", None), "chunk_position", None) == "last"
        if token or not is_mark or chunk.generation_info:
            self.cat.send_ws_message(token, msg_type="chat_token")
