"""`make run-v1`: what `make run` does, with Cheshire Cat 1.9.

The environment variables `CAT_CORE` and `CAT_PYTHON` are the paths of its code and of a Python with its dependencies.
"""

import os
import sys
from pathlib import Path

import cat_home
import httpx
import run

LLM_SETTINGS = "LLMOpenAICompatibleConfig"


class Cat1(run.Cat):
    """Cheshire Cat 1.9."""

    home = cat_home.ROOT / ".cat" / "home-v1"
    log = cat_home.ROOT / ".cat" / "cat-v1.log"
    page = ("API", "/docs")
    listens_everywhere = False

    def prepare(self) -> None:
        cat_home.prepare_v1(self.home, Path(os.environ["CAT_CORE"]))

    def command(self) -> list[str]:
        """Not `cat.main`, which always uses port 80. On 127.0.0.1 only: its user `admin` has a known password."""
        options = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [os.environ["CAT_PYTHON"], "-m", "uvicorn", "cat.startup:cheshire_cat_api", *options]

    def environment(self) -> dict[str, str]:
        return {
            "CCAT_CORE_PORT": str(self.port),
            "CCAT_JWT_SECRET": os.environ.get("CCAT_JWT_SECRET") or f"{self.api_key}_jwt",
            "CCAT_METADATA_FILE": "cat/data/metadata.json",
            "MALLOC_ARENA_MAX": "1",  # as in compose.yml
            # The Cat runs pip from PATH.
            "PATH": f"{Path(os.environ['CAT_PYTHON']).parent}{os.pathsep}{os.environ['PATH']}",
        }

    async def use_llm(self, client: httpx.AsyncClient, llm: run.LLM) -> None:
        values = {"url": llm.base_url, "model_name": llm.model, "api_key": llm.api_key, "streaming": True}
        (await client.put(f"/llm/settings/{LLM_SETTINGS}", json=values)).raise_for_status()

    async def activate_plugin(self, client: httpx.AsyncClient) -> None:
        answer = (await client.get(f"/plugins/{cat_home.PLUGIN}")).raise_for_status().json()
        if not answer["data"]["active"]:
            (await client.put(f"/plugins/toggle/{cat_home.PLUGIN}")).raise_for_status()


if __name__ == "__main__":
    sys.exit(run.main(Cat1))
