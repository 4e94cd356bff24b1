"""The command line `sgpt`: `pip install shell-gpt`. What it reads from the environment may stand in a file."""

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ["API_BASE_URL"] = os.environ["OPENAI_BASE_URL"]
os.environ["DEFAULT_MODEL"] = "cheshire-cat"


def sgpt(*arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("sgpt")), "--no-cache", *arguments]
    done = subprocess.run(command, check=True, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return done.stdout.strip()


print(json.dumps({"stream": sgpt("Who are you?"), "chat": sgpt("--code", "Who are you?")}))
