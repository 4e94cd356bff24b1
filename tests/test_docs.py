"""The documentation and the code say the same."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge.cat_openai_api import errors
from bridge.cat_openai_api.api.chat.protocol import ChatCompletionRequest
from bridge.cat_openai_api.api.completions.protocol import CompletionRequest
from bridge.cat_openai_api.api.embeddings.protocol import EmbeddingsRequest
from bridge.cat_openai_api.api.keys.protocol import ChangeKeyRequest, CreateKeyRequest
from bridge.cat_openai_api.api.responses.protocol import ITEM_TYPES, ResponseRequest
from bridge.settings import Settings
from host import ROOT, Cat
from pydantic import BaseModel

PAGES: dict[str, type[BaseModel]] = {
    "docs/parameters.md": ChatCompletionRequest,
    "docs/api/responses.md": ResponseRequest,
    "docs/api/embeddings.md": EmbeddingsRequest,
    "docs/api/completions.md": CompletionRequest,
}
"""Where the fields of each request stand."""

DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]

SECTIONS = {"docs/parameters.md": "All fields"}


def section(page: str, title: str) -> str:
    """From its heading to the next one of that level or above."""
    text = (ROOT / page).read_text("utf-8")
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {title}"
    return found[2]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of the tables' rows, without their heads."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not cells[0].startswith("---"):
            yield cells


def named(text: str) -> set[str]:
    """What stands between backticks; of `a.b` the `a`."""
    return {name.split(".")[0] for name in re.findall(r"`([^`]+)`", text)}


def anchors(page: str) -> set[str]:
    """Those of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(str(path.relative_to(ROOT)) for path in DOCUMENTS))
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in anchors(str(target.relative_to(ROOT))), f"{page} links to {link}"


def paths_of_the_map() -> Iterator[str]:
    """Those of CONTRIBUTING's map: an entry that is indented lies in the folder above it."""
    folders: list[tuple[int, str]] = []
    (tree,) = re.findall(r"```text\n(.*?)```", section("CONTRIBUTING.md", "The map").partition("###")[0], re.DOTALL)
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        folders = [(depth, folder) for depth, folder in folders if depth < indent]
        path = "".join(folder for _, folder in folders) + line.split()[0]
        yield path
        if path.endswith("/"):
            folders.append((indent, line.split()[0]))


@pytest.mark.parametrize("path", list(paths_of_the_map()))
def test_the_map_shows_what_is_there(path: str) -> None:
    if "*" in path:
        assert any(ROOT.glob(path))
    else:
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


def test_the_map_shows_every_room() -> None:
    package = ROOT / "cat_openai_api"
    rooms = [folder for folder in package.iterdir() if list(folder.glob("*.py"))]
    for level in ("api", "hosts"):
        rooms += [folder for folder in (package / level).iterdir() if list(folder.glob("*.py"))]
    modules = [file for file in package.glob("*.py") if file.name != "__init__.py"]
    shown = {path.rstrip("/") for path in paths_of_the_map()}
    assert {str(path.relative_to(ROOT)) for path in [*rooms, *modules]} <= shown


def test_modules_that_the_rules_name_are_there() -> None:
    text = re.sub(r"```.*?```", "", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), flags=re.DOTALL)
    in_text = set(re.findall(r"`([\w./]+(?:\.py|/))`", text)) - {"core/", "plugins/"}  # the Cats'
    assert in_text
    places = [ROOT, ROOT / "cat_openai_api", ROOT / "cat_openai_api" / "api" / "chat", ROOT / "tests"]
    missing = {path for path in in_text if not any((place / path).exists() for place in places)}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES)
def test_the_fields_of_a_request(page: str) -> None:
    fields = set(PAGES[page].model_fields)
    table = section(page, SECTIONS.get(page, "A request"))
    in_table = set().union(*(named(cells[0]) for cells in rows(table)))
    assert in_table <= fields, f"{page} has fields that the API does not know"
    refused = named(section(page, "What is refused")) if page == "docs/api/responses.md" else set()
    assert fields <= in_table | refused, f"{page} lacks fields of the API"


def test_the_fields_of_a_key() -> None:
    fields = {*CreateKeyRequest.model_fields, *ChangeKeyRequest.model_fields}
    assert set().union(*(named(cells[0]) for cells in rows(section("docs/keys.md", "Fields")))) == fields


def test_the_items_of_a_response() -> None:
    table = section("docs/api/responses.md", "Items")
    assert set().union(*(named(cells[0]) & {*ITEM_TYPES} for cells in rows(table))) == {*ITEM_TYPES}


def test_the_settings() -> None:
    listed = {
        name: cells[1] for cells in rows(section("README.md", "Settings")) for name in named(cells[0]) if len(cells) > 2
    }
    words = {True: "on", False: "off", "": "empty"}
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert {name: shown.strip("`") for name, shown in listed.items()} == {
        name: str(words.get(default, default) if isinstance(default, bool | str) else default)
        for name, default in defaults.items()
    }


def test_the_codes_of_the_errors() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ApiError)]
    codes = {(str(kind.status), kind.code) for kind in kinds if kind.code}
    listed = {(cells[0], code) for cells in rows(section("README.md", "Errors")) for code in named(cells[1])}
    assert codes <= listed
    known = "".join(path.read_text("utf-8") for path in (ROOT / "cat_openai_api").rglob("*.py"))
    assert [code for _, code in listed if f'"{code}"' not in known] == []


def test_the_routes(cat: Cat) -> None:
    paths = cat.http.get("/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path}" for path in paths if path.startswith("/custom") for method in paths[path]}
    readme = section("README.md", "Endpoints") + section("docs/api/responses.md", "Stored responses")
    readme += section("docs/keys.md", "Routes")
    listed = {name.replace("{id}", "{response_id}") for name in re.findall(r"`([A-Z]+ /custom[^`]*)`", readme)}
    assert listed == {*routes, "GET /custom/connect"}


PREFIX = "OpenAI API: "


def logged(file: Path) -> Iterator[str]:
    """The messages that a module of the plugin logs, with \0 in place of what is filled in."""
    nodes = [*ast.walk(ast.parse(file.read_text("utf-8")))]
    formatted = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    pieces = {id(value) for values in formatted for value in values}
    plain = [[node] for node in nodes if isinstance(node, ast.Constant) and id(node) not in pieces]
    for values in [*formatted, *plain]:
        texts = [str(value.value) if isinstance(value, ast.Constant) else "\0" for value in values]
        if texts and texts[0].startswith(PREFIX):
            yield "".join(texts).removeprefix(PREFIX)


def test_every_log_line_is_explained() -> None:
    table = [cells[0] for cells in rows(section("docs/operations.md", "Other lines"))]
    lines = [line for cell in table for line in re.findall(r"`([^`]+)`", cell)]
    patterns = [re.escape(line).replace("…", ".*") for line in lines]
    messages = {message for file in (ROOT / "cat_openai_api").rglob("*.py") for message in logged(file)} - {"\0", ""}
    assert len(messages) > 20
    for message in messages:
        # The table may show what is filled in at the end.
        beginning = message.partition("\0")[0]
        explained = any(re.match(pattern, message) for pattern in patterns)
        assert explained or (beginning and any(line.startswith(beginning) for line in lines)), message
