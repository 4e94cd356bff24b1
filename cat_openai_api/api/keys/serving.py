"""Serving the keys of this API."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from ...access.exposure import key_warning
from ...domain.keys import ApiKey
from ...domain.model_ids import EMBEDDER_MODEL
from ...errors import invalid
from ...runtime import runtime
from .protocol import ChangeKeyRequest, CreatedKey, CreateKeyRequest, DeletedKey, KeyList, KeyObject


async def create_key(body: CreateKeyRequest) -> CreatedKey:
    """Raises `InvalidRequest`, or `StorageFailed`."""
    now = int(time.time())
    _check_models(body.models)
    if body.end_user is not None and body.service:
        raise invalid("service", "a key is for one end user or for a service; leave out this field or end_user")
    if body.expires_at is not None and body.expires_at <= now:
        raise invalid("expires_at", f"this time has passed; now it is {now}")
    key, value = await runtime.keys.create(
        ApiKey(
            id="",
            name=body.name,
            digest="",
            redacted_value="",
            created_at=now,
            end_user=body.end_user,
            is_service=bool(body.service),
            models=None if body.models is None else tuple(body.models),
            rate_limit_per_minute=body.rate_limit_per_minute,
            tokens_per_day=body.tokens_per_day,
            expires_at=body.expires_at,
        )
    )
    return CreatedKey(**_fields(key, None, 0), value=value)


async def change_key(key_id: str, body: ChangeKeyRequest) -> KeyObject:
    """Raises `KeyNotFound`, `InvalidRequest` or `StorageFailed`."""
    _check_models(body.models)
    fields = {name: getattr(body, name) for name in body.model_fields_set}
    if "enabled" in fields:
        fields["is_enabled"] = fields.pop("enabled")
    if fields.get("models"):
        fields["models"] = tuple(fields["models"])
    key = await runtime.keys.change(key_id, lambda key: replace(key, **fields))
    (changed,) = await _objects([key])
    return changed


async def list_keys(*, limit: int, order: Literal["asc", "desc"], after: str | None) -> KeyList:
    """Raises `InvalidRequest` for an unknown `after`, and `StorageFailed`."""
    keys = await runtime.keys.list_all()
    if order == "desc":
        keys.reverse()
    if after is not None:
        ids = [key.id for key in keys]
        if after not in ids:
            raise invalid("after", f"there is no key with the id '{after[:100]}'")
        keys = keys[ids.index(after) + 1 :]
    page = await _objects(keys[:limit])
    warning = await key_warning(runtime.host)
    return KeyList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(keys) > limit,
        warning=warning and f"{warning[0].upper()}{warning[1:]}.",
    )


async def retrieve_key(key_id: str) -> KeyObject:
    """Raises `KeyNotFound` or `StorageFailed`."""
    (found,) = await _objects([await runtime.keys.get(key_id)])
    return found


async def delete_key(key_id: str) -> DeletedKey:
    """Raises `KeyNotFound` or `StorageFailed`."""
    await runtime.keys.delete(key_id)
    return DeletedKey(id=key_id)


def _check_models(models: Sequence[str] | None) -> None:
    """Raises `InvalidRequest` for a name that is no id of a model, such as an alias."""
    known = [*runtime.host.models(), EMBEDDER_MODEL]
    for index, model in enumerate(models or ()):
        if model not in known:
            raise invalid(f"models[{index}]", f"the Cat has no model '{model[:100]}'; it has {', '.join(known)}")


async def _objects(keys: Sequence[ApiKey]) -> list[KeyObject]:
    ids = [key.id for key in keys]
    uses, tokens = await runtime.keys.last_uses(ids), await runtime.admission.budgets.tokens_today(ids)
    return [KeyObject(**_fields(key, uses.get(key.id), tokens[key.id])) for key in keys]


def _fields(key: ApiKey, last_used_at: int | None, tokens_today: int) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "redacted_value": key.redacted_value,
        "end_user": key.end_user,
        "service": key.is_service,
        "models": key.models and [*key.models],
        "rate_limit_per_minute": key.rate_limit_per_minute,
        "tokens_per_day": key.tokens_per_day,
        "expires_at": key.expires_at,
        "enabled": key.is_enabled,
        "created_at": key.created_at,
        "last_used_at": last_used_at,
        "tokens_today": tokens_today,
    }
