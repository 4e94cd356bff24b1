"""The command line `llm`: `pip install llm`. Models of its own stand in a file in the folder LLM_USER_PATH."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = """\
- model_id: cat
  model_name: cheshire-cat
  api_base: {OPENAI_BASE_URL}
  api_key_name: cat
  supports_tools: true
  supports_schema: true
  vision: true
"""
WEATHER = """
def get_weather(city: str) -> str:
    "The weather in a city"
    return f"{city}: rain"
"""


def llm(*arguments: str) -> str:
    command = [sys.executable, "-m", "llm", *arguments]
    done = subprocess.run(command, check=True, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return done.stdout.strip()


folder = os.environ["LLM_USER_PATH"] = tempfile.mkdtemp()
Path(folder, "extra-openai-models.yaml").write_text(MODELS.format(**os.environ), "utf-8")
llm("keys", "set", "cat", "--value", os.environ["OPENAI_API_KEY"])
llm("models", "default", "cat")

print(
    json.dumps(
        {
            "chat": llm("--no-stream", "Who are you?"),
            "stream": llm("Who are you?"),
            "tools": llm("--functions", WEATHER, "How is the weather in 'Oslo'?"),
            "structured": json.loads(llm("--schema", "name, legs int", "'Dinah' has 4 legs.")),
            "image": llm("--attachment", os.environ["PICTURE"], "What is in this picture?"),
        }
    )
)
