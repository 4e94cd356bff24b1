"""Routes of other plugins: of paths that this plugin has as well, whichever of the two was registered first."""

import io
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from host import KEY, PLUGINS, WHICH, Cat, link_entries, make_cat, plugin_zip
from packaging.version import Version
from upstream import Upstream

OTHER = "caucus_race"
METRICS = "/custom/metrics"
CLASH = "is a route of "
INSTALL_SECONDS = 120

Until = Callable[..., None]

removes_routes = pytest.mark.skipif(
    WHICH == "2" and Version(version("cheshire-cat-ai")) < Version("2.0.23"),
    reason="this Cat leaves the routes of plugins that are switched off",
)


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in folder.glob("*.*"):
            archive.write(file, f"{folder.name}/{file.name}")
    return buffer.getvalue()


def with_ours_first(home: Path) -> Cat:
    cat = make_cat(home).start()
    cat.install(f"{OTHER}.zip", zipped(PLUGINS / OTHER))
    return cat


def with_theirs_first(home: Path) -> Cat:
    cat = make_cat(home, folder=None)
    link_entries(PLUGINS / OTHER, cat.plugins / OTHER)
    cat.start()
    if not prizes(cat).is_success:
        cat.toggle(OTHER)
    cat.folder = cat.install("cat_openai_api.zip", plugin_zip(home))
    return cat


@pytest.fixture(scope="module", params=[with_ours_first, with_theirs_first], ids=["ours first", "theirs first"])
def both(request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    cat = request.param(tmp_path_factory.mktemp("both") / "home")
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


def prizes(cat: Cat) -> httpx.Response:
    return cat.http.get("/custom/v1/prizes")


def clashes(cat: Cat) -> list[str]:
    return [line.partition("OpenAI API: ")[2] for line in cat.log().splitlines() if CLASH in line]


def metrics_are_ours(cat: Cat) -> bool:
    reply = cat.http.get(METRICS)
    return "openai_api_" in reply.text or reply.json()["error"]["code"] == "metrics_unavailable"


@removes_routes
def test_each_clash_is_one_line_in_the_log(both: Cat, until: Until) -> None:
    until(lambda: len(clashes(both)) >= 2, "the clashes are in the log")
    metrics, models = sorted(clashes(both))
    assert metrics.startswith(f"GET {METRICS} is a route of {OTHER}.{OTHER} too, which answers while metrics is off")
    assert models.startswith("GET /custom/v1/models/{")
    assert f"{CLASH}{OTHER}.{OTHER} too" in models
    ours_answers = both.http.get("/custom/v1/models/cheshire-cat").json().get("object") == "model"
    assert ("registered later" in models) is ours_answers
    both.toggle("wonderland")
    both.toggle("wonderland")
    until(lambda: both.http.get("/wonderland/tasks").is_success, "the plugins are there again")
    assert len(clashes(both)) == 2


def test_metrics_are_the_other_plugins_while_the_setting_is_off(both: Cat) -> None:
    for _ in range(2):
        both.put_settings({}).raise_for_status()
        reply = both.http.get(METRICS, headers={"Authorization": ""})
        assert (reply.status_code, reply.text) == (200, "laps 3\n")
        assert "x-request-id" not in reply.headers
        both.put_settings({"metrics": True}).raise_for_status()
        assert metrics_are_ours(both)
        assert both.http.get(METRICS, headers={"Authorization": ""}).status_code == 401
    assert both.http.post(METRICS).json() == {"posted": "lory"}
    assert prizes(both).json() == ["comfits", "thimble"]


@removes_routes
def test_switching_either_off_leaves_the_others_routes(both: Cat, until: Until) -> None:
    both.put_settings({}).raise_for_status()
    both.toggle(OTHER)
    reply = both.http.get(METRICS)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "metrics_off")
    assert both.http.get("/custom/v1/models/cheshire-cat").json()["object"] == "model"
    assert prizes(both).status_code == 404
    both.toggle(OTHER)
    assert both.http.get(METRICS).text == "laps 3\n"
    both.toggle(str(both.folder))
    assert both.http.get(METRICS).text == "laps 3\n"
    assert both.http.get("/custom/v1/models/dodo").json() == {"animal": "dodo"}
    both.toggle(str(both.folder))
    until(lambda: both.http.get("/custom/health").is_success, "the plugin is on again")
    assert both.http.get(METRICS).text == "laps 3\n"
    both.put_settings({"metrics": True}).raise_for_status()
    until(lambda: metrics_are_ours(both), "the plugin's metrics answer")
    assert "ERROR" not in both.log()


def test_a_clash_is_not_logged_where_there_is_none(cat: Cat) -> None:
    assert httpx.get(f"{cat.url}/custom/v1/models", headers={"Authorization": f"Bearer {KEY}"}).is_success
    assert not clashes(cat)
