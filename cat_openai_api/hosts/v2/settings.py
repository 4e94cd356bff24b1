"""The plugin's settings on Cheshire Cat 2."""

import asyncio
import time
from typing import TYPE_CHECKING

from ....settings import Settings as PluginSettings
from ..detect import IS_CAT_2

if IS_CAT_2 or TYPE_CHECKING:
    from cat import log
    from cat.services.service import Service
else:
    Service = object

SETTINGS_SECONDS = 1.0
"""How long the settings count as current that were read from the database."""


class OpenAIAPI(Service):
    """The plugin's entry in the Cat's Settings page.

    A singleton, because the Cat drops a singleton when its settings are saved (`Service.refresh`): `CachedSettings`
    sees by the new object that it has to read them again.
    """

    service_type = "config"
    slug = "openai_api"
    name = "OpenAI API"
    description = "The OpenAI API of this Cat, at /custom/v1."
    singleton = True

    Settings = PluginSettings


class CachedSettings:
    """The settings that were saved last; those that another Cat saves on the same database, within `SETTINGS_SECONDS`.

    Reading settings opens a database connection in a thread of its own. That takes longer than everything else that the
    plugin does before a run.
    """

    def __init__(self) -> None:
        self._reading = asyncio.Lock()
        self._settings: PluginSettings | None = None
        self._service: OpenAIAPI | None = None
        self._read_at = 0.0

    async def get(self) -> PluginSettings:
        """Raises what the database raises, but only if the settings have never been read."""
        if not self._are_current():
            async with self._reading:
                if not self._are_current():
                    await self._read()
        assert self._settings is not None
        return self._settings

    def _are_current(self) -> bool:
        return self._service is OpenAIAPI() and time.monotonic() - self._read_at < SETTINGS_SECONDS

    async def _read(self) -> None:
        """If the settings cannot be read, the former ones count: a busy SQLite file raises instead of waiting."""
        # Both before reading: what is saved meanwhile makes another object.
        service, read_at = OpenAIAPI(), time.monotonic()
        try:
            self._settings = await service.load_settings()
            self._service = service
        except Exception:
            if self._settings is None:
                raise
            log.error("OpenAI API: the settings cannot be read, the last known ones stay in force")
        self._read_at = read_at
