"""Keys of this API, as admins make them for its clients."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ApiKey:
    """A key of this API.

    `id`: `key_…`, public. `digest`: SHA-256 of the key's value, in hexadecimal; the value itself is not stored.
    `redacted_value`: the value without its secret. `created_at`, `expires_at`: seconds since the epoch. `end_user`: the
    name of the only end user that the key is for. `is_service`: whether its holder speaks for end users. A key of
    neither kind is for a person of its own. `models`: ids of those that it may use; None: all.
    `rate_limit_per_minute`: requests, in place of the setting; 0: no limit; None: the setting. `tokens_per_day`: None:
    no limit.
    """

    id: str
    name: str
    digest: str
    redacted_value: str
    created_at: int
    end_user: str | None = None
    is_service: bool = False
    models: tuple[str, ...] | None = None
    rate_limit_per_minute: int | None = None
    tokens_per_day: int | None = None
    expires_at: int | None = None
    is_enabled: bool = True

    def has_expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at
