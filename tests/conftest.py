"""What the tests share: an upstream LLM, a Cat in front of it, and the official SDK in front of the Cat."""

import shutil
import ssl
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from host import KEY, ROOT, Cat, make_cat
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI
from upstream import Upstream

TLS = ssl.create_default_context()
"""Shared by the HTTP clients of the fixtures: each would load the certificates of all authorities anew, which takes
longer than most tests."""


def pytest_configure(config: pytest.Config) -> None:
    """Unit tests import the plugin as a Cat does: as a folder of some name on the path.

    From the checkout itself `cat_openai_api` would be the package and not the plugin.
    """
    plugins = Path(tempfile.mkdtemp(prefix="plugins-"))
    (plugins / "bridge").symlink_to(ROOT)
    sys.path.insert(0, str(plugins))
    config.add_cleanup(lambda: shutil.rmtree(plugins))


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    server = Upstream.start(sys.executable)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    cat = make_cat(tmp_path_factory.mktemp("cat") / "home").start()
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


UNLIMITED = {"rate_limit_per_minute": 0, "max_concurrent_requests": 0}
"""The settings that tests start from: hundreds of requests a minute are theirs."""


@pytest.fixture
def cat(shared_cat: Cat) -> Cat:
    """The shared Cat with settings that limit nothing."""
    shared_cat.put_settings(UNLIMITED).raise_for_status()
    return shared_cat


@pytest.fixture
def settings(cat: Cat) -> Callable[..., None]:
    """Change settings for one test: `settings(max_tokens=5)`."""

    def change(**values: Any) -> None:
        cat.put_settings({**UNLIMITED, **values}).raise_for_status()

    return change


@pytest.fixture
def client(cat: Cat) -> Iterator[OpenAI]:
    plain = DefaultHttpxClient(verify=TLS)
    with OpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0, timeout=30, http_client=plain) as sdk:
        yield sdk


@pytest.fixture
def async_client(cat: Cat) -> AsyncOpenAI:
    plain = DefaultAsyncHttpxClient(verify=TLS)
    return AsyncOpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0, timeout=60, http_client=plain)


@pytest.fixture
def http(cat: Cat) -> Iterator[httpx.Client]:
    """Plain HTTP to the Cat, with the key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=f"{cat.url}/custom", headers=headers, timeout=30, verify=TLS) as plain:
        yield plain


@pytest.fixture
def tag() -> str:
    """Names this test's requests at the upstream LLM."""
    return uuid.uuid4().hex


@pytest.fixture
def somebody() -> str:
    """An end user of whom the Cat knows nothing, and whom no other test has used up."""
    return f"u{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool], str], None]:
    """Wait for what no event tells: `until(condition, "what it means")` asks until it holds."""

    def wait(condition: Callable[[], bool], meaning: str, timeout: float = 5) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not in {timeout} s: {meaning}"
            time.sleep(0.05)

    return wait


@pytest.fixture
def log_line(cat: Cat, until: Callable[..., None]) -> Callable[[httpx.Response], str]:
    """`log_line(reply)`: the line of the Cat's log for that request, which is written after its response was sent."""

    def line(reply: httpx.Response) -> str:
        request_id = reply.headers["x-request-id"]

        def lines() -> list[str]:
            return [line for line in cat.log().split("\n")[:-1] if request_id in line]

        until(lines, "the request is in the log")
        (found,) = lines()
        return found

    return line
