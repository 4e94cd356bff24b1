"""What plugins put into the working memory: objects that refer to the session, and some that cannot be copied."""

import threading
from typing import Any

from cat.mad_hatter.decorators import hook


class Friend:
    """Refers to the session, and to itself."""

    def __init__(self, cat: Any) -> None:
        self.cat = cat
        self.memory = cat.working_memory
        self.ask = cat.llm
        self.visits: list[int] = []
        self.handlers = [self.greet]

    def greet(self) -> int:
        self.visits.append(len(self.visits) + 1)
        return len(self.visits)


class Door:
    """Cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


@hook
def agent_fast_reply(reply: dict[str, Any], cat: Any) -> dict[str, Any]:
    text = cat.working_memory.user_message_json.text
    if text.startswith("Meet everybody."):
        reply["output"] = meet(cat)
    if text.startswith("Teach the Cat."):
        cat.llm = cat.shout = Parrot(cat).say
    if text.startswith(("Teach the Cat.", "Ask the Cat.")):
        reply["output"] = f"{cat.llm('Hello')} {hasattr(cat, 'shout')}"
    return reply


def meet(cat: Any) -> str:
    memory = cat.working_memory
    if "friend" not in memory:
        word = "abracadabra"
        memory.friend = Friend(cat)
        memory.visits_of_friend = memory.friend.visits
        memory.spell = lambda: word
    friend = memory.friend
    greeted = friend.handlers[0]()
    known = "door" in memory
    memory.door = Door()
    same = (friend.cat is cat, friend.memory is memory, memory.visits_of_friend is friend.visits)
    spell = memory.spell() if "spell" in memory else None
    return f"{greeted} {all(same)} {spell} {known} {friend.ask(memory.user_message_json.text)}"


class Parrot:
    def __init__(self, cat: Any) -> None:
        self.cat = cat

    def say(self, prompt: str) -> str:
        return f"{prompt}, {prompt}!"
