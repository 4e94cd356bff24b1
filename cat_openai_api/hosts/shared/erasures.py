"""The people who were erased while runs of theirs were under way on this Cat."""

import time

from ..collections import ERASURES


class Erasures:
    """What a host stores outside of `Storage`, which refuses rows by itself, asks here first."""

    def __init__(self) -> None:
        self._erased_at: dict[str, float] = {}

    def add(self, person_key: str) -> None:
        now = time.time()
        lifetime = ERASURES.lifetime or 0.0
        self._erased_at = {key: at for key, at in self._erased_at.items() if at > now - lifetime}
        self._erased_at[person_key] = now

    def has(self, person_key: str, since: float | None) -> bool:
        """Whether the person was erased then or later. `since`: in seconds since the epoch; None: not in a request."""
        return since is not None and self._erased_at.get(person_key, 0.0) >= since
