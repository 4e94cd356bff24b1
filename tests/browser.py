"""A real Chromium, for tests of what a Cat shows."""

import shutil

import pytest
from selenium import webdriver

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")

# The browser is a guest of this machine alone: nothing of its own goes to the network.
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
    """`get_log("browser")` tells what stands in its console, `get_log("performance")` what it asked the network."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for switch in [*SWITCHES, *switches]:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
