"""What outlives the process: settings by name in one JSON file, the users among them."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from cat.auth.auth_utils import hash_password
from cat.auth.permissions import get_base_permissions, get_full_permissions
from cat.env import get_env


def get_setting(name: str) -> Any:
    return _read().get(name)


def get_setting_by_name(name: str) -> dict[str, Any] | None:
    value = get_setting(name)
    return None if value is None else {"name": name, "value": value}


def save_setting(name: str, value: Any) -> None:
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**_read(), name: value}), "utf-8")


def get_users() -> dict[str, dict[str, Any]]:
    if not get_setting("users"):
        admin = new_user("admin", "admin", get_full_permissions())
        user = new_user("user", "user", get_base_permissions())
        update_users({admin["id"]: admin, user["id"]: user})
    return get_setting("users")


def update_users(users: dict[str, dict[str, Any]]) -> None:
    save_setting("users", users)


def new_user(username: str, password: str, permissions: Any) -> dict[str, Any]:
    hashed = hash_password(password)
    return {"id": str(uuid4()), "username": username, "password": hashed, "permissions": permissions}


def _file() -> Path:
    return Path(get_env("CCAT_METADATA_FILE") or "")


def _read() -> dict[str, Any]:
    return json.loads(_file().read_text("utf-8")) if _file().exists() else {}
