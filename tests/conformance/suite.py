"""LangChain's published tests for chat models, pointed at the server of `OPENAI_BASE_URL`.

Started by `run.py`, in an environment that has `langchain-tests` and `langchain-openai`.
"""

import base64
import os
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

MODEL = os.environ["OPENAI_MODEL"]
RESPONSES = os.environ["OPENAI_API"] == "responses"
FILES = {
    ".png": base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
    ),
    ".pdf": b"%PDF-1.1\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF\n",
    ".wav": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0",
}
"""In place of what the tests download."""


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(url: str, **_options: Any) -> httpx.Response:
        return httpx.Response(200, content=FILES[os.path.splitext(url)[1]], request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)


class TestChatOpenAI(ChatModelIntegrationTests):
    """Its options say what OpenAI's own models can do."""

    supports_json_mode = True
    supports_image_inputs = True
    supports_pdf_inputs = True
    supports_audio_inputs = True
    supports_anthropic_inputs = True
    returns_usage_metadata = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "max_retries": 0, "timeout": 30, "stream_usage": True, "use_responses_api": RESPONSES}

    @property
    def model_override_value(self) -> str:
        return MODEL

    @property
    def supported_usage_metadata_details(self) -> Any:
        return {"invoke": [], "stream": []}
