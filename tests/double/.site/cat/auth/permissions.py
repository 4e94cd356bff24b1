from enum import Enum
from typing import Any

from fastapi import Depends

from cat.utils import BaseModelDict


class AuthResource(str, Enum):
    STATUS = "STATUS"
    MEMORY = "MEMORY"
    CONVERSATION = "CONVERSATION"
    SETTINGS = "SETTINGS"
    LLM = "LLM"
    EMBEDDER = "EMBEDDER"
    AUTH_HANDLER = "AUTH_HANDLER"
    USERS = "USERS"
    UPLOAD = "UPLOAD"
    PLUGINS = "PLUGINS"
    STATIC = "STATIC"


class AuthPermission(str, Enum):
    WRITE = "WRITE"
    EDIT = "EDIT"
    LIST = "LIST"
    READ = "READ"
    DELETE = "DELETE"


def get_full_permissions() -> dict[AuthResource, list[AuthPermission]]:
    return {resource: list(AuthPermission) for resource in AuthResource}


def get_base_permissions() -> dict[AuthResource, list[AuthPermission]]:
    """What a new user may do: chat."""
    return {
        AuthResource.STATUS: [AuthPermission.READ],
        AuthResource.MEMORY: [AuthPermission.READ, AuthPermission.LIST],
        AuthResource.CONVERSATION: list(AuthPermission),
        AuthResource.STATIC: [AuthPermission.READ],
    }


class AuthUserInfo(BaseModelDict):
    id: str
    name: str
    permissions: dict[AuthResource, list[AuthPermission]] = get_base_permissions()
    extra: BaseModelDict = BaseModelDict()


def check_permissions(resource: AuthResource, permission: AuthPermission) -> Any:
    """Default of an endpoint's parameter, which becomes the caller's StrayCat. Others get a 403."""
    from cat.auth.connection import HTTPAuth  # noqa: PLC0415  it needs this module

    return Depends(HTTPAuth(AuthResource(resource), AuthPermission(permission)))
