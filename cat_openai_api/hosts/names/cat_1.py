"""Names of Cheshire Cat 1.9 that the plugin uses: those that it imports, and those that no documentation promises.

`hosts/v1` uses no name of `cat.*` that is not in these lists; a test compares them.
"""

from .required import Required

NAMES = (
    Required("errors and the line of each request", "cat.log", ("log.info", "log.warning", "log.error")),
    Required(
        "routes, hooks, settings and the notice that the plugin is switched off",
        "cat.mad_hatter.decorators",
        ("endpoint.get", "endpoint.post", "endpoint.delete", "hook", "plugin"),
    ),
    Required(
        "routes beside those of other plugins",
        "cat.mad_hatter.decorators",
        ("CustomEndpoint.activate", "CustomEndpoint.deactivate"),
    ),
    Required("steps of the Cat's own tools", "cat.mad_hatter.decorators", ("CatTool",)),
    Required("the plugin's saved settings", "cat.mad_hatter.plugin", ("Plugin.load_settings",)),
    Required("the running Cat", "cat.startup", ("cheshire_cat_api.state", "cheshire_cat_api.router.lifespan_context")),
    Required("the running Cat", "cat.looking_glass.cheshire_cat", ("CheshireCat",)),
    Required("API keys", "cat.env", ("get_env",)),
    Required("API keys", "cat.auth.auth_utils", ("is_jwt",)),
    Required("API keys", "cat.db.crud", ("get_users",)),
    Required(
        "permissions",
        "cat.auth.permissions",
        (
            "AuthPermission.READ",
            "AuthPermission.WRITE",
            "AuthResource.CONVERSATION",
            "AuthResource.PLUGINS",
            "AuthUserInfo",
        ),
    ),
    Required(
        "a session for each request",
        "cat.looking_glass.stray_cat",
        ("StrayCat.run", "StrayCat.user_id", "StrayCat.cache", "StrayCat.mad_hatter"),
    ),
    Required(
        "a working memory for each request",
        "cat.looking_glass.stray_cat",
        ("StrayCat.load_working_memory_from_cache", "StrayCat.update_working_memory_cache"),
    ),
    Required(
        "runs that leave no trace, and runs that end early",
        "cat.looking_glass.stray_cat",
        ("StrayCat.recall_relevant_memories_to_working_memory", "StrayCat._store_user_message_in_episodic_memory"),
    ),
    Required("tokens and notifications", "cat.looking_glass.stray_cat", ("StrayCat._StrayCat__send_ws_json",)),
    Required(
        "parameters, functions and usage of the LLM", "cat.looking_glass.stray_cat", ("StrayCat._llm", "StrayCat.llm")
    ),
    Required("the main prompt, which gets the client's functions", "cat.agents.main_agent", ("MemoryAgent",)),
    Required("the main prompt, which gets the client's functions", "cat.agents.memory_agent", ("MemoryAgent.execute",)),
    Required(
        "the conversation",
        "cat.memory.working_memory",
        (
            "WorkingMemory.history",
            "WorkingMemory.user_message_json",
            "WorkingMemory.active_form",
            "WorkingMemory.procedural_memories",
            "WorkingMemory.update_history",
            "WorkingMemory.langchainfy_chat_history",
        ),
    ),
    Required(
        "the conversation",
        "cat.convo.messages",
        (
            "ConversationMessage.user_id",
            "MessageWhy",
            "ConversationMessage.who",
            "ConversationMessage.text",
            "UserMessage.image",
            "UserMessage.audio",
            "UserMessage.langchainfy",
            "CatMessage.langchainfy",
        ),
    ),
    Required(
        "erasing a person's memory",
        "cat.memory.vector_memory",
        (
            "VectorMemoryCollection.delete_points_by_metadata_filter",
            "VectorMemoryCollection._qdrant_filter_from_dict",
        ),
    ),
    Required("forms and plugins' own state of a conversation", "cat.cache.cache_item", ("CacheItem",)),
    Required("forms and plugins' own state of a conversation", "cat.cache.in_memory_cache", ("InMemoryCache",)),
    Required("the limit on the Cat's token counting", "cat.looking_glass.callbacks", ("tiktoken.get_encoding",)),
    Required("the limit on the Cat's token counting", "cat.looking_glass.stray_cat", ("tiktoken.get_encoding",)),
    Required("whether an LLM is configured", "cat.factory.custom_llm", ("LLMDefault",)),
    Required("embeddings", "cat.factory.custom_embedder", ("DumbEmbedder",)),
    Required("embeddings", "cat.db.crud", ("get_setting_by_name",)),
    Required(
        "calls of the LLM",
        "langchain_core.language_models.chat_models",
        ("generate_from_stream", "BaseChatModel._astream", "BaseChatModel._agenerate", "BaseChatModel._generate"),
    ),
)

RUNNING = (
    Required("the end of the plugin's connections and tasks", "state", ("event_loop",)),
    Required("the LLM", "state.ccat", ("_llm",)),
    Required("embeddings", "state.ccat", ("embedder",)),
    Required("hooks and tools of plugins", "state.ccat.mad_hatter", ("hooks", "plugins", "procedures")),
    Required("stored conversations and states", "state.ccat.cache", ("get_value", "insert", "delete")),
    Required("API keys", "state.ccat.custom_auth_handler", ("authorize_user_from_credential",)),
    Required("API keys", "state.ccat.core_auth_handler", ("authorize_user_from_credential",)),
    Required("the vector database, which only one thread may use", "state.ccat.memory.vectors", ("vector_db",)),
    Required("the vector database, which only one thread may use", "state.ccat.memory.vectors", ("local_vector_db",)),
    Required("erasing a person's memory", "state.ccat.memory.vectors", ("collections",)),
)
"""Of `cat.startup.cheshire_cat_api.state`, which has `ccat` once the Cat has started."""
