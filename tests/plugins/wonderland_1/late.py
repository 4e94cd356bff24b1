"""Work that plugins do in threads of their own, which may outlive the run."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cat.mad_hatter.decorators import endpoint, hook

may_go_on: dict[str, threading.Event] = {}
done: dict[str, list[str]] = {}


@endpoint.post("/wonderland/late", prefix="")
async def go_on(tag: str) -> None:
    may_go_on[tag].set()


@endpoint.get("/wonderland/late", prefix="")
async def what_was_done(tag: str) -> list[str]:
    return done.get(tag, [])


def work(tag: str, cat: Any, prompt: str) -> None:
    """Asks the LLM, recalls and tells the user, when it may."""
    may_go_on[tag].wait(30)
    steps: list[Callable[[], Any]] = [
        lambda: cat.llm(prompt),
        lambda: cat.llm(prompt, stream=True),
        lambda: cat.recall_relevant_memories_to_working_memory("tea"),
        lambda: cat.send_ws_message(f"Late work of {tag}.", "chat"),
        lambda: cat.send_notification("It is done."),
        lambda: cat.mad_hatter.execute_hook("cat_recall_query", "tea", cat=cat),
    ]
    for step in steps:
        try:
            done[tag].append(str(step()))
        except Exception as error:
            done[tag].append(repr(error))
    done[tag].append("end")


@hook
def before_agent_starts(agent_input: Any, cat: Any) -> Any:
    """A message "Late: <tag>: …" starts a thread, which may go on later, or at once with "Now: "."""
    text = cat.working_memory.user_message_json.text
    kind, _, rest = text.partition(": ")
    if kind in ("Late", "Now"):
        tag, _, prompt = rest.partition(": ")
        may_go_on[tag], done[tag] = threading.Event(), []
        if kind == "Now":
            may_go_on[tag].set()
        threading.Thread(target=work, args=(tag, cat, prompt.partition("\n---\n")[2]), daemon=True).start()
    if kind == "Together":
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(cat.llm, [rest, rest]))
    return agent_input
