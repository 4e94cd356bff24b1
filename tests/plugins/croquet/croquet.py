"""A plugin for the tests on Cheshire Cat 2: what directives, tools and loops of other people's agents do."""

import asyncio
import time
from typing import Any, ClassVar

from cat import Agent, Directive, endpoint, llm, tool
from cat.ambient import agui_event, call_agent
from cat.ambient.context_vars import ctx
from cat.protocols.agui import events
from cat.types import Message, Task, TaskResult, TextContent

ANNOUNCED = "Searching ..."


def said(text: str, role: Any = "user") -> Message:
    return Message(role=role, content=[TextContent(text=text)])


async def say(*pieces: str) -> None:
    """Send a text to the client, as the Cat's own streams do."""
    now = int(time.time())
    await agui_event(events.TextMessageStartEvent(message_id="croquet", timestamp=now))
    for piece in pieces:
        await agui_event(events.TextMessageContentEvent(message_id="croquet", delta=piece, timestamp=now))
    await agui_event(events.TextMessageEndEvent(message_id="croquet", timestamp=now))


class Soldier(Directive):
    """A guardrail: takes a word out of the finished reply."""

    slug = "soldier"

    async def finish(self, agent: Any) -> None:
        for message in agent.result.messages:
            for block in message.content:
                block.text = block.text.replace("secret", "******")


class Knave(Directive):
    """Replaces the whole result."""

    slug = "knave"

    async def finish(self, agent: Any) -> None:
        agent.result = TaskResult(messages=[said("Stolen.", "assistant")])


class Gardener(Directive):
    """Like the Cat's own MCP directive: has a finish that does nothing."""

    slug = "gardener"

    async def finish(self, agent: Any) -> None:
        """Nothing to tear down."""


class Hedgehog(Directive):
    """Asks the LLM before the loop and before each step, without a thought for the stream."""

    slug = "hedgehog"

    async def start(self, agent: Any) -> None:
        agent.system_prompt += "\n" + (await llm("", messages=[said("Is it safe?")])).text

    async def step(self, agent: Any) -> None:
        agent.system_prompt += "\n" + (await llm("What else?")).text
        asked = Task(messages=[said("Who are you?")], stream=True)
        agent.system_prompt += "\n" + (await call_agent("ball", asked)).messages[-1].text


class Flamingo(Directive):
    """Says something of its own to the client."""

    slug = "flamingo"

    async def start(self, agent: Any) -> None:
        await agui_event(events.StepStartedEvent(step_name="A search", timestamp=int(time.time())))
        await say("Searching", " ...")
        if stream := ctx().stream:
            stream({"type": "CUSTOM", "name": "found", "value": 3})
            stream({"unknown": None})
            stream(events.TextMessageContentEvent(message_id="croquet", delta=" Found."))


class Racer(Directive):
    """Asks the LLM in a task of its own while the agent asks it too."""

    slug = "racer"

    async def start(self, agent: Any) -> None:
        agent.race = asyncio.create_task(llm("", messages=[said("Who is first? Who is second?")]))

    async def step(self, agent: Any) -> None:
        await asyncio.sleep(0)


class Ball(Agent):
    slug = "ball"
    system_prompt = "You are a ball."


class Guarded(Agent):
    slug = "guarded"
    directives: ClassVar[list[Any]] = [Soldier]


class GuardedBySlug(Agent):
    slug = "guarded-by-slug"
    directives: ClassVar[list[Any]] = ["gardener", "soldier"]


class GuardedByInstance(Agent):
    slug = "guarded-by-instance"

    def __init__(self) -> None:
        self.directives = [Soldier()]


class GuardsItself(Agent):
    slug = "guards-itself"

    async def finish(self) -> None:
        await super().finish()
        self.result.messages[-1].content[0].text += " Off with their heads!"


class Robbed(Agent):
    slug = "robbed"
    directives: ClassVar[list[Any]] = [Knave]


class Tidy(Agent):
    slug = "tidy"
    directives: ClassVar[list[Any]] = [Gardener]


class Anxious(Agent):
    slug = "anxious"
    directives: ClassVar[list[Any]] = [Hedgehog]

    @tool
    async def ask(self, question: str) -> str:
        """Ask the LLM."""
        return (await llm("", messages=[said(question)], stream=True)).text

    @tool
    async def ask_both(self) -> str:
        """Ask the LLM and another agent at the same time."""
        asked = Task(messages=[said("Who are you?")], stream=True)
        both = await asyncio.gather(llm("", messages=[said("Left?")], stream=True), call_agent("ball", asked))
        return f"{both[0].text} {both[1].messages[-1].text}"


class Racing(Agent):
    slug = "racing"
    directives: ClassVar[list[Any]] = [Racer]


class Announcing(Agent):
    slug = "announcing"
    directives: ClassVar[list[Any]] = [Flamingo]


class Duchess(Agent):
    """Has a loop of her own: plans, then answers."""

    slug = "duchess"

    async def loop(self) -> None:
        await llm("", messages=[said("Plan.")], stream=False)
        self.result.messages.append(await llm(self.system_prompt, messages=self.task.messages, stream=self.task.stream))


class Cook(Agent):
    """Has a loop of her own, and changes what she said."""

    slug = "cook"

    async def loop(self) -> None:
        reply = await llm(self.system_prompt, messages=self.task.messages, stream=self.task.stream)
        self.result.messages.append(said(reply.text + " Pepper!", "assistant"))


late: dict[str, str] = {}


class Late(Agent):
    """Has a tool whose work outlives the run."""

    slug = "late"

    @tool
    async def think_later(self, name: str, question: str) -> str:
        """Think about it when the reply is there."""

        async def think() -> None:
            slow = asyncio.create_task(llm("", messages=[said(question)], stream=True))
            await asyncio.sleep(0.5)
            late[name] = (await slow).text + "|" + (await llm("", messages=[said("And again?")], stream=True)).text
            await say("Too late.")
            late[name] += "|done"

        late[name + "-task"] = asyncio.create_task(think())  # type: ignore[assignment]
        return "later"


@endpoint.get("/croquet/late", role="admin")
async def read_late(name: str) -> str:
    return late.get(name, "")
