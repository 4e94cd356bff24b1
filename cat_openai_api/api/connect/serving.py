"""Serving the connect page: one HTML document that contains its style sheet and script.

The script requests what the page shows from the API. It takes the address of the Cat from the browser's address bar.
"""

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent

SCRIPTS = ("page.js", "keys.js", "usage.js", "start.js")
"""The parts of one module."""


@dataclass(frozen=True)
class Page:
    content: str
    headers: dict[str, str]


@cache
def connect_page() -> Page:
    style, script = _read("page.css"), "".join(_read(name) for name in SCRIPTS)
    return Page(
        _read("page.html").replace("{{style}}", style).replace("{{script}}", script),
        {
            "Content-Security-Policy": _policy(style, script),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        },
    )


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows only this style and script, and connections to this Cat only.

    The script and style are identified by their digests: 'self' would allow every file that the Cat or another plugin
    serves. Trusted Types prevent the script from interpreting text as HTML.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "img-src data:",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")
