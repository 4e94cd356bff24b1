"""Published suites against an LLM and against a Cat in front of it: which of their tests tell the two apart.

    .venv/bin/python -P tests/conformance/run.py --python <another venv>/bin/python [--canary <its cli.js>]
    .venv/bin/python -P tests/conformance/run.py --open-responses <folder> --bun <bun>

Runs in the environment of the tests (`CAT` says which Cat). The suites are in nobody's way elsewhere:

- LangChain's tests for chat models: `pip install langchain-tests langchain-openai`, and `--python` of that place;
- CompatCanary's probes: `npm install compatcanary`, and `--canary node_modules/compatcanary/src/cli.js`;
- the compliance tests of Open Responses: a checkout of its repository in which zod is installed, and bun, which npm
  has. The LLM has no Responses, so these tests run against the Cat alone.

Exit code 1: a test ends otherwise with the Cat than with its LLM, or one of Open Responses does not pass.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

SUITE = Path(__file__).with_name("suite.py")
sys.path.insert(0, str(SUITE.parent.parent))

from host import KEY, make_cat  # noqa: E402
from upstream import Upstream  # noqa: E402

Outcomes: TypeAlias = dict[str, str]
"""By the test's name: "passed", "skipped", or what went wrong."""

UNLIMITED = {"rate_limit_per_minute": 0, "max_concurrent_requests": 0}


@dataclass(frozen=True)
class Server:
    base_url: str
    model: str
    key: str


def langchain(server: Server, python: str, api: str) -> Outcomes:
    """`api`: "chat" or "responses"."""
    variables = {
        "OPENAI_API": api,
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": server.key,
        "OPENAI_MODEL": server.model,
        "LANGCHAIN_TESTS_USER_AGENT": "none is sent",
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # One event loop for all: LangChain keeps its HTTP client. Our conftest.py is for our own tests.
        options = ["asyncio_mode=auto", "asyncio_default_test_loop_scope=session", "cache_dir=" + folder]
        run = subprocess.run(
            [python, "-P", "-m", "pytest", "-c", os.devnull, "--rootdir", str(SUITE.parent), "--noconftest", "-q"]
            + [argument for option in options for argument in ("-o", option)]
            + [f"--junitxml={report}", str(SUITE)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.exists():
            sys.exit(f"the suite did not start:\n{run.stdout}{run.stderr}")
        cases = ElementTree.parse(report).iter("testcase")
        return {case.attrib["name"]: outcome(case) for case in cases}


def outcome(case: ElementTree.Element) -> str:
    for kind in ("failure", "error"):
        found = case.find(kind)
        if found is not None:
            return f"{kind}: {found.attrib['message'].splitlines()[0]}"
    return "passed" if case.find("skipped") is None else "skipped"


def canary(server: Server, script: str) -> Outcomes:
    options = ["--base-url", server.base_url, "--model", server.model, "--profile", "chat"]
    report = subprocess.run(
        ["node", script, "scan", *options, "--format", "json", "--fail-on", "never"],
        env={**os.environ, "OPENAI_API_KEY": server.key},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return {
        f"canary {result['id']}": "passed" if result["status"] == "pass" else f"{result['status']}: {result['summary']}"
        for result in json.loads(report)["results"]
    }


def open_responses(server: Server, folder: str, bun: str) -> Outcomes:
    options = ["--base-url", server.base_url, "--model", server.model, "--api-key", server.key, "--json"]
    report = subprocess.run(
        [bun, "run", "bin/compliance-test.ts", *options], cwd=folder, stdout=subprocess.PIPE, text=True, check=False
    ).stdout
    return {
        f"open responses {result['id']}": " ".join([result["status"], *result.get("errors", [])])
        for result in json.loads(report)["results"]
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="an interpreter that has langchain-tests")
    parser.add_argument("--canary", help="the file cli.js of CompatCanary")
    parser.add_argument("--open-responses", help="the folder of the repository of Open Responses")
    parser.add_argument("--bun", default="bun", help="the program that runs its tests")
    arguments = parser.parse_args()

    def probe(server: Server) -> Outcomes:
        return canary(server, arguments.canary) if arguments.canary else {}

    def langchain_tests(server: Server, *apis: str) -> Outcomes:
        """By API. The LLM has chat completions only: what it does there is what Responses must do."""
        if not arguments.python:
            return {}
        outcomes = {api: langchain(server, arguments.python, api) for api in apis}
        return {
            f"langchain {api} {name}": outcome
            for api in ("chat", "responses")
            for name, outcome in outcomes.get(api, outcomes["chat"]).items()
        }

    upstream = Upstream.start(sys.executable)
    try:
        with tempfile.TemporaryDirectory() as folder:
            cat = make_cat(Path(folder) / "home").start()
            try:
                cat.use_llm(upstream.base_url)
                cat.put_settings(UNLIMITED).raise_for_status()
                llm = Server(upstream.base_url, "test-model", "a key")
                behind_cat = Server(cat.base_url, "cheshire-cat", KEY)
                of_llm = {**langchain_tests(llm, "chat"), **probe(llm)}
                of_cat = {**langchain_tests(behind_cat, "chat", "responses"), **probe(behind_cat)}
                folder_of_suite = arguments.open_responses
                published = open_responses(behind_cat, folder_of_suite, arguments.bun) if folder_of_suite else {}
            finally:
                cat.stop()
    finally:
        upstream.stop()

    differ = [name for name in of_llm if of_llm[name] != of_cat.get(name)]
    for name in differ:
        print(f"{name}\n    LLM: {of_llm[name]}\n    Cat: {of_cat.get(name, 'not run')}")
    for whose, outcomes in (("LLM", of_llm), ("Cat", of_cat)):
        passed = sum(result == "passed" for result in outcomes.values())
        skipped = sum(result == "skipped" for result in outcomes.values())
        print(f"{whose}: {passed} passed, {skipped} skipped, {len(outcomes) - passed - skipped} failed")
    print(f"{len(differ)} differ")
    failed = {name: result for name, result in published.items() if result != "passed"}
    for name, result in failed.items():
        print(f"{name}\n    {result}")
    if published:
        print(f"Open Responses: {len(published) - len(failed)} of {len(published)} passed")
    return 1 if differ or failed else 0


if __name__ == "__main__":
    sys.exit(main())
