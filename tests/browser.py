"""A real Chromium, for tests of the Cat's pages."""

import shutil

import pytest
from selenium import webdriver

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")

# The browser must send no requests of its own to the network.
SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1400",
]


def start_browser(*switches: str) -> webdriver.Chrome:
    """`get_log("browser")` has the messages of its console, `get_log("performance")` its network requests."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for switch in [*SWITCHES, *switches]:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
