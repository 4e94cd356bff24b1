"""The part of the Cat's own API that tests need. Plugins' routes must be removable: none is in a router."""

import asyncio
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cat.auth.connection import WebSocketAuth
from cat.auth.permissions import (
    AuthPermission,
    AuthResource,
    check_permissions,
    get_base_permissions,
)
from cat.convo.messages import CatMessage
from cat.db import crud
from cat.log import log
from cat.looking_glass.cheshire_cat import EMBEDDERS, LLMS

Json = dict[str, Any]
Permissions = dict[AuthResource, list[AuthPermission]]


class Credentials(BaseModel):
    username: str
    password: str


class UserCreate(BaseModel):
    username: str = Field(min_length=2)
    password: str = Field(min_length=5)
    permissions: Permissions = get_base_permissions()
    model_config = ConfigDict(extra="forbid")


class UserResponse(BaseModel):
    id: str
    username: str
    permissions: Permissions


def needs(resource: str, permission: str) -> Any:
    return check_permissions(AuthResource(resource), AuthPermission(permission))


def add_routes(app: FastAPI) -> None:
    for add in (_conversation, _users, _plugins, _llm, _embedder):
        add(app)


def _conversation(app: FastAPI) -> None:
    @app.get("/", dependencies=[needs("STATUS", "READ")])
    async def status() -> Json:
        return {"status": "This is a double.", "version": "1.9.2"}

    @app.post("/message", response_model=CatMessage)
    async def message(payload: Json, cat: Annotated[Any, needs("CONVERSATION", "WRITE")]) -> Any:
        return await run_in_threadpool(cat.run, {"user_id": cat.user_id, **payload}, True)

    @app.websocket("/ws")
    @app.websocket("/ws/{user_id}")
    async def websocket(
        websocket: WebSocket,
        cat: Annotated[Any, Depends(WebSocketAuth(AuthResource.CONVERSATION, AuthPermission.WRITE))],
    ) -> None:
        await websocket.accept()
        sockets = app.state.web_sockets
        sockets[cat.user_id] = websocket
        try:
            while True:
                payload = await websocket.receive_json()
                cat.load_working_memory_from_cache()
                await run_in_threadpool(cat.run, payload, return_message=False)
        except WebSocketDisconnect:
            cat.load_working_memory_from_cache()
        finally:
            sockets.pop(cat.user_id, None)


def _users(app: FastAPI) -> None:
    @app.post("/auth/token")
    async def auth_token(request: Request, credentials: Credentials) -> Json:
        handler = request.app.state.ccat.core_auth_handler
        token = handler.issue_jwt(credentials.username, credentials.password)
        if token is None:
            await asyncio.sleep(1)
            raise HTTPException(403, {"error": "Invalid Credentials"})
        return {"access_token": token, "token_type": "bearer"}

    @app.post("/users/", response_model=UserResponse, dependencies=[needs("USERS", "WRITE")])
    def create_user(new: UserCreate) -> Json:
        users = crud.get_users()
        if any(user["username"] == new.username for user in users.values()):
            raise HTTPException(403, {"error": "Cannot duplicate user"})
        user = crud.new_user(new.username, new.password, new.permissions)
        crud.update_users({**users, user["id"]: user})
        return user


def _plugins(app: FastAPI) -> None:
    def mad_hatter() -> Any:
        return app.state.ccat.mad_hatter

    @app.post("/plugins/upload", dependencies=[needs("PLUGINS", "WRITE")])
    async def install_plugin(file: UploadFile) -> Json:
        name = (file.filename or "").rpartition("/")[2]
        if not name.endswith((".zip", ".tar")):
            raise HTTPException(400, {"error": f"{name} is neither a zip nor a tar"})
        mad_hatter().install_plugin(name, await file.read())
        return {"filename": file.filename, "content_type": file.content_type, "info": "Plugin is installed"}

    @app.put("/plugins/toggle/{plugin_id}", dependencies=[needs("PLUGINS", "WRITE")])
    async def toggle_plugin(plugin_id: str) -> Json:
        _found(mad_hatter().plugins, plugin_id, "Plugin")
        try:
            mad_hatter().toggle_plugin(plugin_id)
        except Exception as error:
            log.error(f"Could not toggle plugin {plugin_id}")
            raise HTTPException(500, {"error": str(error)}) from error
        return {"info": f"Plugin {plugin_id} toggled"}

    @app.get("/plugins/settings/{plugin_id}", dependencies=[needs("PLUGINS", "READ")])
    async def get_plugin_settings(plugin_id: str) -> Json:
        plugin = _found(mad_hatter().plugins, plugin_id, "Plugin")
        schema = plugin.settings_schema()
        return {
            "name": plugin_id,
            "value": plugin.load_settings(),
            "schema": schema if schema["properties"] else {},
        }

    @app.put("/plugins/settings/{plugin_id}", dependencies=[needs("PLUGINS", "EDIT")])
    async def upsert_plugin_settings(plugin_id: str, payload: Json) -> Json:
        plugin = _found(mad_hatter().plugins, plugin_id, "Plugin")
        try:
            plugin.settings_model().model_validate(payload)
        except ValidationError as error:
            messages = [part["msg"] for part in error.errors()]
            raise HTTPException(400, {"error": "\n".join(messages)}) from error
        return {"name": plugin_id, "value": plugin.save_settings(payload)}

    @app.get("/plugins/{plugin_id}", dependencies=[needs("PLUGINS", "READ")])
    async def get_plugin_details(plugin_id: str) -> Json:
        plugin = _found(mad_hatter().plugins, plugin_id, "Plugin")
        return {
            "data": {
                **plugin.manifest,
                "active": plugin_id in mad_hatter().active_plugins,
                "hooks": [{"name": hook.name, "priority": hook.priority} for hook in plugin.hooks],
                "tools": [{"name": tool.name} for tool in plugin.tools],
                "forms": [],
                "endpoints": [{"name": route.name, "tags": route.tags} for route in plugin.endpoints],
            }
        }

    @app.delete("/plugins/{plugin_id}", dependencies=[needs("PLUGINS", "DELETE")])
    async def delete_plugin(plugin_id: str) -> Json:
        _found(mad_hatter().plugins, plugin_id, "Item")
        mad_hatter().uninstall_plugin(plugin_id)
        return {"deleted": plugin_id}


def _llm(app: FastAPI) -> None:
    @app.put("/llm/settings/{name}", dependencies=[needs("LLM", "EDIT")])
    def upsert_llm_setting(name: str, payload: Json) -> Json:
        if name not in LLMS:
            raise HTTPException(400, {"error": f"{name} not supported. Must be one of {list(LLMS)}"})
        app.state.ccat.choose_llm(name, payload)
        return {"name": name, "value": payload}


def _embedder(app: FastAPI) -> None:
    @app.put("/embedder/settings/{name}", dependencies=[needs("EMBEDDER", "EDIT")])
    def upsert_embedder_setting(name: str, payload: Json) -> Json:
        if name not in EMBEDDERS:
            raise HTTPException(400, {"error": f"{name} not supported. Must be one of {list(EMBEDDERS)}"})
        app.state.ccat.choose_embedder(name, payload)
        return {"name": name, "value": payload}


def _found(things: dict[str, Any], name: str, kind: str) -> Any:
    if name not in things:
        raise HTTPException(404, {"error": f"{kind} not found"})
    return things[name]
