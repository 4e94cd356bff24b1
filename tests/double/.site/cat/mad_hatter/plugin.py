import glob
import json
import sys
from importlib import import_module
from importlib.metadata import distributions
from inspect import getmembers
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from pydantic import BaseModel, ValidationError

from cat.log import log
from cat.mad_hatter.decorators import CatHook, CatPluginDecorator, CatTool, CustomEndpoint


class NoSettings(BaseModel):
    pass


class Plugin:
    """One folder with modules, all of which are imported when it is switched on; hidden ones are not seen."""

    def __init__(self, path: Path, package: str) -> None:
        self.id = path.name
        self._path = path
        files = glob.glob("**/*.py", root_dir=path, recursive=True)
        if not files:
            raise ValueError(f"{path} does not contain any python files")
        self._modules = [f"{package}.{file.removesuffix('.py').replace('/', '.')}" for file in files]
        self.manifest = self._load_manifest()
        self._clear()

    @property
    def path(self) -> str:
        return str(self._path)

    def activate(self) -> None:
        self._read_requirements()
        self._load()
        if not self._settings_file.is_file():
            self._create_settings()
        if "activated" in self.overrides:
            self.overrides["activated"].function(self)

    def deactivate(self) -> None:
        """Forgets the modules, but not their packages, which keep them as attributes."""
        if "deactivated" in self.overrides:
            self.overrides["deactivated"].function(self)
        for module in self._modules:
            sys.modules.pop(module, None)
        for endpoint in self.endpoints:
            endpoint.deactivate()
        self._clear()

    def settings_model(self) -> Any:
        return self._overridden("settings_model", lambda: NoSettings)

    def settings_schema(self) -> dict[str, Any]:
        return self._overridden("settings_schema", lambda: self.settings_model().model_json_schema())

    def load_settings(self) -> dict[str, Any]:
        return self._overridden("load_settings", self._load_settings)

    def save_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return self._overridden("save_settings", self._save_settings, settings)

    def _overridden(self, name: str, default: Any, *arguments: Any) -> Any:
        override = self.overrides.get(name)
        return (override.function if override else default)(*arguments)

    @property
    def _settings_file(self) -> Path:
        return self._path / "settings.json"

    def _load_settings(self) -> dict[str, Any]:
        if not self._settings_file.is_file() and not self._create_settings():
            return {}
        return json.loads(self._settings_file.read_text("utf-8"))

    def _save_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """As they were sent, over those there were: what the model would make of them is not asked."""
        settings = {**self.load_settings(), **settings}
        self._settings_file.write_text(json.dumps(settings), "utf-8")
        return settings

    def _create_settings(self) -> bool:
        """The model's defaults; none without a model of the plugin's own, or with a field that has no default."""
        if "settings_model" not in self.overrides:
            return False
        try:
            settings = self.settings_model()()
        except ValidationError:
            return False
        self._settings_file.write_text(settings.model_dump_json(), "utf-8")
        return True

    def _load_manifest(self) -> dict[str, Any]:
        file = self._path / "plugin.json"
        given = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        return {"id": self.id, "name": self.id, "description": "", "version": "0.0.1", **given}

    def _read_requirements(self) -> None:
        """Reads them as the real one does; where that would run pip, this only says so."""
        file = self._path / "requirements.txt"
        if not file.exists():
            return
        installed = {distribution.metadata["Name"] for distribution in distributions()}
        try:
            for line in file.read_text("utf-8").splitlines(keepends=True):
                if Requirement(line).name not in installed:
                    log.error(f"{self.id} requires what is not installed: {line}")
        except ValueError:
            log.error(f"Error during requirements checks for plugin {self.id}")

    def _load(self) -> None:
        found: list[Any] = []
        for name in self._modules:
            try:
                found += [member for _, member in getmembers(import_module(name), _is_decorated)]
            except Exception:
                log.error(f"Error in {name}. Unable to load plugin {self.id}")
        for member in found:
            member.plugin_id = self.id
        self.hooks = [member for member in found if isinstance(member, CatHook)]
        self.tools = [member for member in found if isinstance(member, CatTool)]
        self.endpoints = [member for member in found if isinstance(member, CustomEndpoint)]
        self.overrides = {member.name: member for member in found if isinstance(member, CatPluginDecorator)}

    def _clear(self) -> None:
        self.hooks: list[CatHook] = []
        self.tools: list[CatTool] = []
        self.endpoints: list[CustomEndpoint] = []
        self.overrides: dict[str, CatPluginDecorator] = {}


def _is_decorated(member: Any) -> bool:
    return isinstance(member, CatHook | CatTool | CustomEndpoint | CatPluginDecorator)
