"""A plugin that lets a test look at its Cat from within. Runs in Cheshire Cat 1.9 and in our double of it."""

import sys
from copy import deepcopy
from typing import Annotated, Any

from cat.agents.memory_agent import MemoryAgent
from cat.auth.auth_utils import is_jwt
from cat.auth.permissions import AuthPermission, AuthResource, AuthUserInfo, check_permissions
from cat.cache.cache_item import CacheItem
from cat.convo.messages import CatMessage, ConversationMessage, UserMessage
from cat.db.crud import get_setting_by_name
from cat.looking_glass.cheshire_cat import CheshireCat
from cat.looking_glass.stray_cat import StrayCat
from cat.mad_hatter.decorators import endpoint, hook, plugin, tool
from cat.memory.working_memory import WorkingMemory
from fastapi import Request
from pydantic import BaseModel, Field, PrivateAttr


class ProbeSettings(BaseModel):
    number: int = Field(3, ge=0, title="A number")
    text: str = "x"


@plugin
def settings_model():
    return ProbeSettings


class Ended(BaseException):
    """What nobody may swallow."""


class Noted(UserMessage):
    _note: Any = PrivateAttr(None)

    def __init__(self, note, **fields):
        super().__init__(**fields)
        self._note = note


class Told(ConversationMessage):
    who: str = "Third"

    def langchainfy(self):
        return UserMessage(user_id=self.user_id, who=self.who, text=f"told: {self.text}").langchainfy()


class Memory(WorkingMemory):
    history: list[Any] = Field(default_factory=list)

    _updates: list[Any] = PrivateAttr(default_factory=list)

    def update_history(self, message):
        self._updates.append([type(message).__name__, message is self.user_message_json])
        super().update_history(message)


class Session(StrayCat):
    """`plan` has for each hook what it shall return."""

    def __init__(self, user, plan):
        self.plan = plan
        self.sent = []
        self.asked_main_prompt = []
        super().__init__(user)

    def load_working_memory_from_cache(self):
        super().load_working_memory_from_cache()
        if self.plan.get("own_memory"):
            self.working_memory = Memory(history=self.working_memory.history)

    def recall_relevant_memories_to_working_memory(self, query=None):
        super().recall_relevant_memories_to_working_memory(query)
        if self.plan.get("no_procedures"):
            self.working_memory.procedural_memories = []

    def _StrayCat__send_ws_json(self, data):
        if self.plan.get("ends_at") == data.get("content"):
            raise Ended
        self.sent.append(data)

    @property
    def _llm(self):
        self.asked_main_prompt.append(isinstance(sys._getframe(1).f_locals.get("self"), MemoryAgent))
        return super()._llm


def planned(name, default, cat):
    return getattr(cat, "plan", {}).get(name, default)


@hook
def fast_reply(reply, cat):
    return planned("fast_reply", reply, cat)


@hook
def agent_fast_reply(reply, cat):
    return planned("agent_fast_reply", reply, cat)


@hook
def before_cat_reads_message(message, cat):
    if planned("asks", "", cat):
        cat.llm(planned("asks", "", cat))
    if planned("ends_at", "", cat) == "a hook":
        raise Ended
    message.text = planned("before_cat_reads_message", message.text, cat)
    return message


@hook
def before_cat_sends_message(message, cat):
    message.text = planned("before_cat_sends_message", message.text, cat)
    return message


@hook(priority=3)
def cat_recall_query(query, cat):
    return planned("cat_recall_query", query, cat)


@hook
def before_cat_recalls_episodic_memories(config, cat):
    return {**config, **planned("episodic", {}, cat)}


@hook
def before_cat_recalls_procedural_memories(config, cat):
    """The tool of the plan is recalled, whatever the message, and no other."""
    tool = planned("tool", "", cat)
    return {**config, "metadata": {"source": tool}, "threshold": 0}


@hook(priority=7)
def agent_prompt_prefix(prefix, cat):
    return planned("agent_prompt_prefix", "Probe.", cat)


@hook("agent_prompt_prefix", priority=-7)
def last_prefix(prefix, cat):
    return prefix + " Last."


@hook(priority=2)
def before_agent_starts(agent_input, cat):
    if planned("broken_hook", False, cat):
        raise RuntimeError("a hook that fails")
    agent_input.tools_output = planned("tools_output", agent_input.tools_output, cat)
    return agent_input


@tool(examples=["which probe is it"])
def probe_number(tool_input, cat):
    """Tells the number of the probe. Input is always None."""
    cat.send_notification("The tool runs.")
    return f"number {tool_input}"


@tool("direct", return_direct=True)
def answer_directly(tool_input, cat):
    """Answers directly."""
    return f"directly {tool_input}"


@endpoint.post("/probe/run")
def run(body: dict):
    """Run one message in a session of our own."""
    cat = Session(AuthUserInfo(id="an id", name=body["user"]), body.get("plan", {}))
    for number in range(body.get("turns", 0)):
        message = (CatMessage if number % 2 else UserMessage)(user_id=cat.user_id, text=f"turn {number}")
        cat.working_memory.update_history(message)
    if "told" in body:
        cat.working_memory.update_history(Told(user_id=cat.user_id, text=body["told"]))
    for text in body.get("notes", []):
        cat.send_ws_message(text)
    message = {"text": body["text"], "user_id": "somebody else", **body.get("media", {})}
    message = Noted(body["note"], **message) if "note" in body else message
    try:
        result = cat.run(message, return_message=body.get("return", True))
    except Ended:
        result = {"ended": True}
    if not isinstance(result, dict) and result is not None:
        kept = result.model_dump()
        result = {name: kept[name] for name in ("user_id", "who", "text", "type", "content", "image")}
    memory = cat.working_memory
    agent_input = memory.get("agent_input")
    kept = cat.cache.get_value(f"{cat.user_id}_working_memory")
    return {
        "result": result,
        "sent": cat.sent,
        "history": [[message.who, message.text, message.image, message.audio] for message in memory.history],
        "noted": [getattr(message, "_note", None) for message in memory.history],
        "updates": getattr(memory, "_updates", None),
        "chain": [[message.type, message.name, message.content] for message in memory.langchainfy_chat_history()],
        "line": memory.stringify_chat_history(1),
        "asked": memory.user_message_json.text,
        "asked_main_prompt": cat.asked_main_prompt,
        "recalled": [memory_[0].page_content for memory_ in memory.episodic_memories],
        "procedures": sorted({memory_[0].metadata["source"] for memory_ in memory.procedural_memories}),
        "tools_output": agent_input and agent_input.tools_output,
        "extra": sorted(memory.model_extra),
        "form": memory.active_form,
        "kept": kept is not None and len(kept.history),
    }


@endpoint.post("/probe/messages")
def messages(body: list[dict]):
    """What becomes of the Cat's own messages, and of one with something of a plugin's in it."""
    made = [
        (CatMessage if fields.get("who") == "AI" else UserMessage)(user_id="alice", when=1.5, **fields)
        for fields in body
    ]
    noted = Noted([1], user_id="alice", text="hi")
    noted["user_id"] = "bob"
    copied = deepcopy(noted)
    return {
        "made": [
            [str(message), message.model_dump(), message.langchainfy().name, message.langchainfy().content]
            for message in made
        ],
        "noted": [UserMessage.model_validate(noted) is noted, noted.user_id, noted.get("no such"), "text" in noted],
        "copied": [type(copied).__name__, copied._note, copied._note is noted._note, copied == noted],
    }


@endpoint.post("/probe/llm")
def ask(body: dict):
    cat = Session(AuthUserInfo(id="an id", name="asking"), {})
    return {"reply": cat.llm(body["text"], stream=True), "sent": cat.sent}


@endpoint.post("/probe/embedder")
def embedder(body: dict):
    cat = CheshireCat()
    vectors = cat.embedder.embed_documents(body["texts"])
    selected = get_setting_by_name("embedder_selected")
    return {
        "class": type(cat.embedder).__name__,
        "selected": selected and selected["value"],
        "vectors": vectors,
        "query": cat.embedder.embed_query(body["texts"][0]) == vectors[0],
    }


@endpoint.get("/probe/whoami")
def whoami(cat: Annotated[StrayCat, check_permissions("CONVERSATION", "WRITE")]):
    return shown(cat.user_data)


@endpoint.get("/probe/secret")
def secret(cat: Annotated[StrayCat, check_permissions("LLM", "READ")]):
    return shown(cat.user_data)


@endpoint.post("/probe/handlers")
def handlers(body: dict, request: Request):
    """Whom the two handlers see behind a credential."""
    ccat = request.app.state.ccat
    credential = body["credential"]
    users = [
        handler.authorize_user_from_credential("http", credential, resource, AuthPermission.READ, user_id="alice")
        for handler in (ccat.custom_auth_handler, ccat.core_auth_handler)
        for resource in (AuthResource.CONVERSATION, AuthResource.USERS)
    ]
    return {"users": [user and shown(user) for user in users], "is_jwt": is_jwt(credential)}


def shown(user):
    permissions = {str(getattr(key, "value", key)): sorted(value) for key, value in user.permissions.items()}
    return {"name": user.name, "id_is_name": user.id == user.name, "permissions": permissions}


@endpoint.get("/probe/hooks")
def hooks():
    hooks = CheshireCat().mad_hatter.hooks
    return {name: [[one.plugin_id, one.priority] for one in hooks[name]] for name in sorted(hooks)}


@endpoint.get("/probe/modules")
def modules(plugin: str):
    return sorted(name for name in sys.modules if name.startswith(f"cat.plugins.{plugin}."))


@endpoint.get("/probe/identity")
def identity():
    mine = CheshireCat().mad_hatter.plugins[__name__.split(".")[2]]
    llm = type(CheshireCat()._llm).__name__
    return {"name": __name__, "id": mine.id, "settings": mine.load_settings(), "llm": llm}


@endpoint.post("/probe/cache")
def cache():
    cache = CheshireCat().cache
    cache.insert(CacheItem("kept", ["a"], -1))
    cache.insert(CacheItem("gone", ["b"], -2))
    cache.insert(CacheItem("kept for a while", ({"c": 1}, "d"), 60))
    return [cache.get_value(key) for key in ("kept", "gone", "never", "kept for a while")]


@endpoint.post("/probe/fail")
def fail():
    raise RuntimeError("an endpoint that fails")


@endpoint.post("/probe/valid")
def valid(body: ProbeSettings):
    return body
