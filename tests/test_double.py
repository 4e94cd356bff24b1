"""The double of Cheshire Cat 1.9 in `tests/double` beside the real one: what the plugin sees of them is the same.

Runs where a real one is given: CAT_CORE is the folder `core` of its source, CAT_PYTHON the Python it is
installed for.
"""

import ast
import io
import json
import os
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import host
import httpx
import jwt
import pytest
from host import JWT_SECRET, KEY, ROOT, Cat1, link_entries, signed
from upstream import Upstream, script

if not {"CAT_CORE", "CAT_PYTHON"} <= os.environ.keys():
    pytest.skip("no Cheshire Cat 1.9 is given to compare with", allow_module_level=True)

PROBE = ROOT / "tests" / "double" / ".probe"
KINDS = {"real": "1.9", "double": "double"}

Pair = dict[str, Cat1]


@pytest.fixture(scope="module")
def pair(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    cats = {kind: started(kind, tmp_path_factory.mktemp(kind) / "home") for kind in KINDS}
    for cat in cats.values():
        cat.use_llm(upstream.base_url)
    yield cats
    for cat in cats.values():
        cat.stop()


@pytest.fixture(scope="module")
def open_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two Cats without a key."""
    cats = {kind: started(kind, tmp_path_factory.mktemp(kind) / "home", CCAT_API_KEY="") for kind in KINDS}
    yield cats
    for cat in cats.values():
        cat.stop()


def started(kind: str, home: Path, **environment: str) -> Cat1:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "WHICH", KINDS[kind])
        cat = Cat1(home, folder=None)
        link_entries(PROBE / "probe", cat.plugins / "probe")
        cat.start(**environment)
    cat.toggle("probe")
    return cat


def same(pair: Pair, look: Callable[[Cat1], Any]) -> Any:
    """What both show."""
    seen = {kind: look(cat) for kind, cat in pair.items()}
    assert seen["double"] == seen["real"]
    return seen["real"]


# Names and signatures


def imported() -> tuple[list[tuple[str, str]], list[str]]:
    """What the plugin imports from a Cat 1.9, and all that it could use of it: attributes, methods, arguments."""
    names: set[tuple[str, str]] = set()
    members: set[str] = set()
    hosts = ROOT / "cat_openai_api" / "hosts"
    for file in [*hosts.glob("v1/*.py"), hosts / "current.py"]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cat."):
                names |= {(str(node.module), alias.name) for alias in node.names}
            elif isinstance(node, ast.Attribute):
                members.add(node.attr)
            elif isinstance(node, ast.FunctionDef):
                members.add(node.name)
            elif isinstance(node, ast.keyword) and node.arg:
                members.add(node.arg)
    routing = (ROOT / "cat_openai_api" / "http" / "routing.py").read_text("utf-8")
    members.update(re.findall(r"\bendpoint\.(\w+)", routing))
    return sorted(names), sorted({name for name in members if not name.startswith("__")} | {"__init__"})


NOT_OFFERED = {
    "cat.convo.messages.ConversationMessage": {"message", "role", "__init__"},
    "cat.convo.messages.CatMessage": {"message", "role"},
    "cat.convo.messages.UserMessage": {"message", "role", "__init__"},
    "cat.mad_hatter.decorators.CatTool": {"__init__"},
}
"""What the real one's have and the plugin does not use: where it says these names it means something of its own."""


def signatures(kind: str, home: Path) -> dict[str, Any]:
    names, members = imported()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(home)}
    python = os.environ["CAT_PYTHON"]
    if kind == "double":
        python = host.sys.executable
        environment["PYTHONPATH"] = str(ROOT / "tests" / "double" / ".site")
    printed = subprocess.run(
        [python, PROBE / "signatures.py"],
        input=json.dumps({"names": names, "members": members}),
        capture_output=True,
        text=True,
        cwd=home,
        env=environment,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)


def test_all_that_the_plugin_imports_has_the_same_shape(pair: Pair) -> None:
    seen = {kind: signatures(kind, cat.home) for kind, cat in pair.items()}
    assert len(seen["real"]) > 10
    for name, members in NOT_OFFERED.items():
        for member in members:
            for shapes in seen.values():
                shapes[name].pop(member, None)
    assert seen["double"] == seen["real"]


# Who may


def renewed(token: str, secret: str = JWT_SECRET, expires: float = 600) -> str:
    """A token with the same claims."""
    return signed(jwt.decode(token, options={"verify_signature": False}), secret, expires)


def user_token(cat: Cat1, name: str) -> str:
    reply = httpx.post(f"{cat.url}/auth/token", json={"username": name, "password": name}, timeout=30)
    return str(reply.raise_for_status().json()["access_token"])


CREDENTIALS: dict[str, Callable[[Cat1], str | None]] = {
    "none": lambda _: None,
    "key": lambda _: f"Bearer {KEY}",
    "lower case": lambda _: f"bearer {KEY}",
    "bare key": lambda _: KEY,
    "wrong": lambda _: "Bearer wrong",
    "basic": lambda _: "Basic bWVvdw==",
    "empty": lambda _: "Bearer",
    "user": lambda cat: f"Bearer {user_token(cat, 'user')}",
    "admin": lambda cat: f"Bearer {user_token(cat, 'admin')}",
    "new user": lambda cat: f"Bearer {cat.token('alice')}",
    "expired": lambda cat: f"Bearer {renewed(user_token(cat, 'user'), expires=-5)}",
    "forged": lambda cat: f"Bearer {renewed(user_token(cat, 'user'), 'another secret of the same good length')}",
    "nobody": lambda _: f"Bearer {signed({'sub': 'nobody', 'username': 'nobody'})}",
}


def doors(credential: Callable[[Cat1], str | None]) -> Callable[[Cat1], Any]:
    """What stands open with a credential: two endpoints, the Cat's own status, and the handlers themselves."""

    def look(cat: Cat1) -> Any:
        given = credential(cat)
        headers = {"user_id": "bob", **({"Authorization": given} if given else {})}
        seen: list[Any] = []
        for path in ("/custom/probe/whoami", "/custom/probe/secret", "/"):
            reply = httpx.get(cat.url + path, headers=headers, timeout=30)
            seen.append((reply.status_code, reply.json() if path != "/" else None))
        asked = {"credential": given.removeprefix("Bearer ") if given else None}
        return [*seen, httpx.post(f"{cat.url}/custom/probe/handlers", json=asked, timeout=30).json()]

    return look


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_the_same_callers_are_let_in(pair: Pair, credential: str) -> None:
    same(pair, doors(CREDENTIALS[credential]))


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_the_same_callers_are_let_in_without_a_key(open_pair: Pair, credential: str) -> None:
    same(open_pair, doors(CREDENTIALS[credential]))


def test_a_user_is_made_alike(pair: Pair) -> None:
    def look(cat: Cat1) -> Any:
        seen: list[Any] = []
        given = {"username": "reader", "password": "reader", "permissions": {"CONVERSATION": ["READ"]}}
        for body in (given, given, {**given, "username": "x"}, {**given, "permissions": {"TEA": ["READ"]}}):
            reply = cat.http.post("/users/", json=body)
            shown = reply.json()
            shown.pop("id", None)
            seen.append((reply.status_code, shown if reply.status_code != 400 else None))
        return [*seen, doors(lambda cat: f"Bearer {user_token(cat, 'reader')}")(cat)]

    same(pair, look)


# Runs


def ran(upstream: Upstream, tag: str, text: str, **fields: Any) -> Callable[[Cat1], Any]:
    """The result of a run of the probe's, and what the LLM was sent for it."""

    def look(cat: Cat1) -> Any:
        mine = f"{tag}-{cat.port}"
        body = {"user": tag, "text": text.replace(tag, mine), **fields}
        seen = cat.http.post("/custom/probe/run", json=body).raise_for_status().json()
        for told in [seen["result"], *seen["sent"]]:
            without_wording(told)
        asked = [record["body"] for record in upstream.requests(mine)]
        sent = [{name: body.get(name) for name in ("model", "messages", "stream")} for body in asked]
        for request in sent:
            system = request["messages"][0]
            system["content"] = re.sub(r"(?s)(Create a JSON with the correct).*", r"\1", system["content"])
        return json.loads(json.dumps([seen, sent]).replace(mine, tag))

    return look


def without_wording(told: Any) -> None:
    """Leave out what is not the Cat's: when, why, and the words of the LLM's SDK, whose versions differ."""
    for key in ("when", "why"):
        (told or {}).pop(key, None)
    for key in ("error", "description"):
        if str((told or {}).get(key)).startswith("Error code: "):
            told[key] = told[key][: len("Error code: 400")]
            told.pop("name", None)


RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with braces in the message": {"text": "what is {this} and {{that}}"},
    "from the LLM of a long reply": {"say": ["a ", "b ", "c"]},
    "of an LLM that says nothing": {"say": []},
    "of an LLM that refuses": {"fail_status": 400},
    "of an LLM that does not know us": {"fail_status": 401},
    "of an LLM that fails after a while": {"say": ["a ", "b ", "c"], "error_after": 1},
    "of an LLM with an empty message": {"text": " "},
    "without a recall": {"plan": {"cat_recall_query": 7}},
    "with a fast reply": {"plan": {"fast_reply": {"output": "Fast {x}."}}},
    "with an agent's fast reply": {"plan": {"agent_fast_reply": {"output": "Fast."}}},
    "with a message rewritten": {"plan": {"before_cat_reads_message": "Rewritten."}},
    "with a reply rewritten": {"plan": {"before_cat_sends_message": "Rewritten."}},
    "with a hook that fails": {"plan": {"broken_hook": True}},
    "with braces doubled": {"plan": {"agent_prompt_prefix": "{{a}} {{{{b}}}} %s {{}}"}},
    "with a placeholder nobody knows": {"plan": {"agent_prompt_prefix": "a {no_such} b {input} c"}},
    "with a brace too many": {"plan": {"agent_prompt_prefix": "a { b"}},
    "with a long history": {"turns": 25},
    "with a history": {"turns": 3},
    "with a message of a plugin's own kind in the history": {"turns": 1, "told": "a tale"},
    "with a message and a memory of a plugin's own kind": {"note": ["a", "note"], "plan": {"own_memory": True}},
    "with an image": {"media": {"image": "data:image/png;base64,iVBORw0KGgo="}, "turns": 2},
    "with audio": {"media": {"audio": "data:audio/wav;base64,UklGRg=="}},
    "with a question beside": {"plan": {"asks": "who are {you}"}},
    "with something said by tools before": {"plan": {"tools_output": "Said {before}."}},
    "over the web socket": {"return": False, "notes": ["a note"]},
    "over the web socket, refused": {"return": False, "fail_status": 400},
    "with a tool": {
        "plan": {"tool": "probe_number"},
        "say": ['```{"action": "probe_number", "action_input": 7}```'],
    },
    "with a tool that gets an object": {
        "plan": {"tool": "probe_number"},
        "say": ['{"action": "probe_number", "action_input": {"a": 1}}'],
    },
    "with a tool that gets nothing": {
        "plan": {"tool": "probe_number"},
        "say": ['{"action": "probe_number", "action_input": None}'],
    },
    "with a tool after others": {
        "plan": {"tool": "probe_number", "tools_output": "Said before."},
        "say": ['{"action": "probe_number", "action_input": "7"}'],
    },
    "with a tool that was forgotten after the recall": {
        "plan": {"tool": "probe_number", "no_procedures": True, "tools_output": "Said before."},
    },
    "that ends before a tool": {
        "plan": {"tool": "probe_number", "ends_at": "The tool runs."},
        "say": ['{"action": "probe_number", "action_input": "7"}'],
    },
    "that ends at a token": {"plan": {"ends_at": "hello."}},
    "that ends in a hook": {"plan": {"ends_at": "a hook"}},
    "with a tool's own reply": {"plan": {"tool": "direct"}, "say": ['{"action": "direct", "action_input": "7"}']},
    "with a tool nobody has": {
        "plan": {"tool": "probe_number"},
        "say": ['{"action": "no_such", "action_input": "7"}'],
    },
    "with a tool, but its LLM refuses": {"plan": {"tool": "probe_number"}, "fail_status": 400},
    "with no tool": {"plan": {"tool": "probe_number"}, "say": ["nothing ", "of ", "these"]},
}

SCRIPTED = {"say", "fail_status", "error_after", "break_after"}


@pytest.mark.parametrize("name", RUNS)
def test_a_run(pair: Pair, upstream: Upstream, tag: str, name: str) -> None:
    given = RUNS[name]
    turn = {key: value for key, value in given.items() if key in SCRIPTED}
    fields = {key: value for key, value in given.items() if key not in SCRIPTED | {"text"}}
    text = script(given.get("text", "hi"), tag=tag, **(turn or {"say": ["Well, ", "hello."]}))
    same(pair, ran(upstream, tag, text, **fields))


def test_a_run_whose_llm_breaks_off(pair: Pair, upstream: Upstream, tag: str) -> None:
    """The message is the HTTP client's."""

    def look(cat: Cat1) -> Any:
        text = script("hi", tag=tag, say=["a ", "b "], break_after=1)
        seen, sent = ran(upstream, tag, text)(cat)
        assert seen["result"].pop("error")
        return seen, sent

    seen, _ = same(pair, look)
    assert [data["content"] for data in seen["sent"]][:2] == ["", "a "]


def test_what_was_said_comes_back_as_memory_and_history(pair: Pair, upstream: Upstream, tag: str) -> None:
    """A second user's messages do not."""

    def look(cat: Cat1) -> Any:
        texts = ["the queen of hearts", "the queen of spades", "nothing like it", "the queen of hearts"]
        return [ran(upstream, tag, text)(cat) for text in texts]

    *_, last = same(pair, look)
    assert sorted(last[0]["recalled"]) == ["the queen of hearts", "the queen of spades"]
    assert len(last[0]["history"]) == 8


@pytest.mark.parametrize(
    ("limits", "count"), [({"k": 1}, 1), ({"k": 100, "threshold": 0}, 3), ({"threshold": 0.99}, 1)], ids=str
)
def test_a_hook_says_how_much_is_remembered(
    pair: Pair, upstream: Upstream, tag: str, limits: dict[str, float], count: int
) -> None:
    def look(cat: Cat1) -> Any:
        for text in ("the queen of hearts", "the queen of spades", "nothing like it"):
            ran(upstream, tag, text)(cat)
        asked = script("the queen of hearts", tag=tag, say="ok")
        return ran(upstream, tag, asked, plan={"cat_recall_query": "the queen of hearts", "episodic": limits})(cat)

    seen, _ = same(pair, look)
    assert seen["recalled"][:1] == ["the queen of hearts"]
    assert len(seen["recalled"]) == count


MESSAGES: list[dict[str, Any]] = [
    {"text": "hi {there}"},
    {"text": ""},
    {"image": "data:image/png;base64,iVBORw0KGgo="},
    {"text": "see", "image": "data:image/png;base64,iVBORw0KGgo=", "audio": "data:audio/wav;base64,UklGRg=="},
    {"text": "hi", "who": "AI"},
    {"text": "hi", "who": "AI", "image": "data:image/png;base64,iVBORw0KGgo="},
]


def test_messages_are_alike(pair: Pair) -> None:
    def look(cat: Cat1) -> Any:
        return cat.http.post("/custom/probe/messages", json=MESSAGES).raise_for_status().json()

    seen = same(pair, look)
    assert seen["noted"] == [True, "bob", None, True]
    assert seen["copied"] == ["Noted", [1], False, True]


def test_a_session_asks_the_llm_itself(pair: Pair) -> None:
    same(pair, lambda cat: cat.http.post("/custom/probe/llm", json={"text": "hi {you} there"}).json())


def test_the_cats_own_chat(pair: Pair, tag: str) -> None:
    def look(cat: Cat1) -> Any:
        message = {"text": script("hi", tag=tag, say="hello")}
        reply = cat.http.post("/message", json=message, headers={"user_id": tag}).raise_for_status().json()
        return reply["text"], reply["content"], reply["user_id"], reply["who"], reply["type"]

    same(pair, look)


def test_the_cats_own_chat_on_the_web_socket(pair: Pair, tag: str) -> None:
    client = pytest.importorskip("websockets.sync.client")

    def look(cat: Cat1) -> Any:
        seen: list[Any] = []
        with client.connect(f"ws://127.0.0.1:{cat.port}/ws/{tag}") as socket:
            for fields in ({"say": ["Well, ", "hello."]}, {"fail_status": 400}):
                socket.send(json.dumps({"text": script("hi", tag=tag, **fields)}))
                while not seen or seen[-1]["type"] in ("chat_token", "chat")[: 2 if "fail_status" in fields else 1]:
                    seen.append(json.loads(socket.recv(timeout=30)))
        for told in seen:
            without_wording(told)
        return seen

    assert [told["type"] for told in same(pair, look)] == ["chat_token"] * 4 + ["chat", "error"]


def test_no_llm(pair: Pair, upstream: Upstream, tag: str) -> None:
    def look(cat: Cat1) -> Any:
        cat.use_no_llm()
        try:
            return cat.http.get("/custom/probe/identity").json()["llm"], ran(upstream, tag, "hi")(cat)
        finally:
            cat.use_llm(upstream.base_url)

    same(pair, look)


def test_the_embedder(pair: Pair, upstream: Upstream) -> None:
    """The one of before any is chosen, one that is chosen, and one that cannot be made."""

    def look(cat: Cat1) -> Any:
        asked = {"texts": ["A grin without a Cat!", "", "3.14159, \n\t~~ Ünïcödé"]}
        seen: list[Any] = [cat.http.post("/custom/probe/embedder", json=asked).json()]
        for settings, values in (
            ("EmbedderOpenAICompatibleConfig", {"url": upstream.base_url.removesuffix("/v1")}),
            ("EmbedderOpenAICompatibleConfig", {"no": "url"}),
            ("EmbedderDumbConfig", {}),
        ):
            saved = cat.http.put(f"/embedder/settings/{settings}", json=values)
            seen += [saved.status_code, cat.http.post("/custom/probe/embedder", json=asked).json()]
        random = cat.http.put("/embedder/settings/EmbedderFakeConfig", json={"size": 7})
        shown = cat.http.post("/custom/probe/embedder", json=asked).json()
        seen += [random.status_code, shown["class"], [len(vector) for vector in shown["vectors"]]]
        refused = cat.http.put("/embedder/settings/EmbedderOfNobody", json={})
        seen += [refused.status_code, list(refused.json())]
        cat.http.put("/embedder/settings/EmbedderDumbConfig", json={}).raise_for_status()
        return seen

    seen = same(pair, look)
    assert [shown["class"] for shown in (seen[0], seen[2], seen[4], seen[6])] == [
        "DumbEmbedder",
        "CustomOpenAIEmbeddings",
        "DumbEmbedder",
        "DumbEmbedder",
    ]


# Plugins

VICTIM = {
    "main.py": """
from cat.mad_hatter.decorators import endpoint, plugin
from .sub.helper import VERSION

@endpoint.get("/victim")
def victim():
    return VERSION

@endpoint.endpoint("/victim/{rest:path}", methods=["GET", "POST"], prefix="/elsewhere")
def more(rest: str):
    return rest
""",
    "sub/__init__.py": "",
    "sub/helper.py": "VERSION = 1",
    ".hidden/never.py": "raise RuntimeError('hidden')",
    "broken.py": "raise RuntimeError('broken')",
}


def archive(version: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as files:
        for name, content in VICTIM.items():
            files.writestr(f"some-folder/{name}", content.replace("VERSION = 1", f"VERSION = {version}"))
    return packed.getvalue()


def test_a_plugin_comes_and_goes_alike(pair: Pair) -> None:
    """With a new version over an active one: the old one is what answers until it was switched off and on again."""

    def look(cat: Cat1) -> Any:
        def note() -> None:
            details = cat.http.get("/plugins/the_victim_1").json().get("data", {})
            modules = cat.http.get("/custom/probe/modules", params={"plugin": "the_victim_1"}).json()
            paths = [path for path in cat.http.get("/openapi.json").json()["paths"] if "victim" in path]
            replies = [
                cat.http.request(method, path)
                for method, path in [
                    ("GET", "/custom/victim"),
                    ("POST", "/elsewhere/victim/a/b"),
                    ("PUT", "/custom/victim"),
                ]
            ]
            answers = [(reply.status_code, reply.json()) for reply in replies]
            details.pop("description", None)
            seen.append([details.get("active"), details.get("endpoints"), modules, sorted(paths), answers])

        seen: list[Any] = []
        for version in (1, 2):
            upload = {"file": ("The-victim 1.zip", archive(version), "application/zip")}
            cat.http.post("/plugins/upload", files=upload).raise_for_status()
            note()
            for _ in range(3):
                cat.toggle("the_victim_1")
                note()
        cat.remove("the_victim_1")
        note()
        return seen

    seen = same(pair, look)
    assert [step[0] for step in seen] == [True, False, True, False, True, False, True, False, None]


def test_settings_are_stored_as_they_were_sent(pair: Pair) -> None:
    def look(cat: Cat1) -> Any:
        seen: list[Any] = []
        for values in (
            {},
            {"number": "7", "unknown": 1},
            {"text": "y"},
            {"number": -1},
            {"number": "x", "text": 1},
        ):
            reply = cat.http.put("/plugins/settings/probe", json=values)
            seen.append((reply.status_code, reply.json()))
            seen.append(cat.http.get("/plugins/settings/probe").json())
        return [*seen, cat.http.get("/custom/probe/identity").json()]

    same(pair, look)


def test_a_plugin_that_is_not_there(pair: Pair) -> None:
    def look(cat: Cat1) -> Any:
        asked = [
            cat.http.get("/plugins/settings/nobody"),
            cat.http.put("/plugins/settings/nobody", json={"a": 1}),
            cat.http.put("/plugins/toggle/nobody"),
            cat.http.get("/plugins/nobody"),
            cat.http.delete("/plugins/nobody"),
        ]
        return [(reply.status_code, reply.json()) for reply in asked]

    same(pair, look)


def test_the_hooks_are_known_alike(pair: Pair) -> None:
    hooks = same(pair, lambda cat: cat.http.get("/custom/probe/hooks").json())
    assert hooks["before_cat_sends_message"] == [["probe", 1], ["core_plugin", 0]]


def test_the_cache(pair: Pair) -> None:
    seen = same(pair, lambda cat: cat.http.post("/custom/probe/cache").json())
    assert seen == [["a"], None, None, [{"c": 1}, "d"]]


def test_errors_of_endpoints(pair: Pair) -> None:
    def look(cat: Cat1) -> Any:
        invalid = cat.http.post("/custom/probe/valid", json={"number": -1})
        (error,) = invalid.json()["error"]
        seen: list[Any] = [invalid.status_code, error["type"], error["loc"], error["msg"]]
        replies = [cat.http.get("/custom/nowhere"), cat.http.put("/custom/probe/valid")]
        seen += [(reply.status_code, reply.json()) for reply in replies]
        # Uvicorn drops the connection after it.
        failed = httpx.post(f"{cat.url}/custom/probe/fail", timeout=30)
        return [*seen, failed.status_code, failed.text, failed.headers["content-type"]]

    same(pair, look)
