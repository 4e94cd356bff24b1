"""The default of every hook, which leaves all as it is: a hook that no plugin has cannot be called."""

from typing import Any

from cat.mad_hatter.decorators import CatHook

NAMES = """
before_cat_bootstrap after_cat_bootstrap factory_allowed_llms factory_allowed_embedders
factory_allowed_auth_handlers fast_reply before_cat_reads_message cat_recall_query before_cat_recalls_memories
after_cat_recalls_memories before_cat_recalls_episodic_memories before_cat_recalls_declarative_memories
before_cat_recalls_procedural_memories before_agent_starts agent_fast_reply agent_allowed_tools
agent_prompt_prefix agent_prompt_suffix agent_prompt_instructions before_cat_stores_episodic_memory
before_cat_sends_message rabbithole_instantiates_parsers rabbithole_instantiates_splitter
before_rabbithole_insert_memory before_rabbithole_splits_text after_rabbithole_splitted_text
before_rabbithole_stores_documents after_rabbithole_stored_documents
"""


def unchanged(*arguments: Any, cat: Any) -> Any:
    return arguments[0] if arguments else None


globals().update({name: CatHook(name, unchanged, priority=0) for name in NAMES.split()})
