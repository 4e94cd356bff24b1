"""Names of Cheshire Cat 2 that the plugin uses: those that it imports, and those that no documentation promises.

`hosts/v2` uses no name of `cat.*` that is not in these lists; a test compares them.
"""

from .required import Required

NAMES = (
    Required("errors and the line of each request", "cat", ("log.info", "log.warning", "log.error")),
    Required("API keys", "cat", ("config.API_KEY",)),
    Required("API keys and WebSockets", "cat.ambient", ("auth",)),
    Required("routes", "cat.mad_hatter.decorators", ("endpoint.get", "endpoint.post", "endpoint.delete")),
    Required("the client's functions", "cat.mad_hatter.decorators", ("Tool",)),
    Required("the running Cat", "cat.ambient.runtime", ("ccat",)),
    Required("the running Cat", "cat.looking_glass.cheshire_cat", ("CheshireCat.get", "CheshireCat.get_all")),
    Required("end users and the stream of a run", "cat.ambient.context_vars", ("Ctx", "ctx", "set_ctx")),
    Required("end users", "cat.auth.user", ("User.is_admin",)),
    Required("the stream of a run", "cat.protocols.agui", ("events.EventType.TEXT_MESSAGE_CONTENT",)),
    Required(
        "the client's functions and instructions",
        "cat.services.agents.base",
        ("Agent.loop", "Agent.call_tool", "Agent.directives", "Agent.system_prompt", "Agent.model"),
    ),
    Required(
        "the client's functions and instructions", "cat.services.directives.base", ("Directive.start", "Directive.step")
    ),
    Required(
        "parameters, functions and usage of the LLM",
        "cat.services.model_providers.openai_compatible",
        ("OpenAICompatibleProvider.client", "OpenAICompatibleProvider.convert_message"),
    ),
    Required("embeddings", "cat.services.model_providers.openai_compatible", ("OpenAICompatibleProvider.embed",)),
    Required("embeddings", "cat.services.model_providers.base", ("ModelProvider.embed",)),
    Required("whether an LLM is configured", "cat.services.model_providers.default", ("DefaultModelProvider",)),
    Required("the parameters of a run's LLM", "cat.services.service", ("ServiceMeta",)),
    Required("settings", "cat.services.service", ("Service.load_settings", "Service.save_settings")),
    Required(
        "the conversation",
        "cat.types",
        ("Message", "Task", "ToolCall", "TextContent", "ImageContent", "AudioContent"),
    ),
    Required("files in the conversation", "cat.protocols.model_context.type_wrappers", ("EmbeddedResource",)),
    Required("stored conversations and states", "cat.db", ("KeyValueDB._meta",)),
    Required("erasing end users", "cat.db.models", ("UserKeyValueDB.user_id", "UserKeyValueDB.delete")),
)

RUNNING = (
    Required("hooks of plugins, and the notice that the plugin is switched off", "ccat.mad_hatter", ("hooks",)),
    Required("the notice that the plugin is switched off", "ccat.mad_hatter", ("on_refresh_callbacks",)),
    Required("routes beside those of other plugins", "ccat", ("fastapi_app",)),
    Required("the agents, and the parameters of a run's LLM", "ccat.registry", ("classes",)),
)
"""Of what `cat.ambient.runtime.ccat()` returns."""
