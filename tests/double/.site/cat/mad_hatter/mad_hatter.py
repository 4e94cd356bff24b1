import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cat.db.crud import get_setting, save_setting
from cat.log import log
from cat.mad_hatter import core_plugin
from cat.mad_hatter.decorators import CatHook, CatTool, CustomEndpoint
from cat.mad_hatter.plugin import Plugin

FOLDER = Path("cat/plugins")
CORE = "core_plugin"


class MadHatter:
    """The plugins, and what the active ones bring. `on_sync` is called whenever that has changed."""

    def __init__(self) -> None:
        self.plugins: dict[str, Plugin] = {}
        self.active_plugins: list[str] = []
        self.hooks: dict[str, list[CatHook]] = {}
        self.tools: list[CatTool] = []
        self.endpoints: list[CustomEndpoint] = []
        self.on_sync: Callable[[], None] = lambda: None
        self.find_plugins()

    def find_plugins(self) -> None:
        """All anew: active plugins are activated without having been deactivated before."""
        self.plugins = {}
        self.active_plugins = get_setting("active_plugins") or [CORE]
        self._load(Path(core_plugin.__file__).parent, core_plugin.__name__)
        for folder in FOLDER.iterdir():
            if folder.is_dir() and not folder.name.startswith((".", "__")):
                self._load(folder, f"cat.plugins.{folder.name}")
        for plugin in list(self.plugins.values()):
            if plugin.id in self.active_plugins:
                plugin.activate()
        self._sync()

    @property
    def procedures(self) -> list[CatTool]:
        return self.tools

    def plugin_exists(self, plugin_id: str) -> bool:
        return plugin_id in self.plugins

    def toggle_plugin(self, plugin_id: str) -> None:
        if plugin_id in self.active_plugins:
            self.plugins[plugin_id].deactivate()
            self.active_plugins.remove(plugin_id)
        else:
            self.plugins[plugin_id].activate()
            self.active_plugins.append(plugin_id)
        save_setting("active_plugins", self.active_plugins)
        self._sync()

    def install_plugin(self, name: str, packed: bytes) -> None:
        """Unpack and toggle: one that was active is off afterwards, and its routes stay."""
        plugin_id = re.sub(r"\W+", "_", Path(name).stem.lower()).strip("_")
        target = FOLDER / plugin_id
        with TemporaryDirectory() as folder:
            archive = Path(folder, name)
            archive.write_bytes(packed)
            source = Path(folder, "unpacked")
            shutil.unpack_archive(archive, source)
            entries = list(source.iterdir())
            if len(entries) == 1 and entries[0].is_dir():
                (source,) = entries
            settings = target / "settings.json"
            if settings.is_file():
                shutil.copy(settings, source)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        self._load(target, f"cat.plugins.{plugin_id}")
        self.toggle_plugin(plugin_id)

    def uninstall_plugin(self, plugin_id: str) -> None:
        if plugin_id == CORE:
            return
        if plugin_id in self.active_plugins:
            self.toggle_plugin(plugin_id)
        shutil.rmtree(self.plugins.pop(plugin_id).path)

    def execute_hook(self, hook_name: str, *args: Any, cat: Any) -> Any:
        """The first argument goes from hook to hook, the highest priority first. A hook that fails is skipped."""
        if hook_name not in self.hooks:
            raise ValueError(f"Hook {hook_name} not present in any plugin")
        cup = deepcopy(args[:1])
        for hook in self.hooks[hook_name]:
            try:
                made = hook.function(*deepcopy(cup), *deepcopy(args[1:]), cat=cat)
            except Exception:
                log.error(f"Error in plugin {hook.plugin_id}::{hook.name}")
            else:
                cup = (made,) if cup and made is not None else cup
        return cup[0] if cup else None

    def _load(self, folder: Path, package: str) -> None:
        try:
            self.plugins[folder.name] = Plugin(folder, package)
        except Exception:
            log.error(f"Error while loading plugin from {folder}")

    def _sync(self) -> None:
        self.hooks, self.tools, self.endpoints = {}, [], []
        for plugin in self.plugins.values():
            if plugin.id in self.active_plugins:
                self.tools += plugin.tools
                self.endpoints += plugin.endpoints
                for hook in plugin.hooks:
                    self.hooks.setdefault(hook.name, []).append(hook)
        for hooks in self.hooks.values():
            hooks.sort(key=lambda hook: hook.priority, reverse=True)
        self.on_sync()
