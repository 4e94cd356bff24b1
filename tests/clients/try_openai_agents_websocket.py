"""What try_openai_agents.py does, with all turns over WebSockets."""

import runpy
from pathlib import Path

from agents import set_default_openai_responses_transport

set_default_openai_responses_transport("websocket")
runpy.run_path(str(Path(__file__).with_name("try_openai_agents.py")))
