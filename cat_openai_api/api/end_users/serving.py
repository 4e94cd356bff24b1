"""Erasing people: all that the plugin keeps of them."""

from collections import Counter
from collections.abc import Sequence

from ...domain.people import Caller, Person
from ...errors import InsufficientPermissions
from ...runtime import runtime
from .protocol import Erased, ErasedEndUser


def people_named(name: str, caller: Caller, *, is_admin: bool) -> Sequence[Person]:
    """Whom the caller means. Raises `InsufficientPermissions` for anybody but the caller, unless that is an admin."""
    is_own_name = not caller.is_service and name in (caller.person.name, caller.person.key)
    if is_admin:
        others = [person for person in runtime.host.people(name) if person.key != caller.person.key]
        return [*others, caller.person] if is_own_name else others
    if is_own_name:
        return [caller.person]
    raise InsufficientPermissions("You can erase yourself only, by your own name. An admin can erase everybody.")


async def erase(name: str, people: Sequence[Person], *, is_admin: bool) -> ErasedEndUser:
    """Raises `StorageFailed`, and then a part of it may be erased: what is left is erased by another request."""
    counts: Counter[str] = Counter()
    for person in people:
        counts.update(await runtime.host.erase(person))
        for response in runtime.active_responses.of(person):
            await response.cancel()
    counts["keys"] = sum([await runtime.keys.delete_of_end_user(person.name) for person in people])
    # An admin means everybody whom the usage shows by that name.
    counts["usage"] = await runtime.usage.forget([person.key for person in people], name if is_admin else None)
    erased = Erased(**{kind: count for kind, count in counts.items() if kind in Erased.model_fields})
    runtime.host.log_info(f"OpenAI API: an end user was erased: {erased.model_dump()}")
    return ErasedEndUser(id=name, erased=erased)
