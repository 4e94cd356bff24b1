"""The layers of the code: imports run downward only, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from host import ROOT

PACKAGE = "cat_openai_api"

LAYERS = (
    {"api"},
    {"http"},
    {"generation"},
    {"runtime"},
    {"conversation", "access", "telemetry"},
    {"hosts"},
    {"tokens", "wire"},
    {"domain"},
    {"errors", "packages"},
)
"""From the top down. A module imports from its own room and from rooms of the layers below."""

HOST_LAYERS = (
    {"current"},
    {"v1", "v2"},
    {"shared"},
    {"port", "collections"},
    {"storage", "usage_table", "server"},
    {"detect"},
    {"line", "names"},
)
"""The same within `hosts`, where each Cat has a room."""

MAX_MODULES = 8
"""Directly in `cat_openai_api` and in `hosts`: what would be more has a room."""


def modules() -> dict[str, Path]:
    files = [ROOT / "settings.py", *(ROOT / PACKAGE).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files if file.stem != "__init__"}


def imports(module: str, file: Path) -> Iterator[str]:
    """What a module imports of the plugin, also what it imports for types only or within functions."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = module.split(".")[: -node.level]
            yield ".".join([*package, *(node.module or "").split(".")]).strip(".")


MODULES = modules()
IMPORTS = {module: set(imports(module, file)) for module, file in MODULES.items()}


def room(module: str, depth: int = 1) -> str:
    """`cat_openai_api.api.chat.route` is in the room `api`, and at depth 2 in `chat`."""
    return module.split(".")[depth]


def layer(name: str, layers: tuple[set[str], ...]) -> int:
    return next(number for number, rooms in enumerate(layers) if name in rooms)


def wrong_way(importer: str, imported: str, layers: tuple[set[str], ...]) -> bool:
    return importer != imported and layer(importer, layers) >= layer(imported, layers)


def test_only_modules_are_imported() -> None:
    """After the plugin was switched off and on, a name imported from a package would be the old module."""
    unknown = {(module, name) for module, names in IMPORTS.items() for name in names if name not in MODULES}
    assert not unknown


def test_imports_run_downward() -> None:
    upward = {
        (module, name)
        for module, names in IMPORTS.items()
        for name in names
        if "settings" not in (module, name) and wrong_way(room(module), room(name), LAYERS)
    }
    assert not upward


def test_imports_run_downward_within_the_hosts() -> None:
    upward = {
        (module, name)
        for module, names in IMPORTS.items()
        for name in names
        if module.startswith(f"{PACKAGE}.hosts.")
        and name.startswith(f"{PACKAGE}.hosts.")
        and wrong_way(room(module, 2), room(name, 2), HOST_LAYERS)
    }
    assert not upward


def test_only_hosts_import_what_hosts_share() -> None:
    inner = ("v1", "v2", "shared", "names")
    outside = {
        (module, name)
        for module, names in IMPORTS.items()
        for name in names
        if not module.startswith(f"{PACKAGE}.hosts.")
        and name.startswith(tuple(f"{PACKAGE}.hosts.{folder}." for folder in inner))
    }
    assert not outside


def test_no_api_resource_imports_another() -> None:
    across = {
        (module, name)
        for module, names in IMPORTS.items()
        for name in names
        if module.startswith(f"{PACKAGE}.api.")
        and name.startswith(f"{PACKAGE}.api.")
        and room(module, 2) != room(name, 2)
    }
    assert not across


def test_imports_make_no_circle() -> None:
    TopologicalSorter(IMPORTS).prepare()


def test_top_folders_have_few_modules() -> None:
    for folder in (ROOT / PACKAGE, ROOT / PACKAGE / "hosts"):
        assert len([file for file in folder.glob("*.py") if file.stem != "__init__"]) <= MAX_MODULES


def test_the_layers_include_every_room() -> None:
    rooms = {room(module) for module in MODULES if module != "settings"}
    assert rooms == set().union(*LAYERS)


STATE = {
    "cat_openai_api.runtime.runtime",
    "cat_openai_api.packages._install_lock",
    "cat_openai_api.hosts.storage.request_began",
    "cat_openai_api.hosts.v2.llm.announced_request",
    "cat_openai_api.hosts.v2.llm.run_llm",
    "cat_openai_api.hosts.v2.llm.token_source",
}
"""Objects that change, in modules: the runtime, a lock for calls of pip, and the context variables of a request and of
a run."""

UNCHANGING = {
    "cat_openai_api.api.responses.input._item_list",
    "cat_openai_api.conversation.history._turns",
    "cat_openai_api.hosts.current.endpoint",
    "cat_openai_api.http.routing._watch_route",
    "cat_openai_api.http.routing.delete",
    "cat_openai_api.http.routing.get",
    "cat_openai_api.http.routing.post",
    "cat_openai_api.http.routing.unknown_paths",
    "cat_openai_api.runtime.deactivated",
    "cat_openai_api.tokens.vocabulary.logger",
}


def variables(file: Path) -> Iterator[str]:
    """Names in lower case to which a module assigns a collection or a call's result. Constants are in upper case."""
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
            node.value, ast.Call | ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
        ):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            yield from (name for name in names if name.lower() == name and not name.startswith("__"))


def test_only_the_runtime_has_module_level_state() -> None:
    found = {f"{module}.{name}" for module, file in MODULES.items() for name in variables(file)}
    assert found == STATE | UNCHANGING
    for file in MODULES.values():
        assert not [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Global)]
