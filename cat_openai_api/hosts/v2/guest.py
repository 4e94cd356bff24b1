"""The Cat's user object in runs that must leave no trace."""

from typing import TYPE_CHECKING, Any

from ..detect import IS_CAT_2

if IS_CAT_2 or TYPE_CHECKING:
    from cat.auth.user import User
else:
    User = object


class GuestUser(User):
    """A user whose store is read-only: plugins can load what they have stored for the user, and nothing is saved."""

    @classmethod
    def copy_of(cls, user: Any) -> "GuestUser":
        return cls.model_construct(**dict(user))

    async def save(self, key: str, value: Any) -> Any:
        return value

    async def delete(self, key: str) -> bool:
        return False
