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

RESPONSE_EVENTS = Collection("response_events", lifetime=2 * 60 * 60, max_rows=10_000, max_bytes=32_000_000)
"""Rows for each response that was created with `background: true`, whose id is their parent: its events, in batches."""

RESPONSE_PROGRESS = Collection("response_progress", lifetime=2 * 60 * 60)
"""A row for each response in the background, by its id: the output so far. Gone when the response has ended."""

BACKGROUND_RUNS = Collection("background_runs", lifetime=DAY)
"""A row for each response that a Cat generates in the background, by its id: whose it is and which Cat it is. They
belong to no person, see `EVERYBODY`, and have nothing that anybody said."""

RUNNERS = Collection("runners", lifetime=DAY)
"""A row for each Cat that generates responses in the background: a number that the Cat changes while it is alive."""

EVERYBODY = ""
"""The owner of rows that belong to no person. No person's key is empty."""
