"""The connect page: one document with its style and script in it, the same for everybody.

What it shows it asks the API for, from the browser. It names no address: the browser knows best under which one
the Cat is reached.
"""

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    content: str
    headers: dict[str, str]


@cache
def connect_page() -> Page:
    style, script = _read("page.css"), _read("page.js")
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
    """Nothing but this style and this script, which may ask this Cat alone and make no markup out of text.

    By their digests: 'self' would be every file that the Cat or another plugin serves.
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
