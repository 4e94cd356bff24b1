import time
from typing import Any

import jwt

from cat.auth.auth_utils import check_password, is_jwt
from cat.auth.permissions import (
    AuthPermission,
    AuthResource,
    AuthUserInfo,
    get_base_permissions,
    get_full_permissions,
)
from cat.db.crud import get_users
from cat.env import get_env
from cat.log import log


class CustomAuthHandler:
    """The stock one knows nobody."""

    def authorize_user_from_credential(
        self,
        protocol: str,
        credential: str,
        auth_resource: AuthResource,
        auth_permission: AuthPermission,
        user_id: str = "user",
    ) -> AuthUserInfo | None:
        return None


class CoreAuthHandler(CustomAuthHandler):
    """Users with a JWT may what they may; whoever has a key is who he says and may everything."""

    def authorize_user_from_credential(
        self,
        protocol: str,
        credential: str,
        auth_resource: AuthResource,
        auth_permission: AuthPermission,
        user_id: str = "user",
    ) -> AuthUserInfo | None:
        if is_jwt(credential):
            return self._user_of_jwt(credential, auth_resource, auth_permission)
        http_key, ws_key = get_env("CCAT_API_KEY"), get_env("CCAT_API_KEY_WS")
        is_open = not http_key and not ws_key
        if credential != (ws_key if protocol == "websocket" else http_key) and not is_open:
            return None
        is_chat_only = protocol == "websocket" and not is_open
        permissions = get_base_permissions() if is_chat_only else get_full_permissions()
        return AuthUserInfo(id=user_id, name=user_id, permissions=permissions)

    def issue_jwt(self, username: str, password: str) -> str | None:
        for user in get_users().values():
            if user["username"] == username and check_password(password, user["password"]):
                expires = time.time() + float(get_env("CCAT_JWT_EXPIRE_MINUTES") or 0) * 60
                claims = {
                    "sub": user["id"],
                    "username": username,
                    "permissions": user["permissions"],
                    "exp": int(expires),
                }
                return jwt.encode(claims, get_env("CCAT_JWT_SECRET"), get_env("CCAT_JWT_ALGORITHM"))
        return None

    def _user_of_jwt(self, token: str, resource: AuthResource, permission: AuthPermission) -> AuthUserInfo | None:
        try:
            claims: dict[str, Any] = jwt.decode(
                token, get_env("CCAT_JWT_SECRET"), algorithms=[get_env("CCAT_JWT_ALGORITHM")]
            )
        except jwt.InvalidTokenError:
            log.error("Could not auth user from JWT")
            return None
        user = get_users().get(claims.get("sub", ""))
        if user is None or permission not in user["permissions"].get(resource, []):
            return None
        return AuthUserInfo(id=user["id"], name=claims["username"], permissions=user["permissions"], extra=user)
