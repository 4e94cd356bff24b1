from importlib.util import find_spec
from typing import Any

from langchain_core.language_models.llms import LLM
from langchain_openai import ChatOpenAI


class LLMDefault(LLM):
    """Stands where no LLM is configured."""

    @property
    def _llm_type(self) -> str:
        return ""

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return "You did not configure a Language Model. Do it in the settings!"


class CustomOpenAI(ChatOpenAI):
    url: str

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(base_url=kwargs["url"], **kwargs)


if find_spec("langchain_ollama"):
    from langchain_ollama import ChatOllama

    class CustomOllama(ChatOllama):
        """As the real one: its client's paths are appended to an address without a slash at its end."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**{**kwargs, "base_url": kwargs["base_url"].removesuffix("/")})
