"""The connect page: its HTTP response, and its use in a real browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from asking import said_to
from browser import needs_browser, start_browser
from host import KEY, Cat, needs_agents
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from upstream import Upstream, script

OTHER_HOST = "cat.test"
"""Another name of this machine for the browser: pages from there are not trusted with a clipboard."""

CLIENTS = [
    "curl",
    "Python",
    "JavaScript",
    "LangChain",
    "Open WebUI",
    "LibreChat",
    "LobeChat",
    "n8n",
    "Home Assistant",
    "Continue",
]


def directives(reply: httpx.Response) -> dict[str, str]:
    policy = reply.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (directive.partition(" ") for directive in policy)}


def test_the_page_needs_no_key_and_contains_no_secret(cat: Cat, settings: Callable[..., None]) -> None:
    settings(model_aliases="jabberwocky=cheshire-cat")
    reply = httpx.get(f"{cat.url}/custom/connect")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["x-request-id"]
    for secret in (KEY, "jabberwocky", str(cat.home), str(cat.port), "{{style}}", "{{script}}"):
        assert secret not in reply.text
    assert cat.http.get("/custom/connect").text == reply.text


def test_the_content_security_policy_allows_only_the_pages_own_style_and_script(cat: Cat) -> None:
    reply = httpx.get(f"{cat.url}/custom/connect")
    own = {}
    for kind in ("style", "script"):
        (text,) = re.findall(f"<{kind}[^>]*>(.*?)</{kind}>", reply.text, re.DOTALL)
        own[kind] = f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert directives(reply) == {
        "default-src": "'none'",
        "script-src": own["script"],
        "style-src": own["style"],
        "img-src": "data:",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-cache"


def test_other_methods_are_405_in_openais_form(cat: Cat) -> None:
    reply = cat.http.post("/custom/connect")
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "method_not_supported")
    assert reply.headers["allow"] == "GET"


class Page:
    """The connect page in a tab of its own."""

    def __init__(self, driver: webdriver.Chrome, cat: Cat) -> None:
        self.driver = driver
        self.port = cat.port
        self.url = f"{cat.url}/custom/connect"
        self._waiting = WebDriverWait(driver, 10, poll_frequency=0.02)

    def open(self, url: str | None = None) -> "Page":
        self.driver.get(url or self.url)
        self.until(lambda: self["health"].text != "Checking", "the health is shown")
        return self

    def __getitem__(self, element: str) -> WebElement:
        return self.driver.find_element(By.ID, element)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def run(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def until(self, condition: Callable[[], Any], meaning: str) -> None:
        self._waiting.until(lambda _: condition(), meaning)

    def use_key(self, key: str) -> None:
        self["key"].clear()
        self["key"].send_keys(key, Keys.ENTER)
        self.until(lambda: self["key-status"].text not in ("", "Requesting the models."), "the key was tried")

    def choose(self, group: str, name: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f'input[name="{group}"][value="{name}"]').click()

    def say(self, text: str) -> None:
        self["message"].send_keys(text.replace("\n", Keys.SHIFT + Keys.ENTER + Keys.NULL), Keys.ENTER)

    def ask(self, text: str) -> WebElement:
        """Send a message, and wait for the end of the reply."""
        before = len(self.replies())
        self.say(text)
        self.until(lambda: len(self.replies()) > before and not self["stop"].is_displayed(), "it was answered")
        return self.replies()[-1]

    def replies(self) -> list[WebElement]:
        return self.all(".turn.assistant")

    def copy(self, source: str) -> str:
        """Press the copy button, and return the pasted text."""
        button = self.driver.find_element(By.CSS_SELECTOR, f'[data-copies="{source}"]')
        button.click()
        self.until(lambda: button.text != "Copy", "it was copied")
        assert button.text == "Copied"
        self["message"].clear()
        self["message"].send_keys(Keys.CONTROL, "v", Keys.NULL)
        return self["message"].get_property("value")

    def complaints(self) -> list[dict[str, Any]]:
        """Messages in the browser's console, without those that the browser adds for error responses."""
        return [entry for entry in self.driver.get_log("browser") if entry["source"] != "network"]

    def emulate(self, command: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(f"Emulation.{command}", parameters)


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    browser = start_browser(f"--host-resolver-rules=MAP {OTHER_HOST} 127.0.0.1")
    yield browser
    browser.quit()


@pytest.fixture
def page(driver: webdriver.Chrome, cat: Cat) -> Iterator[Page]:
    driver.get_log("browser")
    driver.get_log("performance")
    before = driver.current_window_handle
    driver.switch_to.new_window("tab")
    tab = Page(driver, cat)
    yield tab.open()
    complaints = tab.complaints()
    driver.close()
    driver.switch_to.window(before)
    assert complaints == []


@pytest.fixture
def ready(page: Page) -> Page:
    """The page with the right key entered, and all that it shows to an admin."""
    page.use_key(KEY)
    assert page["key-status"].text == "The key is valid."
    page.until(lambda: page["usage-sum"].text, "the usage is shown")
    return page


@needs_browser
def test_it_shows_health_version_and_base_url(page: Page, cat: Cat) -> None:
    assert page["health"].text == "Healthy"
    assert not page["trouble"].is_displayed()
    assert cat.http.get("/custom/health").json()["version"] in page["version"].text
    assert page["base-url"].text == cat.base_url
    assert page["localhost"].is_displayed()


@needs_browser
def test_it_shows_what_to_do_if_the_cat_has_no_llm(page: Page, cat: Cat, upstream: Upstream) -> None:
    cat.use_no_llm()
    try:
        page.open()
        assert page["health"].text == "Degraded"
        assert "No language model is configured" in page["trouble"].text
    finally:
        cat.use_llm(upstream.base_url)
    page["check"].click()
    page.until(lambda: page["health"].text == "Healthy", "the Cat has an LLM again")
    assert not page["trouble"].is_displayed()


@needs_browser
def test_it_shows_that_the_plugin_is_switched_off(page: Page, cat: Cat) -> None:
    cat.toggle(cat.folder)
    try:
        page.use_key(KEY)
        assert "switched off" in page["key-status"].text
    finally:
        cat.toggle(cat.folder)
    page.use_key(KEY)
    assert page["key-status"].text == "The key is valid."


@needs_browser
@pytest.mark.parametrize("key", ["wrong", "", "ключ"])
def test_a_wrong_key_shows_an_error_and_enables_nothing(page: Page, key: str) -> None:
    page.use_key(key)
    shown = page["key-status"].text
    expected = {"wrong": "Incorrect API key", "": "You did not provide an API key", "ключ": "The key has characters"}
    assert shown.startswith(expected[key])
    assert ("invalid_api_key" in shown) == (key != "ключ")
    for closed in page.all("#send, #message, #with-key, #models input"):
        assert not closed.is_enabled()


@needs_browser
def test_a_wrong_key_after_the_right_one_disables_the_page(ready: Page) -> None:
    ready["with-key"].click()
    assert KEY in ready["settings"].text
    ready.use_key("wrong")
    assert KEY not in ready["settings"].text
    assert not ready["send"].is_enabled()


@needs_browser
def test_the_right_key_lists_the_chat_models(ready: Page, cat: Cat) -> None:
    models = [model["id"] for model in cat.http.get("/custom/v1/models").json()["data"]]
    models.remove("cheshire-cat-embedder")
    assert [choice.text for choice in ready.all("#models .choice")] == models
    assert all(choice.is_enabled() for choice in ready.all("#models input"))


@needs_browser
def test_the_key_can_be_shown_and_hidden(page: Page) -> None:
    assert page["key"].get_property("type") == "password"
    page["show-key"].click()
    assert page["key"].get_property("type") == "text"
    page["show-key"].click()
    assert page["key"].get_property("type") == "password"


@needs_browser
def test_a_reply_is_shown_while_it_streams(ready: Page) -> None:
    ready.run(
        "window.steps = []; new MutationObserver(() => {"
        " const said = document.querySelector('.turn.assistant .text')?.textContent;"
        " if (said && said !== steps.at(-1)) steps.push(said);"
        "}).observe(document.getElementById('chat'), {childList: true, subtree: true, characterData: true})"
    )
    reply = ready.ask(script(say=["one ", "two ", "three ", "four"], delay=0.15))
    assert ready.run("return steps") == ["one ", "one two ", "one two three ", "one two three four"]
    assert reply.get_attribute("aria-busy") == "false"


@needs_browser
def test_a_reply_has_its_time_to_first_token_and_its_usage(ready: Page) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    reply = ready.ask(script(say=["a", "b"], first_delay=0.3, delay=0.3, reported_usage=usage))
    figures = reply.find_element(By.CLASS_NAME, "figures").text
    shown = re.fullmatch(r"first token (\d+) ms · ([\d.]+) s in all · usage 7 \+ 5 = 12 tokens", figures)
    assert shown
    assert 300 <= int(shown[1]) < 1000 * float(shown[2]) - 200


@needs_browser
def test_messages_are_shown_as_text_and_never_as_markup(ready: Page) -> None:
    markup = "<img src=x onerror=alert(1)><b>bold</b>\n  <script>alert(2)</script> & &amp;"
    reply = ready.ask(script(markup, say=markup))
    assert reply.find_element(By.CLASS_NAME, "text").get_property("textContent") == markup
    assert ready.all(".turn img, .turn b, .turn script") == []


@needs_browser
def test_each_turn_is_sent_with_the_earlier_ones_until_a_new_chat(ready: Page, upstream: Upstream, tag: str) -> None:
    ready.ask(script("first", say="one"))
    ready.ask(script("second", tag=tag, say="two"))
    roles = [("user", "first"), ("assistant", "one"), ("user", "second")]
    assert said_to(upstream, tag) == roles
    ready["new-chat"].click()
    assert ready.all(".turn") == []
    ready.ask(script("third", tag=tag, say="three"))
    assert said_to(upstream, tag) == [("user", "third")]


@needs_browser
@needs_agents
def test_the_chosen_model_answers(ready: Page) -> None:
    ready.choose("models", "cheshire-cat:dormouse")
    assert ready.ask("Who?").find_element(By.CLASS_NAME, "text").text == "Treacle, said I."


@needs_browser
def test_an_error_is_shown_and_the_message_stays_in_the_input(ready: Page, upstream: Upstream, tag: str) -> None:
    asked = script("first", fail_status=500)
    reply = ready.ask(asked)
    assert "pipeline or its LLM failed" in reply.find_element(By.CLASS_NAME, "error").text
    assert "upstream_error · req_" in reply.text
    assert ready["message"].get_property("value") == asked
    ready["message"].clear()
    ready.ask(script("second", tag=tag, say="two"))
    assert said_to(upstream, tag) == [("user", "second")]


@needs_browser
def test_an_error_in_mid_stream_keeps_the_text_so_far(ready: Page) -> None:
    reply = ready.ask(script(say=["one ", "two "], error_after=1, delay=0.1))
    assert reply.find_element(By.CLASS_NAME, "text").get_property("textContent") == "one "
    assert "failed" in reply.find_element(By.CLASS_NAME, "error").text


@needs_browser
def test_a_rate_limit_error_shows_the_time_to_wait(ready: Page, settings: Callable[..., None]) -> None:
    settings(rate_limit_per_minute=1)
    ready.ask("hi")
    reply = ready.ask("hi")
    assert re.search(r"try again in \d+ s · 429 · rate_limit_exceeded", reply.text)


@needs_browser
def test_it_shows_that_the_cat_cannot_be_reached(ready: Page) -> None:
    ready.driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    ready.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    reply = ready.ask("hi")
    assert "The Cat does not answer" in reply.find_element(By.CLASS_NAME, "error").text
    ready.run("document.dispatchEvent(new Event('visibilitychange'))")
    ready.until(lambda: ready["health"].text == "Not reachable", "who comes back to the tab sees it")
    ready.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {**offline, "offline": False})
    ready["check"].click()
    ready.until(lambda: ready["health"].text == "Healthy", "it is there again")


@needs_browser
def test_stop_ends_the_reply_and_the_request_to_the_llm(ready: Page, upstream: Upstream, tag: str) -> None:
    ready.say(script("first", tag=tag, say="tick ", repeat=600, delay=0.05))
    ready.until(lambda: "tick tick" in ready.replies()[-1].text, "it is answering")
    assert not ready["send"].is_displayed()
    ready["stop"].click()
    upstream.wait(tag, state="left")
    ready.until(ready["send"].is_displayed, "it may be asked again")
    (reply,) = ready.replies()
    assert reply.find_element(By.CLASS_NAME, "figures").text.startswith("stopped · first token")
    ready.ask(script("second", tag=tag, say="two"))
    (_, first), (role, said), (_, second) = said_to(upstream, tag)
    assert (first, role, second) == ("first", "assistant", "second")
    assert said.startswith("tick tick")


@needs_browser
def test_a_new_chat_stops_the_old_ones_reply(ready: Page, upstream: Upstream, tag: str) -> None:
    ready.say(script("first", tag=tag, say="tick ", repeat=600, delay=0.05))
    ready.until(lambda: ready.replies() and "tick" in ready.replies()[-1].text, "it is answering")
    ready["new-chat"].click()
    upstream.wait(tag, state="left")
    ready.ask(script("second", tag=tag, say="two"))
    assert said_to(upstream, tag) == [("user", "second")]
    assert len(ready.replies()) == 1


@needs_browser
def test_the_base_url_and_the_settings_can_be_copied(ready: Page, cat: Cat) -> None:
    assert ready.copy("base-url") == cat.base_url
    assert ready.copy("settings") == ready["settings"].get_property("textContent")


@needs_browser
def test_copying_works_without_the_clipboard_api(page: Page) -> None:
    base_url = f"http://{OTHER_HOST}:{page.port}/custom/v1"
    page.open(f"http://{OTHER_HOST}:{page.port}/custom/connect")
    assert page.run("return navigator.clipboard === undefined")
    assert page["insecure"].is_displayed()
    assert not page["localhost"].is_displayed()
    page.use_key(KEY)
    assert page.copy("base-url") == base_url


@needs_browser
def test_every_clients_settings_have_url_and_model_and_the_key_on_request(ready: Page, cat: Cat) -> None:
    assert [choice.text for choice in ready.all("#clients .choice")] == CLIENTS
    for client in CLIENTS:
        ready.choose("clients", client)
        plain = ready["settings"].text
        assert cat.base_url in plain
        assert "cheshire-cat" in plain or client == "Open WebUI"
        assert "YOUR_KEY" in plain
        assert KEY not in plain
        ready["with-key"].click()
        assert ready["settings"].text == plain.replace("YOUR_KEY", KEY)
        ready["with-key"].click()


@needs_browser
@pytest.mark.parametrize("client", ["curl", "Python", "LangChain"])
def test_python_and_shell_samples_run_unchanged(ready: Page, client: str) -> None:
    ready["with-key"].click()
    ready.choose("clients", client)
    command = ["bash", "-c"] if client == "curl" else [sys.executable, "-P", "-c"]
    code = ready["settings"].get_property("textContent")
    ran = subprocess.run([*command, code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    said = "".join(re.findall(r'"content":"([^"]*)"', ran.stdout)) if client == "curl" else ran.stdout.strip()
    assert said == "Who are you?"


@needs_browser
@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_javascript_samples_are_valid_javascript(ready: Page, tmp_path: Path) -> None:
    ready.choose("clients", "JavaScript")
    module = tmp_path / "chat.mjs"
    module.write_text(ready["settings"].get_property("textContent"), "utf-8")
    ran = subprocess.run(["node", "--check", str(module)], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


@needs_browser
def test_yaml_samples_are_valid_yaml(ready: Page, cat: Cat) -> None:
    ready.choose("clients", "LibreChat")
    (endpoint,) = yaml.safe_load(ready["settings"].get_property("textContent"))["endpoints"]["custom"]
    assert endpoint["baseURL"] == cat.base_url
    assert endpoint["models"] == {"default": ["cheshire-cat"], "fetch": True}
    ready.choose("clients", "Continue")
    (model,) = yaml.safe_load(ready["settings"].get_property("textContent"))["models"]
    assert (model["provider"], model["model"], model["apiBase"]) == ("openai", "cheshire-cat", cat.base_url)


@needs_browser
@needs_agents
def test_settings_have_the_chosen_model(ready: Page) -> None:
    ready.choose("models", "cheshire-cat:alice")
    assert '"model":"cheshire-cat:alice"' in ready["settings"].text


@needs_browser
def test_it_fits_a_phone(ready: Page) -> None:
    ready.emulate("setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=False)
    ready.ask(script("word" * 60, say="word" * 200))
    make_key(ready, "word" * 25)
    ready["new-key"].click()
    for client in CLIENTS:
        ready.choose("clients", client)
        width, inner = ready.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert (inner, width <= inner) == (360, True), (client, width)
        outside = ready.run(
            "return [...document.querySelectorAll('body *')].filter((element) =>"
            " !element.closest('pre, svg, .table, .unseen') && element.getBoundingClientRect().right > innerWidth)"
            ".map((element) => element.outerHTML)"
        )
        assert outside == []


COLOURS = """
    const texts = document.querySelectorAll(
        "h1, h2, h3, p, label, legend, button, th, td, code, figcaption *," +
        ".text, .figures, .name, .title, .details, .tag"
    );
    const colour = (element) => getComputedStyle(element).color;
    const ground = (element) => {
        const own = getComputedStyle(element).backgroundColor;
        return own === "rgba(0, 0, 0, 0)" ? ground(element.parentElement) : own;
    };
    return [...texts]
        .filter((element) => element.checkVisibility() && element.textContent.trim() && !element.closest(".unseen"))
        .map((element) => [element.textContent, colour(element), ground(element)]);
"""
"""Text, colour and the colour behind it of all that is shown."""


def contrast(first: str, second: str) -> float:
    """WCAG's ratio of two colours as `rgb(…)`."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted([luminance(first), luminance(second)], reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@needs_browser
def test_it_has_a_dark_mode_and_enough_contrast_in_both_modes(ready: Page) -> None:
    ready.ask(script(say="one"))
    make_key(ready, "for colours")
    ready["new-key"].click()
    ready.driver.find_element(By.CSS_SELECTOR, "#key-list .danger").click()
    grounds = {}
    for scheme in ("light", "dark"):
        ready.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        grounds[scheme] = ready["base-url"].value_of_css_property("background-color")
        found = ready.run(COLOURS)
        assert len(found) > 30
        for text, colour, ground in found:
            assert contrast(colour, ground) >= 4.5, (scheme, text, colour, ground)
    assert contrast(grounds["light"], grounds["dark"]) > 10


@needs_browser
def test_every_input_has_a_label_and_can_be_reached_by_keyboard(ready: Page) -> None:
    for element in ready.all("input, textarea, button, fieldset, [role=log], [role=region]"):
        assert element.accessible_name or not element.is_displayed(), element.get_attribute("outerHTML")
    ready.run("document.querySelector('button[data-copies]').focus()")
    reached: list[str] = []
    while len(reached) < 30 and "with-key" not in reached:
        ready.driver.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(ready.run("return document.activeElement.id || document.activeElement.name"))
    wanted = ["key", "show-key", "models", "new-chat", "chat", "message", "send", "clients", "with-key"]
    assert [name for name in reached if name in wanted] == wanted


# Keys


def make_key(page: Page, name: str, **fields: str) -> str:
    """Make a key on the page; return its value. `fields`: by the ids of the inputs, and `models`."""
    page["new-key"].click()
    page["key-name"].send_keys(name)
    page.choose("key-for", fields.pop("key_for", "service"))
    for box in fields.pop("models", "").split():
        page.driver.find_element(By.CSS_SELECTOR, f'#key-models input[value="{box}"]').click()
    for element, value in fields.items():
        page[element.replace("_", "-")].send_keys(value)
    page["editor-save"].click()
    page.until(page["made"].is_displayed, "the key is made")
    assert not page["key-editor"].is_displayed()
    return page["made-value"].text


def key_named(page: Page, name: str) -> WebElement:
    (item,) = [item for item in page.all("#key-list > li") if item.find_element(By.CLASS_NAME, "title").text == name]
    return item


def press(page: Page, name: str, button: str) -> None:
    key_named(page, name).find_element(By.CSS_SELECTOR, f'button[aria-label="{button} the key {name}"]').click()


def ask_with(cat: Cat, key: str, **more: Any) -> httpx.Response:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}], **more}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{cat.base_url}/chat/completions", json=body, headers=headers, timeout=30)


@needs_browser
def test_keys_and_usage_are_shown_to_admins_only(page: Page, cat: Cat) -> None:
    def shown() -> list[bool]:
        return [page[section].is_displayed() for section in ("keys", "usage")]

    assert shown() == [False, False]
    page.use_key(KEY)
    page.until(lambda: shown() == [True, True], "the key is an admin's")
    value = make_key(page, "seen by admins only")
    for key in (cat.token("alice"), "wrong", value):
        page.use_key(key)
        page.until(lambda: shown() == [False, False], "the key is no admin's")
        content = page["keys"].get_property("textContent")
        assert "seen by admins only" not in content
        assert value not in page.run("return document.body.textContent")
    assert page["key-status"].text == "The key is valid."


@needs_browser
def test_a_key_is_made_copied_once_and_put_into_the_settings_of_a_client(ready: Page, cat: Cat) -> None:
    value = make_key(ready, "Open WebUI")
    assert ask_with(cat, value, user="somebody").status_code == 200
    assert ready.copy("made-value") == value
    ready["made-use"].click()
    assert f"Bearer {value}" in ready["settings"].text
    assert ready["with-key-text"].text == "with the new key “Open WebUI”"
    ready.choose("clients", "Open WebUI")
    assert f"OPENAI_API_KEY={value}" in ready["settings"].text
    ready["made-done"].click()
    assert not ready["made"].is_displayed()
    assert value not in ready["keys"].get_property("textContent")
    press(ready, "Open WebUI", "Delete")
    press(ready, "Open WebUI", "Yes, delete")
    ready.use_key(KEY)
    ready["with-key"].click()
    assert value not in ready.run("return document.body.textContent")


@needs_browser
def test_a_key_has_the_limits_that_were_entered(ready: Page, cat: Cat, somebody: str) -> None:
    value = make_key(
        ready,
        "limited",
        key_for="end_user",
        key_end_user=somebody,
        key_rate="7",
        key_tokens="1000000",
        key_expires="01012099",
        models="cheshire-cat",
    )
    (made,) = [key for key in cat.http.get("/custom/keys?order=desc").json()["data"] if key["name"] == "limited"]
    assert made["end_user"] == somebody
    assert (made["rate_limit_per_minute"], made["tokens_per_day"], made["models"]) == (7, 10**6, ["cheshire-cat"])
    assert made["expires_at"] == 4070995200  # the end of that day
    details = key_named(ready, "limited").find_element(By.CLASS_NAME, "details").text
    for part in (f"for {somebody}", "7 requests a minute", "0 of 1,000,000 tokens today", "until 2099-01-01"):
        assert part in details
    assert value not in details
    press(ready, "limited", "Change")
    assert ready["key-expires"].get_property("value") == "2099-01-01"
    assert not ready["key-for"].is_displayed()
    for element, text in (("key-name", "unlimited"), ("key-rate", ""), ("key-tokens", "")):
        ready[element].clear()
        ready[element].send_keys(text)
    ready["editor-save"].click()
    ready.until(lambda: "is changed" in ready["keys-status"].text, "it is changed")
    changed = cat.http.get(f"/custom/keys/{made['id']}").json()
    assert (changed["name"], changed["rate_limit_per_minute"], changed["tokens_per_day"]) == ("unlimited", None, None)
    assert (changed["models"], changed["expires_at"]) == (["cheshire-cat"], 4070995200)
    cat.http.delete(f"/custom/keys/{made['id']}").raise_for_status()


@needs_browser
def test_a_key_is_disabled_enabled_and_deleted_after_a_second_look(ready: Page, cat: Cat) -> None:
    value = make_key(ready, "doomed", key_for="own")
    press(ready, "doomed", "Disable")
    ready.until(lambda: "is disabled" in ready["keys-status"].text, "it is disabled")
    assert ask_with(cat, value).status_code == 401
    assert key_named(ready, "doomed").find_element(By.CLASS_NAME, "tag").text == "disabled"
    press(ready, "doomed", "Enable")
    ready.until(lambda: "is enabled" in ready["keys-status"].text, "it is enabled")
    press(ready, "doomed", "Delete")
    assert ask_with(cat, value).status_code == 200
    press(ready, "doomed", "Keep")
    assert not key_named(ready, "doomed").find_elements(By.CLASS_NAME, "sure")
    press(ready, "doomed", "Delete")
    press(ready, "doomed", "Yes, delete")
    ready.until(lambda: "is deleted" in ready["keys-status"].text, "it is deleted")
    assert "doomed" not in [title.text for title in ready.all("#key-list .title")]
    assert ask_with(cat, value).status_code == 401


@needs_browser
def test_a_key_that_cannot_be_made_shows_why_and_keeps_what_was_entered(ready: Page, cat: Cat) -> None:
    ready["new-key"].click()
    ready["key-name"].send_keys("of the past")
    ready.run("document.getElementById('key-expires').value = '2020-01-01'")
    ready["editor-save"].click()
    ready.until(lambda: "expires_at" in ready["editor-status"].text, "it is refused")
    assert ready["key-name"].get_property("value") == "of the past"
    ready["key-name"].send_keys(Keys.ESCAPE)
    assert not ready["key-editor"].is_displayed()


@needs_browser
def test_names_of_keys_and_people_are_text_and_never_markup(ready: Page, cat: Cat) -> None:
    markup = "<img src=x onerror=alert(1)>"
    value = make_key(ready, markup)
    usage = {"prompt_tokens": 10**10, "completion_tokens": 1, "total_tokens": 10**10 + 1}
    asked = {"messages": [{"role": "user", "content": script("hi", say="ok", reported_usage=usage)}]}
    assert ask_with(cat, value, user=markup, **asked).status_code == 200
    ready["refresh"].click()
    ready.choose("by", "By person")
    ready.until(lambda: markup in ready["by-rows"].text, "the person is listed")
    assert ready.all("main img") == []
    press(ready, markup, "Delete")
    press(ready, markup, "Yes, delete")


# Usage


def rows_of_usage(page: Page) -> dict[str, list[str]]:
    rows = page.run(
        "return [...document.querySelectorAll('#by-rows tr')].map((row) =>"
        " [...row.cells].map((cell) => cell.textContent))"
    )
    return {name: cells for name, *cells in rows}


@needs_browser
def test_usage_is_shown_by_key_person_and_model_with_todays_budgets(ready: Page, cat: Cat, somebody: str) -> None:
    value = make_key(ready, somebody, key_tokens="2000000000")
    usage = {"prompt_tokens": 10**9, "completion_tokens": 10**6, "total_tokens": 10**9 + 10**6}
    asked = {"messages": [{"role": "user", "content": script("hi", say="ok", reported_usage=usage)}], "user": somebody}
    assert ask_with(cat, value, **asked).status_code == 200
    ready["made-done"].click()
    ready["refresh"].click()
    used = ["1", "1,000,000,000", "1,000,000"]
    ready.until(lambda: rows_of_usage(ready).get(somebody) == used, "it is listed by key")
    ready.choose("by", "By person")
    ready.until(lambda: ready["by-title"].text == "Person", "by person")
    assert rows_of_usage(ready)[somebody] == used
    ready.choose("by", "By model")
    ready.until(lambda: ready["by-title"].text == "Model", "by model")
    requests, *_ = rows_of_usage(ready)["cheshire-cat"]
    assert int(requests.replace(",", "")) >= 1
    (budget,) = [line for line in ready.all("#budget-list li") if somebody in line.text]
    assert budget.text == f"{somebody}: 1,001,000,000 of 2,000,000,000 tokens"
    assert budget.find_element(By.TAG_NAME, "meter").accessible_name == budget.text
    (made,) = [key for key in cat.http.get("/custom/keys?order=desc").json()["data"] if key["name"] == somebody]
    cat.http.delete(f"/custom/keys/{made['id']}").raise_for_status()


@needs_browser
def test_usage_has_a_bar_for_each_day_with_requests(ready: Page, cat: Cat) -> None:
    assert ask_with(cat, KEY).status_code == 200
    for period, days in (("7 days", 7), ("90 days", 90), ("30 days", 30)):
        ready.choose("period", period)
        ready.until(lambda days=days: len(ready.all("#bars .hit")) == days, f"{days} days")
        assert len(ready.all("#day-rows tr")) == days
    ready.choose("measure", "Requests")
    assert len(ready.all("#bars .requests")) == 1
    (last, requests, tokens) = ready.run(
        "return [...document.querySelector('#day-rows tr:last-child').children].map((cell) => cell.textContent)"
    )
    assert last == ready["bars-to"].text
    assert int(requests.replace(",", "")) >= 1
    assert int(tokens.replace(",", "")) >= 2


@needs_browser
def test_it_sends_requests_only_to_this_cat_and_stores_the_key_nowhere(ready: Page, cat: Cat) -> None:
    ready["with-key"].click()
    ready.ask(script(say="one"))
    events = [json.loads(entry["message"])["message"] for entry in ready.driver.get_log("performance")]
    urls = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    asked = {url.split("?")[0] for url in urls if not url.startswith(("data:", "about:"))}
    usage = [f"v1/organization/usage/{kind}" for kind in ("completions", "embeddings")]
    paths = ("connect", "health", "v1/models", "v1/chat/completions", "keys", *usage)
    assert asked == {f"{cat.url}/custom/{path}" for path in paths}
    assert ready.driver.current_url == ready.url
    kept = ready.run(
        "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, window.name, history.state])"
    )
    assert json.loads(kept) == [{}, {}, "", "", None]
    assert ready.driver.get_cookies() == []
    assert ready.run("return indexedDB.databases()") == []


@needs_browser
def test_the_key_is_gone_after_a_reload(ready: Page) -> None:
    ready.open()
    assert ready["key"].get_property("value") == ""
    assert not ready["send"].is_enabled()


@needs_browser
def test_the_key_is_not_in_another_tab(ready: Page) -> None:
    driver, here, tabs = ready.driver, ready.driver.current_window_handle, set(ready.driver.window_handles)
    ready.run("window.open(location.href)")
    (other,) = set(driver.window_handles) - tabs
    driver.switch_to.window(other)
    ready.until(lambda: ready["health"].text == "Healthy", "it is there")
    assert ready["key"].get_property("value") == ""
    assert not ready["send"].is_enabled()
    driver.close()
    driver.switch_to.window(here)


class Proxy(BaseHTTPRequestHandler):
    """Puts a Cat under a prefix, as a reverse proxy does."""

    PREFIX = "/looking/glass"
    cat: Cat

    def _pass_on(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = self.cat.url + self.path.removeprefix(self.PREFIX)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        with httpx.stream(self.command, url, content=content, headers=headers, timeout=30) as reply:
            self.send_response(reply.status_code)
            for name in ("content-type", "content-security-policy"):
                if name in reply.headers:
                    self.send_header(name, reply.headers[name])
            self.end_headers()
            for part in reply.iter_raw():
                self.wfile.write(part)

    do_GET = do_POST = _pass_on

    def log_message(self, *_: object) -> None:
        """Do not log requests."""


class LoginWall(Proxy):
    """A proxy that passes on the page, and answers other requests with a login page."""

    def _pass_on(self) -> None:
        if self.path.endswith("/connect"):
            return super()._pass_on()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<!doctype html><p>Please log in")
        return None

    do_GET = do_POST = _pass_on


class Warned(Proxy):
    """Puts a warning into the list of keys."""

    def _pass_on(self) -> None:
        if "/keys" not in self.path:
            return super()._pass_on()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": [], "has_more": False, "warning": "everybody knows the key"}).encode())
        return None

    do_GET = do_POST = _pass_on


@contextmanager
def behind(proxy: type[Proxy], cat: Cat) -> Iterator[str]:
    """The plugin's base URL behind the proxy."""
    handler = type("Handler", (proxy,), {"cat": cat})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{Proxy.PREFIX}/custom"
        finally:
            server.shutdown()


@needs_browser
def test_it_works_behind_a_proxy_under_a_prefix(page: Page, cat: Cat) -> None:
    with behind(Proxy, cat) as base:
        page.open(f"{base}/connect?from=somewhere#here")
        assert page["health"].text == "Healthy"
        assert page["base-url"].text == f"{base}/v1"
        page.use_key(KEY)
        assert page.ask(script(say=["one ", "two"])).find_element(By.CLASS_NAME, "text").text == "one two"
        assert f"{base}/v1/chat/completions" in page["settings"].text


@needs_browser
def test_a_response_from_something_else_than_the_api_is_reported(page: Page, cat: Cat) -> None:
    with behind(LoginWall, cat) as base:
        page.open(f"{base}/connect")
        assert page["health"].text == "Not reachable"
        assert "proxy" in page["trouble"].text
        page.use_key(KEY)
        assert "proxy" in page["key-status"].text


@needs_browser
def test_a_warning_about_the_cats_own_key_is_shown_to_admins(page: Page, cat: Cat) -> None:
    with behind(Warned, cat) as base:
        page.open(f"{base}/connect")
        assert not page["keys-warning"].is_displayed()
        page.use_key(KEY)
        page.until(page["keys-warning"].is_displayed, "the warning is shown")
        assert page["keys-warning"].text == "Everybody knows the key."
