"""The host's own Settings and Plugins pages in a real browser."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from browser import needs_browser, start_browser
from host import KEY, WHICH, Cat, make_cat
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from upstream import Upstream, script

pytestmark = [
    needs_browser,
    pytest.mark.skipif(WHICH != "2", reason="the pages of Cheshire Cat 2"),
]


PAGE_TIMEOUT = 30
"""Seconds. The page is quick, but a busy machine is not."""


@pytest.fixture(scope="module")
def panel_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat with its own user interface."""
    cat = make_cat(tmp_path_factory.mktemp("panel") / "home", starters=("ui", "chats")).start()
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


@pytest.fixture(scope="module")
def browser(panel_cat: Cat) -> Iterator[webdriver.Chrome]:
    driver = start_browser()
    # A page without scripts: without the cookie the Cat's own page sends the browser to its login page a little later.
    driver.get(f"{panel_cat.url}/custom/health")
    driver.add_cookie({"name": "access_token", "value": KEY})
    yield driver
    driver.quit()


class Form:
    """The plugin's card, opened."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self._browser = browser
        self._waiting = WebDriverWait(browser, PAGE_TIMEOUT)
        browser.get(f"{url}/#/settings")
        browser.refresh()
        self._until(lambda: browser.find_element(By.XPATH, "//h6[normalize-space()='OpenAI API']")).click()
        self._until(lambda: self._field("max_tokens"))

    def text(self) -> str:
        return self._dialog().text

    def value(self, name: str) -> str:
        """The value as the page shows it."""
        field = self._field(name)
        return field.text if field.tag_name == "span" else field.get_attribute("value") or ""

    def enter(self, name: str, value: str) -> None:
        field = self._field(name)
        if field.tag_name == "span":
            self._click(field)
            choice = f"./ancestor::div[2]//*[contains(@class, 'popover')]//div[text()='{value}']"
            self._click(self._until(lambda: field.find_element(By.XPATH, choice)))
        else:
            field.send_keys(Keys.CONTROL, "a", Keys.NULL, value)
        assert self.value(name) == value

    def wait_until_saving_is(self, possible: bool) -> None:
        self._until(lambda: self._save_button().is_enabled() is possible)

    def save(self) -> str:
        """Save, and return the page's message."""
        self._click(self._save_button())
        return self._until(lambda: self._browser.find_element(By.CSS_SELECTOR, "[class*=ui-toast-]").text)

    def _field(self, name: str) -> WebElement:
        """The input element; for a list, the element with its text."""
        for found in self._dialog().find_elements(By.ID, f"root_{name}"):
            return found
        return self._dialog().find_element(By.XPATH, f".//label[@for='root_{name}']/following-sibling::div//span")

    def _dialog(self) -> WebElement:
        return self._browser.find_element(By.CSS_SELECTOR, "dialog[open]")

    def _save_button(self) -> WebElement:
        return self._dialog().find_elements(By.CSS_SELECTOR, ".ui-dialog-actions button")[-1]

    def _click(self, element: WebElement) -> None:
        self._browser.execute_script("arguments[0].click()", element)

    def _until(self, there: Callable[[], Any]) -> Any:
        return self._waiting.until(lambda _: there())


@pytest.fixture
def form(browser: webdriver.Chrome, panel_cat: Cat) -> Form:
    """The card with default settings."""
    panel_cat.put_settings({}).raise_for_status()
    return Form(browser, panel_cat.url)


def chat(cat: Cat, text: str, **fields: Any) -> httpx.Response:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": text}], **fields}
    return cat.http.post("/custom/v1/chat/completions", json=body)


def test_each_setting_is_shown_with_title_help_and_value(form: Form, panel_cat: Cat) -> None:
    entry, shown = panel_cat.settings_entry(), form.text()
    for name, field in entry["schema"]["properties"].items():
        assert field["title"] in shown
        assert field["description"] in shown
        value = entry["value"][name]
        assert form.value(name) == ({True: "on", False: "off"}[value] if isinstance(value, bool) else str(value))


def test_a_change_takes_effect_at_the_next_request(form: Form, panel_cat: Cat) -> None:
    text = script(say=["one", " two", " three"])
    assert chat(panel_cat, text).json()["choices"][0]["message"]["content"] == "one two three"
    form.enter("max_tokens", "2")
    form.enter("enable_streaming", "off")
    form.enter("model_aliases", "gpt-4o=cheshire-cat")
    form.enter("rate_limit_per_minute", "7")
    assert form.save() == "Settings saved"
    reply = chat(panel_cat, text, model="gpt-4o", stream=True, user="a new one")
    assert '"content":"one two"' in reply.text
    assert reply.headers["x-ratelimit-limit-requests"] == "7"


def test_lists_save_the_value_of_the_chosen_entry(form: Form, browser: webdriver.Chrome, panel_cat: Cat) -> None:
    chosen = {"show_steps": "on", "skip_background_tasks": "off", "history": "cat", "stream_after_hooks": "never"}
    for name, value in chosen.items():
        form.enter(name, value)
    assert form.save() == "Settings saved"
    saved = panel_cat.settings_entry()["value"]
    assert {name: saved[name] for name in chosen} == {
        "show_steps": True,
        "skip_background_tasks": False,
        "history": "cat",
        "stream_after_hooks": "never",
    }
    again = Form(browser, panel_cat.url)
    assert {name: again.value(name) for name in chosen} == chosen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate_limit_per_minute", "1001"),
        ("max_tokens", "-1"),
        ("max_tokens", "32001"),
        ("request_timeout", "3601"),
        ("max_concurrent_requests", "1.5"),
    ],
)
def test_a_number_out_of_range_cannot_be_saved(form: Form, name: str, value: str) -> None:
    form.enter("debug_mode", "on")
    form.wait_until_saving_is(True)
    form.enter(name, value)
    form.wait_until_saving_is(False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_aliases", "nonsense"),
        ("end_user_headers", "X User"),
        ("rate_limit_storage", "http://localhost"),
    ],
)
def test_an_invalid_text_is_refused(form: Form, panel_cat: Cat, name: str, value: str) -> None:
    before = panel_cat.settings_entry()["value"]
    form.enter(name, value)
    assert form.save() == "Error saving settings"
    assert panel_cat.settings_entry()["value"] == before


def test_the_plugin_is_shown_with_its_thumbnail(browser: webdriver.Chrome, panel_cat: Cat) -> None:
    browser.get(f"{panel_cat.url}/#/plugins")
    browser.refresh()
    picture = WebDriverWait(browser, PAGE_TIMEOUT).until(
        lambda page: page.find_element(By.XPATH, "//h6[normalize-space()='OpenAI API']/preceding::img[1]")
    )
    WebDriverWait(browser, PAGE_TIMEOUT).until(
        lambda page: page.execute_script("return arguments[0].complete && arguments[0].naturalWidth > 0", picture)
    )
