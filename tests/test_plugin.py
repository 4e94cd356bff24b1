"""The plugin inside its host: loading, switching off and on, settings, API docs, requirements."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from host import KEY, ROOT, Cat, make_cat, plugin_zip
from openai import APIError, OpenAI
from packaging.requirements import Requirement
from upstream import Upstream, script

ROUTES = {
    ("get", "/custom/health"),
    ("get", "/custom/metrics"),
    ("get", "/custom/keys"),
    ("post", "/custom/keys"),
    ("get", "/custom/keys/{key_id}"),
    ("post", "/custom/keys/{key_id}"),
    ("delete", "/custom/keys/{key_id}"),
    ("get", "/custom/v1/models"),
    ("get", "/custom/v1/models/{model}"),
    ("post", "/custom/v1/chat/completions"),
    ("post", "/custom/v1/completions"),
    ("post", "/custom/v1/embeddings"),
    ("post", "/custom/v1/responses"),
    ("post", "/custom/v1/responses/input_tokens"),
    ("post", "/custom/v1/responses/compact"),
    ("get", "/custom/v1/responses/{response_id}"),
    ("delete", "/custom/v1/responses/{response_id}"),
    ("post", "/custom/v1/responses/{response_id}/cancel"),
    ("get", "/custom/v1/responses/{response_id}/input_items"),
    ("post", "/custom/message"),
    ("get", "/custom/v1/organization/usage/completions"),
    ("get", "/custom/v1/organization/usage/embeddings"),
    ("delete", "/custom/end_users/{name}"),
}


@pytest.fixture(scope="module")
def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat that these tests may change, with the plugin under another folder name."""
    cat = make_cat(tmp_path_factory.mktemp("own") / "home", folder="some_other_name_2").start()
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


def routes(cat: Cat) -> set[tuple[str, str]]:
    paths = cat.http.get("/openapi.json").json()["paths"]
    return {(method, path) for path in paths if path.startswith("/custom") for method in paths[path]}


def ask(cat: Cat, text: str = "hi") -> httpx.Response:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": text}]}
    return cat.http.post("/custom/v1/chat/completions", json=body)


def test_it_loads_under_any_folder_name_without_an_error(own_cat: Cat) -> None:
    assert ask(own_cat).status_code == 200
    assert "ERROR" not in own_cat.log()
    assert routes(own_cat) == ROUTES


def test_switching_it_off_and_on_leaves_nothing_behind(own_cat: Cat, until: Callable[..., None]) -> None:
    ask(own_cat)
    before = own_cat.tasks()
    for _ in range(2):
        own_cat.toggle(own_cat.folder)
        assert ask(own_cat).status_code == 404
        assert own_cat.http.get("/custom/health").status_code == 404
        own_cat.toggle(own_cat.folder)
        assert ask(own_cat).status_code == 200
    assert routes(own_cat) == ROUTES
    until(lambda: len(own_cat.tasks()) <= len(before), "no task is left of the plugin that was switched off")
    assert "ERROR" not in own_cat.log()


def test_a_stream_that_is_open_while_the_plugin_is_switched_off_ends_with_done_or_an_error(own_cat: Cat) -> None:
    """Some Cats close the connections to the LLM when plugins change, which breaks the stream; others do not."""
    said, error = "", None
    with OpenAI(base_url=own_cat.base_url, api_key=KEY, max_retries=0) as client:
        chunks = client.chat.completions.create(
            model="cheshire-cat",
            messages=[{"role": "user", "content": script(say=["tick "], repeat=10, delay=0.1)}],
            stream=True,
        )
        try:
            for chunk in chunks:
                if not said:
                    own_cat.toggle(own_cat.folder)
                    own_cat.toggle(own_cat.folder)
                said += chunk.choices[0].delta.content or ""
        except APIError as raised:
            error = raised.code
    assert error == "upstream_error" or said == "tick " * 10


def test_it_can_be_installed_from_a_zip_and_removed(upstream: Upstream, tmp_path: Path) -> None:
    cat = make_cat(tmp_path / "home", folder=None).start()
    try:
        cat.use_llm(upstream.base_url)
        plugin = cat.install("cat_openai_api.zip", plugin_zip(tmp_path))
        assert ask(cat).status_code == 200
        assert cat.http.get("/custom/connect").status_code == 200
        cat.remove(plugin)
        assert ask(cat).status_code == 404
        assert "ERROR" not in cat.log()
    finally:
        cat.stop()


def test_every_route_shows_schema_and_example_in_the_hosts_api_docs(cat: Cat) -> None:
    document = cat.http.get("/openapi.json").json()
    for method, path in ROUTES:
        operation = document["paths"][path][method]
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"] == ["OpenAI API"]
        assert "422" not in operation["responses"]
        contents = [operation["responses"]["4XX"]["content"]]
        if path == "/custom/metrics":
            assert operation["responses"]["200"]["content"]["text/plain"]["example"]
        else:
            contents.append(operation["responses"]["200"]["content"])
        if method == "post" and not path.endswith("/cancel"):
            contents.append(operation["requestBody"]["content"])
        for content in contents:
            schema = document["components"]["schemas"][content["application/json"]["schema"]["$ref"].split("/")[-1]]
            assert schema["properties"]
            assert schema.get("example") or path == "/custom/v1/models"


def test_the_settings_have_the_documented_defaults_and_ranges(cat: Cat) -> None:
    cat.put_settings({}).raise_for_status()
    entry = cat.settings_entry()
    assert entry["value"] == {
        "rate_limit_per_minute": 60,
        "max_tokens": 4000,
        "enable_streaming": True,
        "stream_after_hooks": "auto",
        "show_steps": False,
        "history": "client",
        "debug_mode": False,
        "request_timeout": 120,
        "max_concurrent_requests": 100,
        "rate_limit_storage": "memory://",
        "metrics": False,
        "embeddings": True,
        "fetch_remote_images": False,
        "model_aliases": "",
        "end_user_headers": "X-OpenWebUI-User-Id, X-User-Id",
        "skip_background_tasks": True,
    }
    fields = entry["schema"]["properties"]
    assert all(field["title"] and field["description"] for field in fields.values())
    assert (fields["rate_limit_per_minute"]["minimum"], fields["rate_limit_per_minute"]["maximum"]) == (0, 1000)
    assert (fields["max_tokens"]["minimum"], fields["max_tokens"]["maximum"]) == (0, 32000)


@pytest.mark.parametrize(
    "values",
    [
        {"rate_limit_per_minute": -1},
        {"rate_limit_per_minute": 1001},
        {"max_tokens": 32001},
        {"max_tokens": "many"},
        {"enable_streaming": "perhaps"},
        {"stream_after_hooks": "sometimes"},
        {"history": "server"},
        {"end_user_headers": "X User"},
        {"model_aliases": "gpt-4o"},
        {"model_aliases": "=cheshire-cat"},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused_by_the_host(cat: Cat, values: dict[str, Any]) -> None:
    before = cat.settings_entry()["value"]
    assert cat.put_settings(values).status_code == 400
    assert cat.settings_entry()["value"] == before


def test_only_an_admin_can_change_the_settings(cat: Cat) -> None:
    assert cat.put_settings({}, credential=cat.token("alice")).status_code == 403


def test_debug_mode_logs_details_of_a_request_and_no_text(
    cat: Cat, settings: Callable[..., None], until: Callable[..., None]
) -> None:
    settings(debug_mode=True)
    for stream in (False, True):
        body = {
            "model": "cheshire-cat",
            "stream": stream,
            "messages": [{"role": "system", "content": "Be secretive."}, {"role": "user", "content": "a secret"}],
        }
        start = len(cat.log())
        reply = cat.http.post("/custom/v1/chat/completions", json=body)
        assert reply.status_code == 200
        until(lambda start=start: re.search("OpenAI API: .*\n", cat.log()[start:]), "the request is in the log")
        (line,) = [line for line in cat.log()[start:].splitlines() if "OpenAI API: " in line]
        path = json.loads(line[line.index("{") : line.rindex("}") + 1])
        assert path["model"] == "cheshire-cat"
        assert path["messages"] == [{"role": "system", "characters": 13}, {"role": "user", "characters": 8}]
        assert path["stream"] is stream
        assert 0 <= path["time_to_first_token"] <= path["seconds"] < 10
        assert path["usage"]["completion_tokens"] == 2
        assert path["finish_reason"] == "stop"
        assert "secret" not in line.replace("Be secretive.", "")
        assert KEY not in cat.log()[start:]


def test_debug_mode_logs_details_of_a_message(
    cat: Cat, settings: Callable[..., None], log_line: Callable[[httpx.Response], str]
) -> None:
    settings(debug_mode=True)
    reply = cat.http.post("/custom/message", json={"text": "a secret", "user_id": uuid.uuid4().hex})
    assert reply.json()["text"] == "a secret"
    line = log_line(reply)
    path = json.loads(line[line.index("{") : line.rindex("}") + 1])
    assert path["message"] == {"characters": 8, "turns_before": 0}
    assert (path["characters"], path["finish_reason"]) == (8, "stop")


def test_debug_mode_logs_why_a_request_was_refused(
    cat: Cat, settings: Callable[..., None], log_line: Callable[[httpx.Response], str]
) -> None:
    settings(debug_mode=True)
    reply = cat.http.post("/custom/v1/chat/completions", json={"model": "cheshire-cat"})
    assert "missing_required_parameter" in log_line(reply)


def test_without_debug_mode_no_details_are_logged(cat: Cat, log_line: Callable[[httpx.Response], str]) -> None:
    reply = ask(cat)
    assert reply.status_code == 200
    line = log_line(reply)
    assert '"outcome":"ok"' in line
    assert '"messages"' not in line


def test_the_host_can_parse_the_requirements() -> None:
    """It passes each line with its line break to `packaging`, which refuses line breaks since 26.3."""
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines(keepends=True)
    assert [Requirement(line).name for line in lines] == ["limits"]
