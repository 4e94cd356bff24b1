"""Embeddings from the Cat's own embedder."""

import base64
import json
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
from host import KEY, WHICH, Cat, make_cat
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings
from openai import BadRequestError, NotFoundError, OpenAI
from upstream import EMBEDDING_SIZE, SECRET, Upstream, embedding, script

MODEL = "cheshire-cat-embedder"
EMBEDDINGS = "/v1/embeddings"

UNLIMITED = {"rate_limit_per_minute": 0, "max_concurrent_requests": 0}

PROVIDER = """
from cat.base import ModelProvider


class Letters(ModelProvider):
    slug = "letters"
    name = "Letters"

    async def llm(self, model, messages, system_prompt="", tools=[], on_token=None, on_tool_call=None):
        raise NotImplementedError

    async def embed(self, model, text):
        if "x" in text:
            raise RuntimeError("x")
        return [float(text.count(letter)) for letter in model]


class Mute(ModelProvider):
    slug = "mute"
    name = "Makes no embeddings"

    async def llm(self, model, messages, system_prompt="", tools=[], on_token=None, on_tool_call=None):
        raise NotImplementedError
"""


@pytest.fixture(scope="module")
def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat whose embedder these tests may change; its vector memory depends on the embedder."""
    cat = make_cat(tmp_path_factory.mktemp("embedding") / "home")
    if WHICH == "2":
        (cat.plugins / "letters").mkdir()
        (cat.plugins / "letters" / "letters.py").write_text(PROVIDER, "utf-8")
    cat.start().use_llm(upstream.base_url)
    use_upstream(cat, upstream)
    assert "Unable to load" not in cat.log()
    yield cat
    cat.stop()


def use_upstream(cat: Cat, upstream: Upstream) -> None:
    if WHICH == "2":
        cat.use_llm(upstream.base_url)
    else:
        choose(cat, "EmbedderOpenAICompatibleConfig", url=upstream.base_url.removesuffix("/v1"))


def choose(cat: Cat, name: str, **values: Any) -> None:
    """Choose an embedder by its name in the Cat's panel."""
    if WHICH == "2":
        saved = cat.http.put("/settings/core__config__core", json={"default_embedder": name})
    else:
        saved = cat.http.put(f"/embedder/settings/{name}", json=values)
    saved.raise_for_status()


@pytest.fixture
def cat(own_cat: Cat) -> Cat:
    own_cat.put_settings(UNLIMITED).raise_for_status()
    return own_cat


@pytest.fixture
def embedder(cat: Cat, upstream: Upstream) -> Iterator[Callable[..., None]]:
    """Choose another one for a test: `embedder(name, **values)`."""
    yield lambda name, **values: choose(cat, name, **values)
    use_upstream(cat, upstream)


def body(input: Any, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": input, **more}


def error_of(reply: httpx.Response) -> dict[str, Any]:
    return {"status": reply.status_code, **reply.json()["error"]}


def inputs(upstream: Upstream, tag: str) -> list[list[str]]:
    """The inputs of the tag's requests that reached the embedder."""
    return [record["body"]["input"] for record in upstream.wait(tag)]


# What is embedded


@pytest.mark.parametrize("format", ["float", "base64", None])
def test_a_text_gets_the_vector_of_the_cats_embedder(client: OpenAI, format: Any) -> None:
    options = {"encoding_format": format} if format else {}
    reply = client.embeddings.create(model=MODEL, input="A grin without a cat.", **options)
    (found,) = reply.data
    vector = found.embedding
    if format == "base64":
        assert isinstance(vector, str)
        vector = [*struct.unpack(f"<{EMBEDDING_SIZE}f", base64.b64decode(vector))]
    assert vector == embedding("A grin without a cat.", EMBEDDING_SIZE, as_base64=False)
    assert (reply.model, reply.object, found.object, found.index) == (MODEL, "list", "embedding", 0)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0


@pytest.mark.parametrize("format", ["float", "base64", None])
def test_a_vector_is_a_list_unless_base64_is_requested(http: httpx.Client, format: str | None) -> None:
    reply = http.post(EMBEDDINGS, json=body(["one", "two"], encoding_format=format))
    assert reply.headers["content-type"] == "application/json"
    kind = str if format == "base64" else list
    assert {type(item["embedding"]) for item in reply.json()["data"]} == {kind}
    assert {**reply.json(), "data": None, "usage": None} == {
        "object": "list",
        "data": None,
        "model": MODEL,
        "usage": None,
    }


def test_base64_and_float_are_the_same_numbers(http: httpx.Client) -> None:
    texts = ["one", "two three", "one two"]
    plain, packed = (
        http.post(EMBEDDINGS, json=body(texts, encoding_format=format)).json()["data"] for format in ("float", "base64")
    )
    assert [item["embedding"] for item in plain] == [
        [*struct.unpack(f"<{EMBEDDING_SIZE}f", base64.b64decode(item["embedding"]))] for item in packed
    ]


def test_many_texts_are_embedded_in_batches_and_keep_their_order(client: OpenAI, upstream: Upstream, tag: str) -> None:
    texts = [script(f"text {number}", tag=tag) for number in range(75)]
    found = client.embeddings.create(model=MODEL, input=texts).data
    assert [item.index for item in found] == [*range(75)]
    assert [item.embedding for item in found] == [embedding(text, EMBEDDING_SIZE, as_base64=False) for text in texts]
    asked = inputs(upstream, tag)
    assert sorted(map(len, asked)) == [11, 32, 32]
    assert sorted(text for batch in asked for text in batch) == sorted(texts)


def test_as_many_texts_as_on_openai_are_accepted(http: httpx.Client) -> None:
    assert len(http.post(EMBEDDINGS, json=body(["a"] * 2048)).json()["data"]) == 2048
    error = error_of(http.post(EMBEDDINGS, json=body(["a"] * 2049)))
    assert (error["status"], error["param"], error["code"]) == (400, "input", "invalid_value")
    assert "2048" in error["message"]


@pytest.mark.parametrize(
    "wrong",
    ["", [], [""], ["a", ""], [[]], [[1], []], [1.5], ["a", 1], [True], [[1], "a"], [["a"]], None, {}, 7, [None]],
    ids=repr,
)
def test_an_invalid_input_is_refused(http: httpx.Client, wrong: Any) -> None:
    error = error_of(http.post(EMBEDDINGS, json=body(wrong)))
    assert (error["status"], error["type"], error["param"]) == (400, "invalid_request_error", "input")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("model", None),
        ("encoding_format", "int8"),
        ("dimensions", 0),
        ("dimensions", 1.5),
        ("dimensions", "many"),
        ("dimensions", 10**30),
        ("user", "u" * 513),
    ],
)
def test_a_field_out_of_range_is_refused(http: httpx.Client, field: str, value: Any) -> None:
    error = error_of(http.post(EMBEDDINGS, json={**body("a"), field: value}))
    assert (error["status"], error["param"]) == (400, field)


def test_a_missing_field_is_named(http: httpx.Client) -> None:
    error = error_of(http.post(EMBEDDINGS, json={"model": MODEL}))
    assert (error["status"], error["param"], error["code"]) == (400, "input", "missing_required_parameter")


def test_unknown_fields_and_null_are_ignored(http: httpx.Client) -> None:
    more = {"dimensions": None, "encoding_format": None, "user": None, "input_type": "query", "truncate": "END"}
    assert http.post(EMBEDDINGS, json=body("a", **more)).status_code == 200


# Tokens


@pytest.fixture(scope="session")
def tokens_of() -> Callable[[str], list[int]]:
    tiktoken = pytest.importorskip("tiktoken")
    try:
        return tiktoken.get_encoding("cl100k_base").encode
    except Exception as error:
        pytest.skip(f"no vocabulary: {type(error).__name__}")


def test_token_ids_are_decoded_to_their_text(
    client: OpenAI, upstream: Upstream, tag: str, tokens_of: Callable[[str], list[int]]
) -> None:
    texts = [script("Grüße, 猫 🐱", tag=tag), "a second"]
    one = client.embeddings.create(model=MODEL, input=tokens_of(texts[0])).data
    both = client.embeddings.create(model=MODEL, input=[*map(tokens_of, texts)]).data
    assert [item.embedding for item in [*one, *both]] == [
        embedding(text, EMBEDDING_SIZE, as_base64=False) for text in (texts[0], *texts)
    ]
    assert inputs(upstream, tag) == [texts[:1], texts]


@pytest.mark.usefixtures("tokens_of")
@pytest.mark.parametrize("token", [100_256, 100_277, -1, 2**31, 2**70], ids=str)
def test_an_unknown_token_id_is_refused(http: httpx.Client, token: int) -> None:
    for input in ([token], [[1], [1, token]]):
        error = error_of(http.post(EMBEDDINGS, json=body(input)))
        assert (error["status"], error["param"], error["code"]) == (400, "input", "invalid_value")
        assert str(token)[:20] in error["message"]


def test_as_many_tokens_as_on_openai_are_accepted(http: httpx.Client, tokens_of: Callable[[str], list[int]]) -> None:
    tokens = tokens_of("one two three")
    assert len(tokens) == 3
    reply = http.post(EMBEDDINGS, json=body([tokens * 500] * 200))
    assert len(reply.json()["data"]) == 200
    error = error_of(http.post(EMBEDDINGS, json=body([tokens * 500] * 250)))
    assert (error["status"], error["code"]) == (400, "invalid_json")


@pytest.mark.skipif(WHICH == "1.9", reason="without a vocabulary that Cat's own memory does not work")
def test_without_a_vocabulary_token_ids_are_refused_and_texts_accepted(upstream: Upstream, tmp_path: Any) -> None:
    cat = make_cat(tmp_path / "home")
    nowhere = "http://127.0.0.1:9"
    cat.start(TIKTOKEN_CACHE_DIR=str(tmp_path / "none"), HTTPS_PROXY=nowhere, https_proxy=nowhere)
    try:
        cat.use_llm(upstream.base_url)
        use_upstream(cat, upstream)
        error = error_of(cat.http.post("/custom/v1/embeddings", json=body([1, 2])))
        assert (error["status"], error["param"], error["code"]) == (400, "input", "unsupported_parameter")
        assert "check_embedding_ctx_length=False" in error["message"]
        assert cat.http.post("/custom/v1/embeddings", json=body(["one"])).status_code == 200
    finally:
        cat.stop()


# Size of the vectors


def test_dimensions_may_be_the_size_of_the_embedders_vectors(client: OpenAI) -> None:
    (found,) = client.embeddings.create(model=MODEL, input="one", dimensions=EMBEDDING_SIZE).data
    assert len(found.embedding) == EMBEDDING_SIZE


@pytest.mark.skipif(WHICH != "2", reason="of those that Cheshire Cat 1.9 can have, only OpenAI's")
def test_dimensions_may_be_another_size_if_the_embedder_supports_it(client: OpenAI) -> None:
    (found,) = client.embeddings.create(model=MODEL, input="one", dimensions=64).data
    assert found.embedding == embedding("one", 64, as_base64=False)


def test_dimensions_of_another_size_are_refused_if_it_does_not(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input=script("one", reject=["dimensions"]), dimensions=64)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "dimensions")
    assert SECRET not in str(refused.value)


@pytest.mark.skipif(WHICH != "1.9", reason="needs the LangChain of the real Cheshire Cat 1.9")
def test_with_openais_class_dimensions_apply_to_one_request_only(upstream: Upstream, tmp_path: Any, tag: str) -> None:
    cat = make_cat(tmp_path / "home").start(OPENAI_API_BASE=upstream.base_url)
    try:
        choose(cat, "EmbedderOpenAIConfig", openai_api_key="key", model="text-embedding-3-small")
        for dimensions, size in ((64, 64), (None, EMBEDDING_SIZE)):
            reply = cat.http.post("/custom/v1/embeddings", json=body("one", dimensions=dimensions))
            assert len(reply.json()["data"][0]["embedding"]) == size
    finally:
        cat.stop()


# Usage


def test_usage_is_what_the_embedder_reports(http: httpx.Client) -> None:
    """Cheshire Cat 1.9's embedder classes do not report usage."""
    reported = {"prompt_tokens": 1234, "total_tokens": 1234}
    usage = http.post(EMBEDDINGS, json=body([script("one", reported_usage=reported)])).json()["usage"]
    assert (usage == reported) is (WHICH == "2")


@pytest.mark.parametrize("says", [{"usage": False}, {"reported_usage": {"prompt_tokens": 0, "total_tokens": 0}}])
def test_usage_is_a_count_if_the_embedder_reports_none(http: httpx.Client, says: dict[str, Any]) -> None:
    text = script("one two three", **says)
    usage = http.post(EMBEDDINGS, json=body([text])).json()["usage"]
    assert len(text) / 8 < usage["prompt_tokens"] < len(text)
    assert usage["total_tokens"] == usage["prompt_tokens"]


# Models


def test_the_embedder_is_last_in_the_list_of_models(client: OpenAI) -> None:
    models = client.models.list().data
    assert models[0].id == "cheshire-cat"
    assert models[-1].id == MODEL
    assert client.models.retrieve(MODEL).id == MODEL


def test_an_alias_may_stand_for_the_embedder(client: OpenAI, settings: Callable[..., None]) -> None:
    settings(model_aliases=f"text-embedding-3-small={MODEL}, *=cheshire-cat")
    assert client.embeddings.create(model="text-embedding-3-small", input="a").model == "text-embedding-3-small"
    assert client.models.retrieve("text-embedding-3-small").id == "text-embedding-3-small"
    settings(model_aliases=f"*={MODEL}")
    assert client.embeddings.create(model="text-embedding-ada-002", input="a").model == "text-embedding-ada-002"


@pytest.mark.parametrize("aliases", ["", "*=cheshire-cat", "gpt-4o=cheshire-cat, *=cheshire-cat"])
@pytest.mark.parametrize("model", ["text-embedding-3-small", "cheshire-cat", "gpt-4o"])
def test_a_chat_model_is_404_and_the_message_names_the_embedder(
    client: OpenAI, settings: Callable[..., None], aliases: str, model: str
) -> None:
    settings(model_aliases=aliases)
    with pytest.raises(NotFoundError) as missing:
        client.embeddings.create(model=model, input="a")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert f"Models of this Cat: {MODEL}." in missing.value.message
    exists = model == "cheshire-cat" or (model == "gpt-4o" and "gpt-4o" in aliases)
    assert ("makes no embeddings" in missing.value.message) is exists


@pytest.mark.parametrize("model", [MODEL, "text-embedding-3-small"])
def test_the_embedder_is_no_chat_model(client: OpenAI, settings: Callable[..., None], model: str) -> None:
    settings(model_aliases=f"*={MODEL}")
    for ask in (
        lambda: client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}]),
        lambda: client.completions.create(model=model, prompt="hi"),
    ):
        with pytest.raises(NotFoundError, match="only makes embeddings") as missing:
            ask()
        assert missing.value.code == "model_not_found"
        assert "cheshire-cat" in missing.value.message.split("Models of this Cat: ")[1]


def test_an_admin_can_switch_embeddings_off(http: httpx.Client, settings: Callable[..., None]) -> None:
    settings(embeddings=False)
    error = error_of(http.post(EMBEDDINGS, json=body("a")))
    assert (error["status"], error["type"], error["code"]) == (404, "invalid_request_error", "embeddings_off")
    assert MODEL not in http.get("/v1/models").text
    assert http.get(f"/v1/models/{MODEL}").status_code == 404


NOT_CONFIGURED = (
    ["default:default", "mute:any", "nobody:any"] if WHICH == "2" else ["EmbedderFakeConfig", "no longer there"]
)


@pytest.mark.parametrize("name", NOT_CONFIGURED)
def test_without_an_embedder_the_error_names_the_settings_page(
    http: httpx.Client, embedder: Callable[..., None], name: str
) -> None:
    if name == "no longer there":
        # The Cat cannot make it, and goes on with the one that it has without any choice.
        embedder("EmbedderOpenAICompatibleConfig", nothing="of the kind")
    else:
        embedder(name)
    error = error_of(http.post(EMBEDDINGS, json=body("a")))
    assert (error["status"], error["type"], error["code"]) == (503, "server_error", "embedder_not_configured")
    assert ("Default Embedder" if WHICH == "2" else "Settings, Embedder") in error["message"]
    assert MODEL not in http.get("/v1/models").text
    assert http.get(f"/v1/models/{MODEL}").status_code == 404


@pytest.mark.skipif(WHICH != "2", reason="Cheshire Cat 1.9's has none")
def test_a_provider_without_a_key_is_not_configured(cat: Cat, upstream: Upstream, http: httpx.Client) -> None:
    cat.use_llm(upstream.base_url, api_key="")
    try:
        assert error_of(http.post(EMBEDDINGS, json=body("a")))["code"] == "embedder_not_configured"
    finally:
        cat.use_llm(upstream.base_url)


@pytest.mark.skipif(WHICH == "2", reason="Cheshire Cat 2 has none of its own")
def test_the_dumb_embedder_of_cat_1(client: OpenAI, embedder: Callable[..., None]) -> None:
    embedder("EmbedderDumbConfig")
    one, two = client.embeddings.create(model=MODEL, input=["A grin", "a cat"]).data
    assert {*one.embedding, *two.embedding} == {0.0, 1.0}
    assert one.embedding != two.embedding
    assert len(one.embedding) == len(two.embedding) > 1000


@pytest.mark.skipif(WHICH != "2", reason="providers are Cheshire Cat 2's")
def test_a_provider_that_accepts_one_text_for_each_request(http: httpx.Client, embedder: Callable[..., None]) -> None:
    embedder("letters:ab:c")
    texts = ["a" * number + "b:c" for number in range(40)]
    found = http.post(EMBEDDINGS, json=body(texts)).json()["data"]
    assert [item["embedding"] for item in found] == [[float(number), 1.0, 1.0, 1.0] for number in range(40)]
    assert error_of(http.post(EMBEDDINGS, json=body(["a", "x"])))["code"] == "upstream_error"
    assert error_of(http.post(EMBEDDINGS, json=body("a", dimensions=3)))["param"] == "dimensions"


# Whoever asks


def test_embeddings_have_a_separate_rate_limit_count(
    http: httpx.Client, settings: Callable[..., None], somebody: str
) -> None:
    settings(rate_limit_per_minute=2)
    chat = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}], "user": somebody}
    remaining = "x-ratelimit-remaining-requests"
    for left in ("1", "0"):
        assert http.post("/v1/chat/completions", json=chat).headers[remaining] == left
    for left in ("1", "0"):
        assert http.post(EMBEDDINGS, json=body("a", user=somebody)).headers[remaining] == left
    refused = http.post(EMBEDDINGS, json=body("a", user=somebody))
    assert error_of(refused)["code"] == "rate_limit_exceeded"
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert http.post(EMBEDDINGS, json=body("a", user=f"{somebody}'s friend")).status_code == 200


def test_the_headers_of_an_invalid_request_have_the_count_of_its_route(
    cat: Cat, settings: Callable[..., None], somebody: str
) -> None:
    settings(rate_limit_per_minute=5)
    headers = {"Authorization": f"Bearer {cat.token(somebody)}"}
    chat = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}]}
    assert httpx.post(f"{cat.base_url}/chat/completions", json=chat, headers=headers, timeout=30).is_success
    assert httpx.post(f"{cat.base_url}/embeddings", json=body("a"), headers=headers, timeout=30).is_success
    assert httpx.post(f"{cat.base_url}/embeddings", json=body("a"), headers=headers, timeout=30).is_success
    shown = [
        httpx.post(f"{cat.base_url}{path}", json={}, headers=headers).headers["x-ratelimit-remaining-requests"]
        for path in ("/chat/completions", "/embeddings")
    ]
    assert shown == ["4", "3"]


def test_the_concurrency_limit_is_shared_with_chat(
    http: httpx.Client, settings: Callable[..., None], upstream: Upstream, tag: str
) -> None:
    settings(max_concurrent_requests=1)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(http.post, EMBEDDINGS, json=body(script("a", tag=tag, first_delay=1.5)))
        upstream.wait(tag, state="running")
        chat = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}]}
        for path, asked in ((EMBEDDINGS, body("b")), ("/v1/chat/completions", chat)):
            error = error_of(http.post(path, json=asked))
            assert (error["status"], error["code"]) == (503, "overloaded")
        assert slow.result().status_code == 200
    assert http.post(EMBEDDINGS, json=body("b")).status_code == 200


def test_a_request_has_one_log_line(
    cat: Cat, settings: Callable[..., None], log_line: Callable[[httpx.Response], str]
) -> None:
    settings(debug_mode=True)
    reply = cat.http.post("/custom/v1/embeddings", json=body(["a secret", "b"]))
    line = log_line(reply)
    entry = json.loads(line[line.index("{") : line.rindex("}") + 1])
    tokens = reply.json()["usage"]["prompt_tokens"]
    assert entry["route"] == "/custom/v1/embeddings"
    assert (entry["model"], entry["outcome"], entry["status"]) == (MODEL, "ok", 200)
    assert entry["usage"] == {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    assert entry["texts"] == [{"characters": 8}, {"characters": 1}]
    assert "secret" not in line


# What goes wrong

ITEM = {"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}


@pytest.mark.parametrize(
    "says",
    [
        {"fail_status": 500},
        {"fail_status": 429},
        {"fail_status": 401},
        {"fail_status": 400},
        {"rubbish": True},
        {"fail_status": 200, "fail_body": {"object": "list", "data": []}},
        {"fail_status": 200, "fail_body": {"object": "list", "data": [ITEM, ITEM]}},
        {"fail_status": 200, "fail_body": {"object": "list", "data": [{**ITEM, "embedding": []}]}},
        {"fail_status": 200, "fail_body": {"object": "list", "data": [{**ITEM, "embedding": None}]}},
        {"fail_status": 200, "fail_body": {"object": "list", "data": [{**ITEM, "embedding": ["a"]}]}},
        {"fail_status": 200, "fail_body": {"object": "list", "data": [{**ITEM, "embedding": [1e39]}]}},
        {"fail_status": 200, "fail_body": '{"data": [{"index": 0, "embedding": [NaN]}]}'},
        {"fail_status": 200, "fail_body": "{"},
    ],
    ids=str,
)
def test_an_embedder_that_fails_is_502(http: httpx.Client, says: dict[str, Any]) -> None:
    reply = http.post(EMBEDDINGS, json=body([script("a", **says)], encoding_format="base64"))
    error = error_of(reply)
    assert (error["status"], error["type"], error["code"]) == (502, "server_error", "upstream_error")
    assert SECRET not in reply.text
    assert http.post(EMBEDDINGS, json=body("b")).status_code == 200


def test_an_embedder_that_takes_too_long_is_504(
    http: httpx.Client, settings: Callable[..., None], upstream: Upstream, tag: str
) -> None:
    settings(request_timeout=1)
    error = error_of(http.post(EMBEDDINGS, json=body(script("a", tag=tag, first_delay=4))))
    assert (error["status"], error["type"], error["code"]) == (504, "server_error", "timeout")
    assert http.post(EMBEDDINGS, json=body("b")).status_code == 200
    (record,) = upstream.wait(tag)
    assert record["state"] == ("left" if WHICH == "2" else "finished")


def test_a_client_that_disconnects_ends_the_work_and_releases_its_slot(
    cat: Cat, settings: Callable[..., None], upstream: Upstream, tag: str, until: Callable[..., None]
) -> None:
    settings(max_concurrent_requests=1)
    texts = [script(f"{number}", tag=tag, first_delay=1) for number in range(32 * 20)]
    headers = {"Authorization": f"Bearer {KEY}"}
    begun = threading.Event()

    def leave() -> None:
        with httpx.Client(timeout=httpx.Timeout(30, read=0.4)) as client, suppress(httpx.ReadTimeout):
            begun.set()
            client.post(f"{cat.base_url}/embeddings", json=body(texts), headers=headers)

    with ThreadPoolExecutor() as pool:
        leaving = pool.submit(leave)
        upstream.wait(tag, state="running")
        leaving.result()
    until(
        lambda: cat.http.post("/custom/v1/embeddings", json=body("a")).status_code == 200,
        "the place is free again",
    )
    until(lambda: upstream.open_requests() == 0, "no request is open")
    assert len(upstream.requests(tag)) <= 8


# What people do with it


DOCUMENTS = [
    "The Cheshire Cat vanishes slowly, beginning with the end of its tail and ending with the grin.",
    "The Hatter has been having tea since March, as it is always six o'clock for him.",
    "The Queen of Hearts plays croquet with flamingoes for mallets and hedgehogs for balls.",
    "The Caterpillar smokes a hookah on a mushroom, one side of which makes you grow taller.",
]


@pytest.mark.parametrize("as_tokens", [True, False])
def test_a_langchain_retriever_finds_the_right_document(
    cat: Cat, tokens_of: Callable[[str], list[int]], as_tokens: bool
) -> None:
    assert tokens_of("a")
    embeddings = OpenAIEmbeddings(
        model=MODEL, base_url=cat.base_url, api_key=KEY, check_embedding_ctx_length=as_tokens, chunk_size=3
    )
    retriever = InMemoryVectorStore.from_texts(DOCUMENTS, embeddings).as_retriever(search_kwargs={"k": 1})
    for question, answer in [
        ("Which animals are the balls and mallets of croquet?", 2),
        ("Who smokes a hookah?", 3),
        ("Why is the Hatter always having tea?", 1),
        ("What is left when the Cat vanishes, the grin or the tail?", 0),
    ]:
        (found,) = retriever.invoke(question)
        assert found.page_content == DOCUMENTS[answer]
