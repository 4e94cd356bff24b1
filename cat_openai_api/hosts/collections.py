"""The collections of stored rows, with their bounds for each person."""

from .storage import Collection

DAY = 24 * 60 * 60

RESPONSES = Collection("responses", lifetime=30 * DAY, max_rows=128, max_bytes=8_000_000)
"""A row for each response, by its id. OpenAI stores responses for 30 days as well."""

CONVERSATIONS = Collection("conversations")
"""A row for each conversation, by the id of its model. `conversation.history` bounds what is in a row."""

TURNS = Collection("turns", lifetime=30 * DAY, max_rows=1000, max_bytes=4_000_000)
"""A row for each turn of a conversation, by its transcript key: what the Cat's pipeline made of the user's message, and
what belongs to the replies to it."""

SECRETS = Collection("secrets")
"""A row for each key of the plugin's own, by its name. They belong to `NOBODY`."""

NOBODY = ""
"""The owner of rows that are no person's: people have names of at least one character."""

STATES = Collection("states", lifetime=DAY, max_rows=64, max_bytes=1_000_000)
"""A row for each turn of a conversation, by its transcript key: what the Cat needs beside the messages."""
