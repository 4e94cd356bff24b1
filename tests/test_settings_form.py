"""The settings' JSON schema, from which each Cat's panel draws its form, and the response to the form's request."""

import re
from typing import Any

import pytest
from host import WHICH, Cat

CHOICES = {"stream_after_hooks": ["auto", "always", "never"], "history": ["client", "cat"]}


def schema(cat: Cat) -> dict[str, Any]:
    return cat.settings_entry()["schema"]


def test_each_setting_has_its_default_and_a_unique_title(cat: Cat) -> None:
    cat.put_settings({}).raise_for_status()
    entry = cat.settings_entry()
    fields = entry["schema"]["properties"]
    assert {name: field["default"] for name, field in fields.items()} == entry["value"]
    assert len({field["title"] for field in fields.values()}) == len(fields)


def test_the_help_of_a_number_has_its_range(cat: Cat) -> None:
    numbers = [field for field in schema(cat)["properties"].values() if field["type"] == "integer"]
    assert numbers
    for field in numbers:
        assert f"{field['minimum']} to {field['maximum']}" in field["description"]


@pytest.mark.skipif(WHICH == "2", reason="the form of Cheshire Cat 1.9")
def test_on_cat_1_an_enum_is_a_definition_and_a_switch_is_a_boolean(cat: Cat) -> None:
    """Its form draws a list only for `$ref` or `allOf`, and a switch only for the type."""
    whole = schema(cat)
    for name, choices in CHOICES.items():
        (referred,) = whole["properties"][name]["allOf"]
        definition = re.fullmatch(r"#/\$defs/(\w+)", referred["$ref"])
        assert definition
        assert whole["$defs"][definition[1]]["enum"] == choices
    assert whole["properties"]["debug_mode"]["type"] == "boolean"
    assert whole["properties"]["model_aliases"]["extra"] == {"type": "TextArea"}


@pytest.mark.skipif(WHICH != "2", reason="the form of Cheshire Cat 2")
def test_on_cat_2_enums_and_switches_are_lists(cat: Cat) -> None:
    fields = schema(cat)["properties"]
    assert {name: fields[name]["enum"] for name in CHOICES} == CHOICES
    assert fields["debug_mode"]["oneOf"] == [{"const": True, "title": "on"}, {"const": False, "title": "off"}]


def test_an_error_names_each_invalid_setting(cat: Cat) -> None:
    refused = cat.put_settings({"rate_limit_per_minute": 1001, "history": "server", "model_aliases": "nonsense"})
    assert refused.status_code == 400
    detail = refused.json()["detail"]
    sentences = detail["error"].split("\n") if WHICH != "2" else [error["msg"] for error in detail]
    assert sorted(sentences) == [
        "History: Input should be 'client' or 'cat'",
        "Model aliases: The alias 'nonsense' is not of the form name=model",
        "Rate limit per minute: Input should be less than or equal to 1000",
    ]
