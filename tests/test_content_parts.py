"""Content parts: images, audio and files reach the LLM unchanged, and unsupported parts are refused."""

import base64
import json
from typing import Any

import httpx
import pytest
from upstream import Upstream, script

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(24)).decode()
WAV = base64.b64encode(b"RIFF" + bytes(24)).decode()
PDF = base64.b64encode(b"%PDF-1.7" + bytes(24)).decode()


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


PNG_PART = image(f"data:image/png;base64,{PNG}", detail="low")
JPEG_PART = image(f"data:image/jpeg;base64,{JPEG}")
AUDIO_PART = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
FILE_PART = {
    "type": "file",
    "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "Über uns & mehr.pdf"},
}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def post(http: httpx.Client, *messages: dict[str, Any], **more: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": "cheshire-cat", "messages": messages, **more})


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    "parts",
    [
        [PNG_PART],
        [PNG_PART, text("then"), JPEG_PART],
        [image(f"data:image/png;base64,{PNG}", detail="high")],
        [AUDIO_PART],
        [FILE_PART],
        [PNG_PART, AUDIO_PART, FILE_PART],
    ],
    ids=["image", "images", "detail", "audio", "file", "all"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_parts_reach_the_llm_unchanged_and_in_order(
    http: httpx.Client, upstream: Upstream, tag: str, parts: list[Any], stream: bool
) -> None:
    sent = [text(script("Look:", tag=tag, say="I see.")), *parts]
    post(http, user(*sent), stream=stream).raise_for_status()
    (record,) = upstream.wait(tag)
    assert record["body"]["messages"][-1]["content"] == sent


def test_a_message_may_have_an_image_alone(http: httpx.Client) -> None:
    reply = post(http, user(PNG_PART))
    assert reply.status_code == 200, reply.text


def test_images_of_earlier_messages_reach_the_llm(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    earlier = [text("A cat?"), PNG_PART, JPEG_PART]
    messages = [
        user(*earlier),
        {"role": "assistant", "content": "A cat."},
        user(text(script("Sure?", tag=tag, say="Yes."))),
    ]
    post(http, *messages).raise_for_status()
    (record,) = upstream.wait(tag)
    assert record["body"]["messages"][1]["content"] == earlier


def test_the_media_type_jpg_becomes_jpeg(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    jpg = image(f"DATA:image/JPG;base64,{JPEG}")
    post(http, user(text(script(tag=tag, say="I see.")), jpg)).raise_for_status()
    (record,) = upstream.wait(tag)
    assert record["body"]["messages"][-1]["content"][1] == JPEG_PART


REMOTE = image("https://example.com/cat.png")


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (image("data:image/png;base64,%%%"), "image_url.url", "invalid_value"),
        (image("data:image/png;base64,"), "image_url.url", "invalid_value"),
        (image("data:text/html;base64,PGI+"), "image_url.url", "invalid_value"),
        (image("data:image/png,raw"), "image_url.url", "invalid_value"),
        (image("file:///etc/passwd"), "image_url.url", "invalid_value"),
        (image(""), "image_url.url", "invalid_value"),
        (image(f"data:image/png;base64,{PNG}", detail="ultra"), "image_url.detail", "invalid_value"),
        (REMOTE, "image_url.url", "unsupported_parameter"),
        ({"type": "image_url", "image_url": PNG}, "image_url", "invalid_value"),
        ({"type": "image_url"}, "image_url", "missing_required_parameter"),
        (
            {"type": "input_audio", "input_audio": {"data": "%", "format": "wav"}},
            "input_audio.data",
            "invalid_value",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": WAV, "format": "ogg"}},
            "input_audio.format",
            "invalid_value",
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file", "unsupported_parameter"),
        ({"type": "file", "file": {"file_data": PDF}}, "file.file_data", "invalid_value"),
        ({"type": "video", "video": "x"}, "type", "invalid_value"),
        ({"type": "refusal", "refusal": "no"}, "type", "invalid_value"),
        ({}, "type", "missing_required_parameter"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
def test_unsupported_parts_are_refused_with_their_path(http: httpx.Client, part: Any, param: str, code: str) -> None:
    reply = post(http, {"role": "assistant", "content": "Hm?"}, user(text("Look:"), part))
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == (f"messages[1].content[1].{param}", code)


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_images_are_allowed_in_user_messages_only(http: httpx.Client, role: str) -> None:
    reply = post(http, {"role": role, "content": [PNG_PART]}, user(text("Look:")))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].startswith("messages[0].content")


def test_images_of_private_addresses_are_not_fetched(http: httpx.Client, settings: Any, upstream: Upstream) -> None:
    settings(fetch_remote_images=True)
    inside = upstream.base_url.removesuffix("/v1") + "/_test/requests"
    reply = post(http, user(text("Look:"), image(inside)))
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == ("messages[0].content[1].image_url.url", "invalid_value")


def test_at_most_ten_images_are_fetched(http: httpx.Client, settings: Any) -> None:
    settings(fetch_remote_images=True)
    reply = post(http, user(*(image(f"http://127.0.0.1:1/{number}.png") for number in range(11))))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "messages[0].content[10].image_url.url"
