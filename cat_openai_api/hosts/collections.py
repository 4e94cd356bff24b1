"""The collections of stored rows, with their bounds for each person."""

from ..wire.models import MAX_NAME_LENGTH
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

NOBODY = "openai-api " + "-" * MAX_NAME_LENGTH
"""The owner of rows that belong to no person. It is longer than any name of an end user, so no end user is this owner:
on Cheshire Cat 1.9 a person's key is the name."""

STATES = Collection("states", lifetime=DAY, max_rows=64, max_bytes=1_000_000)
"""A row for each turn of a conversation, by its transcript key: what the Cat needs beside the messages."""

RESPONSE_EVENTS = Collection("response_events", lifetime=2 * 60 * 60, max_rows=10_000, max_bytes=32_000_000)
"""Rows for each response that was created with `background: true`, whose id is their parent: its events, in batches."""

RESPONSE_PROGRESS = Collection("response_progress", lifetime=2 * 60 * 60)
"""A row for each response in the background, by its id: the output so far. Gone when the response has ended."""

BACKGROUND_RUNS = Collection("background_runs", lifetime=DAY)
"""A row for each response that a Cat generates in the background, by its id: whose it is and which Cat it is. They
are owned by `NOBODY` and have nothing that anybody said."""

RUNNERS = Collection("runners", lifetime=DAY)
"""A row for each Cat that generates responses in the background: a number that the Cat changes while it is alive."""

KEYS = Collection("keys")
"""Owned by `NOBODY`: a row for each key of this API, by its id."""

KEY_CHANGES = Collection("key_changes")
"""Owned by `NOBODY`: one row, whose version is another one after each change of a key."""

KEY_USES = Collection("key_uses")
"""Owned by `NOBODY`: a row for each key, by its id: when it was used last."""

TOKENS_OF_KEYS = Collection("tokens_of_keys", lifetime=2 * DAY)
"""Owned by `NOBODY`: a row for each key and day: the tokens that it has used."""

ERASURES = Collection("erasures", lifetime=DAY)
"""A row for each person who was erased, in the place of the rows that were deleted. No request runs that long."""
