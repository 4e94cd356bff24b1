"""The host's own Settings page in a real browser."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from browser import needs_browser, start_browser
from host import KEY, WHICH, Cat, make_cat
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from upstream import Upstream, script

pytestmark = [
    needs_browser,
    pytest.mark.skipif(WHICH != "2", reason="the page of Cheshire Cat 2"),
]


@pytest.fixture(scope="module")
def panel_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat with its own user interface."""
    cat = make_cat(tmp_path_factory.mktemp("panel") / "home", starters=("ui", "chats")).start()
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


@pytest.fixture
def browser(panel_cat: Cat) -> Iterator[webdriver.Chrome]:
    driver = start_browser()
    driver.get(panel_cat.url)
    driver.add_cookie({"name": "access_token", "value": KEY})
    yield driver
    driver.quit()


@pytest.fixture
def form(browser: webdriver.Chrome, panel_cat: Cat) -> Callable[..., bool]:
    """Fill in the plugin's form and save it: `form(max_tokens="5")`. Answers whether the page could save it."""
    waiting = WebDriverWait(browser, 10)

    def fill(**values: str) -> bool:
        browser.get(f"{panel_cat.url}/#/settings")
        browser.refresh()
        card = waiting.until(lambda page: page.find_element(By.XPATH, "//h6[normalize-space()='OpenAI API']"))
        card.click()
        for name, value in values.items():
            field = waiting.until(lambda page, name=name: page.find_element(By.ID, f"root_{name}"))
            if field.get_attribute("type") == "checkbox":
                field.click()
            else:
                field.send_keys(Keys.CONTROL, "a", Keys.NULL, value)
                assert field.get_attribute("value") == value
        save = browser.find_elements(By.CSS_SELECTOR, "dialog[open] .ui-dialog-actions button")[-1]
        before = panel_cat.settings_entry()["value"]
        browser.execute_script("arguments[0].click()", save)
        try:
            WebDriverWait(browser, 3).until(lambda _: panel_cat.settings_entry()["value"] != before)
        except Exception:  # the page said no
            return False
        return True

    return fill


def chat(cat: Cat, text: str, **fields: Any) -> httpx.Response:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": text}], **fields}
    return cat.http.post("/custom/v1/chat/completions", json=body)


def test_each_setting_is_shown_with_title_and_help(browser: webdriver.Chrome, panel_cat: Cat) -> None:
    browser.get(f"{panel_cat.url}/#/settings")
    browser.refresh()
    waiting = WebDriverWait(browser, 10)
    waiting.until(lambda page: page.find_element(By.XPATH, "//h6[normalize-space()='OpenAI API']")).click()
    waiting.until(lambda page: page.find_element(By.ID, "root_max_tokens"))
    shown = browser.find_element(By.CSS_SELECTOR, "dialog[open]").text
    for field in panel_cat.settings_entry()["schema"]["properties"].values():
        assert field["title"] in shown
        assert field["description"] in shown


def test_a_change_is_in_force_at_the_next_request(panel_cat: Cat, form: Callable[..., bool]) -> None:
    text = script(say=["one", " two", " three"])
    assert chat(panel_cat, text).json()["choices"][0]["message"]["content"] == "one two three"
    assert form(
        max_tokens="2", enable_streaming="off", model_aliases="gpt-4o=cheshire-cat", rate_limit_per_minute="7"
    )
    reply = chat(panel_cat, text, model="gpt-4o", stream=True, user="a new one")
    assert '"content":"one two"' in reply.text
    assert reply.headers["x-ratelimit-limit-requests"] == "7"


@pytest.mark.parametrize(
    "values",
    [
        {"rate_limit_per_minute": "1001"},
        {"max_tokens": "-1"},
        {"max_tokens": "32001"},
        {"model_aliases": "nonsense"},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused_there(
    panel_cat: Cat, form: Callable[..., bool], values: dict[str, str]
) -> None:
    before = panel_cat.settings_entry()["value"]
    assert not form(**values)
    assert panel_cat.settings_entry()["value"] == before
