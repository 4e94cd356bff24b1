import asyncio
import time
from typing import Any, Literal, get_args

import tiktoken  # noqa: F401  the real one counts tokens with it
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser

from cat.auth.permissions import AuthUserInfo
from cat.cache.cache_item import CacheItem
from cat.convo.messages import CatMessage, MessageWhy, UserMessage
from cat.log import log
from cat.looking_glass.callbacks import NewTokenHandler
from cat.looking_glass.cheshire_cat import CheshireCat
from cat.memory.vector_memory import embed
from cat.memory.working_memory import WorkingMemory

MSG_TYPES = Literal["notification", "chat", "error", "chat_token"]


class StrayCat:
    """A session: one user, and the pipeline that answers him."""

    working_memory: WorkingMemory

    def __init__(self, user_data: AuthUserInfo) -> None:
        self.__user_id = user_data.name
        self.__user_data = user_data
        self.load_working_memory_from_cache()

    def load_working_memory_from_cache(self) -> None:
        self.working_memory = self.cache.get_value(self._memory_key) or WorkingMemory()

    def update_working_memory_cache(self) -> None:
        self.cache.insert(CacheItem(self._memory_key, self.working_memory, -1))

    @property
    def _memory_key(self) -> str:
        return f"{self.user_id}_working_memory"

    def __send_ws_json(self, data: Any) -> None:
        """To the user's web socket, which lives on the event loop; to nobody if there is none."""
        state = CheshireCat().fastapi_app.state
        socket = state.web_sockets.get(self.user_id)
        if socket is not None:
            asyncio.run_coroutine_threadsafe(socket.send_json(data), state.event_loop).result()

    def send_ws_message(self, content: str | dict[str, Any], msg_type: MSG_TYPES = "notification") -> None:
        if msg_type not in get_args(MSG_TYPES):
            raise ValueError(f"The message type `{msg_type}` is not valid")
        if msg_type == "error":
            self.send_error(str(content))
        else:
            self.__send_ws_json({"type": msg_type, "content": content})

    def send_chat_message(self, message: str | CatMessage, save: bool = False) -> None:
        if isinstance(message, str):
            message = CatMessage(text=message, user_id=self.user_id, why=self.__build_why())
        if save:
            self.working_memory.update_history(message)
        self.__send_ws_json(message.model_dump())

    def send_notification(self, content: str) -> None:
        self.send_ws_message(content)

    def send_error(self, error: str | Exception) -> None:
        name = "GenericError" if isinstance(error, str) else type(error).__name__
        self.__send_ws_json({"type": "error", "name": name, "description": str(error)})

    def recall_relevant_memories_to_working_memory(self, query: str | None = None) -> None:
        memory, call = self.working_memory, self.mad_hatter.execute_hook
        query = memory.user_message_json.text if query is None else query
        query = call("cat_recall_query", query, cat=self)
        embedding = embed(query)
        memory.recall_query = query
        call("before_cat_recalls_memories", cat=self)
        for name, collection in self.memory.vectors.collections.items():
            metadata = {"source": self.user_id} if name == "episodic" else {}
            config = {"embedding": embedding, "k": 3, "threshold": 0.7, "metadata": metadata}
            config = call(f"before_cat_recalls_{name}_memories", config, cat=self)
            setattr(memory, f"{name}_memories", collection.recall_memories_from_embedding(**config))
        call("after_cat_recalls_memories", cat=self)

    def llm(self, prompt: str, stream: bool = False) -> str:
        callbacks = [NewTokenHandler(self)] if stream else []
        return (self._llm | StrOutputParser()).invoke([HumanMessage(prompt)], {"callbacks": callbacks})

    def __call__(self, message_dict: dict[str, Any]) -> Any:
        """One turn. Returns the Cat's message, or a dict that tells of a failed recall."""
        memory, call = self.working_memory, self.mad_hatter.execute_hook
        message_dict["user_id"] = self.user_id
        memory.user_message_json = UserMessage.model_validate(message_dict)
        log.info(memory.user_message_json)

        fast = call("fast_reply", {}, cat=self)
        if isinstance(fast, CatMessage):
            return fast
        if isinstance(fast, dict) and "output" in fast:
            return CatMessage(user_id=self.user_id, text=str(fast["output"]))

        memory.user_message_json = call("before_cat_reads_message", memory.user_message_json, cat=self)
        memory.update_history(memory.user_message_json)
        try:
            self.recall_relevant_memories_to_working_memory()
        except Exception:
            log.error("Error during recall.")
            description = "An error occurred while recalling relevant memories."
            return {"type": "error", "name": "VectorMemoryError", "description": description}

        try:
            output = self.main_agent.execute(self)
        except Exception as error:
            log.error(error)
            raise
        self._store_user_message_in_episodic_memory(memory.user_message_json.text)
        why = self.__build_why()
        why.intermediate_steps = output.intermediate_steps
        why.agent_output = output.model_dump()
        reply = CatMessage(user_id=self.user_id, text=str(output.output), why=why)
        reply = call("before_cat_sends_message", reply, cat=self)
        memory.update_history(reply)
        return reply

    def run(self, user_message_json: dict[str, Any], return_message: bool = False) -> Any:
        """A turn that never raises: an error becomes a dict, or a message to the web socket."""
        try:
            reply = self(user_message_json)
            self.update_working_memory_cache()
            if return_message:
                return reply
            self.send_chat_message(reply)
        except Exception as error:
            log.error(error)
            if return_message:
                return {"error": str(error)}
            self.send_error(error)
        return None

    def __build_why(self) -> MessageWhy:
        memory = self.working_memory
        recalled = {
            kind: [
                dict(found[0]) | {"score": float(found[1]), "id": found[3]}
                for found in getattr(memory, f"{kind}_memories")
            ]
            for kind in ("episodic", "declarative", "procedural")
        }
        text = memory.user_message_json.text
        return MessageWhy(input=text, intermediate_steps=[], memory=recalled, model_interactions=[])

    def langchainfy_chat_history(self, latest_n: int = 20) -> list[Any]:
        return self.working_memory.langchainfy_chat_history(latest_n)

    def stringify_chat_history(self, latest_n: int = 20) -> str:
        return self.working_memory.stringify_chat_history(latest_n)

    def _store_user_message_in_episodic_memory(self, user_message_text: str) -> None:
        document = Document(page_content=user_message_text, metadata={"source": self.user_id, "when": time.time()})
        document = self.mad_hatter.execute_hook("before_cat_stores_episodic_memory", document, cat=self)
        episodic = self.memory.vectors.collections["episodic"]
        episodic.add_point(document.page_content, embed(user_message_text), document.metadata)

    @property
    def user_id(self) -> str:
        return self.__user_id

    @property
    def user_data(self) -> AuthUserInfo:
        return self.__user_data

    @property
    def _llm(self) -> Any:
        return CheshireCat()._llm

    @property
    def embedder(self) -> Any:
        return CheshireCat().embedder

    @property
    def memory(self) -> Any:
        return CheshireCat().memory

    @property
    def mad_hatter(self) -> Any:
        return CheshireCat().mad_hatter

    @property
    def main_agent(self) -> Any:
        return CheshireCat().main_agent

    @property
    def cache(self) -> Any:
        return CheshireCat().cache
