from collections.abc import AsyncGenerator
from typing import Any

from fastapi import HTTPException, WebSocketException
from fastapi.requests import HTTPConnection

from cat.auth.permissions import AuthPermission, AuthResource
from cat.looking_glass.stray_cat import StrayCat


class HTTPAuth:
    protocol = "http"

    def __init__(self, resource: AuthResource, permission: AuthPermission) -> None:
        self.resource = resource
        self.permission = permission

    async def __call__(self, connection: HTTPConnection) -> AsyncGenerator[StrayCat, None]:
        user_id, credential = self.credentials(connection)
        ccat = connection.app.state.ccat
        for handler in (ccat.custom_auth_handler, ccat.core_auth_handler):
            user = handler.authorize_user_from_credential(
                self.protocol, credential, self.resource, self.permission, user_id=user_id
            )
            if user:
                cat = StrayCat(user)
                yield cat
                cat.update_working_memory_cache()
                return
        raise self.refusal()

    def credentials(self, connection: HTTPConnection) -> tuple[str, str | None]:
        headers = connection.headers
        token = headers.get("authorization", "").replace("Bearer ", "") or headers.get("access_token")
        return headers.get("user_id", "user"), token or None

    def refusal(self) -> Exception:
        return HTTPException(403, {"error": "Invalid Credentials"})


class WebSocketAuth(HTTPAuth):
    protocol = "websocket"

    def credentials(self, connection: HTTPConnection) -> tuple[str, Any]:
        return connection.path_params.get("user_id", "user"), connection.query_params.get("token")

    def refusal(self) -> Exception:
        return WebSocketException(1004, "Invalid Credentials")
