"""Models, aliases, health."""

import time
from collections.abc import Callable

import httpx
from host import Cat, needs_agents
from openai import OpenAI
from upstream import Upstream


@needs_agents
def test_the_cat_and_its_agents_are_models(client: OpenAI) -> None:
    models = client.models.list().data
    assert models[0].id == "cheshire-cat"
    assert {"cheshire-cat:alice", "cheshire-cat:dormouse"} < {model.id for model in models}
    assert "cheshire-cat:default" not in {model.id for model in models}
    assert all(model.object == "model" and model.created > 0 and model.owned_by for model in models)


def test_one_model_is_found_by_its_id(client: OpenAI) -> None:
    assert client.models.retrieve("cheshire-cat").id == "cheshire-cat"


@needs_agents
def test_an_agent_is_found_by_its_id(client: OpenAI) -> None:
    assert client.models.retrieve("cheshire-cat:alice").id == "cheshire-cat:alice"


def test_any_user_with_a_jwt_can_list_the_models(cat: Cat) -> None:
    with OpenAI(base_url=cat.base_url, api_key=cat.token("alice")) as client:
        assert client.models.list().data


def chat(client: OpenAI, model: str) -> tuple[str, str]:
    """The model in the response, and its text."""
    completion = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Who?"}])
    return completion.model, completion.choices[0].message.content or ""


def test_an_alias_stands_for_a_model_and_the_response_has_the_requested_name(
    client: OpenAI, settings: Callable[..., None]
) -> None:
    settings(model_aliases="gpt-4 = cheshire-cat\n gpt-4o = cheshire-cat")
    assert chat(client, "gpt-4o") == ("gpt-4o", "Who?")
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"
    chunks = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Who?"}], stream=True)
    assert {chunk.model for chunk in chunks} == {"gpt-4o"}


@needs_agents
def test_the_alias_star_stands_for_any_unknown_name(client: OpenAI, settings: Callable[..., None]) -> None:
    settings(model_aliases="gpt-4o=cheshire-cat:dormouse, *=cheshire-cat")
    assert chat(client, "gpt-4o") == ("gpt-4o", "Treacle, said I.")
    assert chat(client, "anything/else:1.0") == ("anything/else:1.0", "Who?")
    assert chat(client, "cheshire-cat:dormouse") == ("cheshire-cat:dormouse", "Treacle, said I.")


def test_an_alias_of_a_model_that_does_not_exist_is_not_found(
    http: httpx.Client, settings: Callable[..., None]
) -> None:
    settings(model_aliases="gpt-4o=cheshire-cat:nobody")
    assert http.get("/v1/models/gpt-4o").status_code == 404


def test_health_needs_no_key_and_contains_no_secret(cat: Cat) -> None:
    reply = httpx.get(f"{cat.url}/custom/health")
    assert reply.status_code == 200
    health = reply.json()
    assert health["status"] == "healthy"
    assert health["plugin"] == "cat_openai_api"
    assert health["version"].count(".") == 2
    assert abs(health["timestamp"] - time.time()) < 5
    assert "streaming" in health["features"]
    assert set(health) == {"status", "plugin", "version", "timestamp", "features"}
    assert str(cat.home) not in reply.text


def test_health_is_degraded_while_no_llm_is_configured(cat: Cat, upstream: Upstream) -> None:
    cat.use_no_llm()
    try:
        assert httpx.get(f"{cat.url}/custom/health").json()["status"] == "degraded"
    finally:
        cat.use_llm(upstream.base_url)


@needs_agents
def test_health_is_degraded_while_the_llm_has_no_key(cat: Cat, upstream: Upstream) -> None:
    cat.use_llm(upstream.base_url, api_key="")
    try:
        assert httpx.get(f"{cat.url}/custom/health").json()["status"] == "degraded"
    finally:
        cat.use_llm(upstream.base_url)
