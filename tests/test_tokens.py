"""Counting and cutting by tokens, compared with tiktoken on the whole text."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import tiktoken
from bridge.cat_openai_api.tokens import vocabulary as vocabulary_module
from bridge.cat_openai_api.tokens.budget import TokenBudget
from bridge.cat_openai_api.tokens.vocabulary import (
    ENCODING,
    EstimatingTokenizer,
    TiktokenTokenizer,
    Tokenizer,
    Vocabulary,
)
from hypothesis import given, settings
from hypothesis import strategies as st

MIXED = st.text(st.sampled_from("abz éß你好🐱'’ \n\t.,;(){}0123456789\u0301_-"), max_size=80)


@pytest.fixture(scope="module")
def exact() -> TiktokenTokenizer:
    """The real vocabulary, from tiktoken's cache or its download."""
    try:
        return TiktokenTokenizer(ENCODING)
    except OSError as error:
        pytest.skip(f"no vocabulary: {type(error).__name__}")


def in_pieces(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in zip(edges, edges[1:], strict=False)]


def spend(limit: int, tokenizer: Tokenizer, pieces: list[str]) -> tuple[str, bool]:
    budget = TokenBudget(limit, tokenizer)
    passed = ""
    for piece in pieces:
        allowed, cut = budget.feed(piece)
        passed += allowed
        if cut:
            return passed, True
    return passed, False


@settings(max_examples=400, deadline=None)
@given(text=MIXED, cuts=st.lists(st.integers(0, 200), max_size=20))
def test_only_a_text_over_the_limit_is_cut(exact: TiktokenTokenizer, text: str, cuts: list[int]) -> None:
    """Compared with the count of the whole text: a limit of that count cuts nothing, one less cuts."""
    count = len(tiktoken.get_encoding(ENCODING).encode_ordinary(text))
    assert spend(count, exact, [text]) == (text, False)
    if count > 1:
        passed, cut = spend(count - 1, exact, in_pieces(text, cuts))
        assert cut
        assert text.startswith(passed)
        assert len(passed) < len(text)


@settings(max_examples=300, deadline=None)
@given(
    words=st.lists(st.sampled_from(["one", "cat", "hat", "tea", "the", "sat"]), min_size=1, max_size=60),
    limit=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 400), max_size=20),
)
def test_the_cut_is_exact_however_the_text_is_chunked(
    exact: TiktokenTokenizer, words: list[str], limit: int, cuts: list[int]
) -> None:
    text = " ".join(words)
    passed, cut = spend(limit, exact, in_pieces(text, cuts))
    assert passed.split() == words[:limit]
    assert cut == (len(words) > limit)


def test_the_cost_of_a_chunk_does_not_grow_with_the_text(exact: TiktokenTokenizer) -> None:
    """The text that is counted again with each chunk has a bounded length."""
    counted = 0

    class Counting:
        def count(self, text: str) -> int:
            nonlocal counted
            counted += len(text)
            return exact.count(text)

        def head(self, text: str, count: int) -> str:
            return exact.truncate(text, count)

    pieces = [" word"] * 5000
    assert spend(5000, Counting(), pieces) == (" word" * 5000, False)
    assert counted < 20 * len(" word" * 5000)


def test_a_limit_never_splits_a_character(exact: TiktokenTokenizer) -> None:
    family = "👩‍👩‍👧‍👦" * 5
    for limit in range(1, exact.count(family)):
        passed, _ = spend(limit, exact, [family])
        assert family.startswith(passed)


@pytest.mark.parametrize(
    "text", ["", "one", "the cat sat on the mat. " * 50, "你好，世界。" * 20, "x = [1, 2, 3]\n" * 30]
)
def test_the_estimate_is_close_to_the_exact_count(exact: TiktokenTokenizer, text: str) -> None:
    estimate, count = EstimatingTokenizer().count(text), exact.count(text)
    assert count * 0.6 <= estimate <= count * 1.6


@given(text=MIXED, limit=st.integers(0, 30))
def test_the_estimates_head_is_a_prefix_of_that_length(text: str, limit: int) -> None:
    estimating = EstimatingTokenizer()
    head = estimating.truncate(text, limit)
    assert text.startswith(head)
    assert estimating.count(head) == min(limit, estimating.count(text))


class Unreachable:
    """A tiktoken whose download never ends."""

    def __init__(self, name: str) -> None:
        time.sleep(3600)


class Failing:
    def __init__(self, name: str) -> None:
        raise OSError("no network")


@pytest.mark.parametrize("broken", [Unreachable, Failing])
def test_a_vocabulary_that_cannot_be_fetched_does_not_delay_requests(
    monkeypatch: pytest.MonkeyPatch, broken: Any
) -> None:
    monkeypatch.setattr(vocabulary_module, "TiktokenTokenizer", broken)
    vocabulary = Vocabulary()
    started = time.monotonic()
    assert isinstance(vocabulary.tokenizer(), EstimatingTokenizer)
    assert vocabulary.tokenizer().count("two words") == 2
    assert time.monotonic() - started < 1
    if broken is Failing:
        assert vocabulary.wait(5)
        assert isinstance(vocabulary.tokenizer(), EstimatingTokenizer)


def test_a_failed_download_is_retried_later(monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]) -> None:
    monkeypatch.setattr(vocabulary_module, "TiktokenTokenizer", Failing)
    monkeypatch.setattr(vocabulary_module, "RETRY_INTERVAL", 0.0)
    vocabulary = Vocabulary()
    assert vocabulary.wait(5)
    loaded = EstimatingTokenizer()
    monkeypatch.setattr(vocabulary_module, "TiktokenTokenizer", lambda name: loaded)
    until(lambda: vocabulary.tokenizer() is loaded, "the vocabulary is loaded")
