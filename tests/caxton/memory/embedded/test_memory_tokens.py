"""Terms of texts: what a query has to find."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.memory.embedded import tokens
from caxton.memory.embedded.tokens import query_terms, text_terms


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("The John's cats were running", "john cat run"),
        ("Café naïve ÉCOLE", "cafe naive école"),
        ("Straße", "STRASSE"),
        ("Łódź Ærø", "lodz aero"),
        ("İstanbul", "istanbul"),
        ("read_file of v1.2", "read file"),
        ("ёлка ребёнок книги", "елки книга"),
        ("Ελλάδα", "ΕΛΛΑΔΑ"),
        ("ｆｕｌｌ ｗｉｄｔｈ ﬁre", "full width fire"),
        ("हिन्दी में लिखना", "लिखना"),
        ("我的猫很可爱", "猫"),
        ("我的猫很可爱", "可爱"),
        ("ABC漢字def", "漢字"),
        ("สวัสดีครับ", "ครับ"),
        ("한국어 검색", "한국"),
        ("co\u00adoperate", "cooperate"),
    ],
)
def test_a_query_finds_the_text(text: str, query: str) -> None:
    """All terms of the query are terms of the text."""
    assert query_terms(query)
    assert set(query_terms(query)) <= set(text_terms(text))


@pytest.mark.parametrize("text", ["", " \n", "!?… —", "🙂👍", "_"])
def test_a_text_without_words_has_no_terms(text: str) -> None:
    """Nothing is made of what is not a word."""
    assert text_terms(text) == query_terms(text) == []


def test_words_of_a_script_with_marks_are_whole() -> None:
    """Vowel signs belong to the word, and accents that make another letter stay."""
    assert text_terms("हिन्दी में") == ["हिन्दी", "में"]
    assert text_terms("йод") != text_terms("иод")


def test_characters_of_spaceless_scripts_are_pairs_and_singles() -> None:
    """What is searched has both; a query of several characters only pairs."""
    assert text_terms("漢字a") == ["漢", "字", "漢字", "a"]
    assert query_terms("漢字漢字") == ["漢字", "字漢"]


def test_terms_are_bounded() -> None:
    """However long a text is."""
    assert len(text_terms("word " * 100_000)) == tokens.MOST_TERMS
    assert len(text_terms("猫" * 100_000)) == tokens.MOST_TERMS
    assert text_terms("x" * 100_000) == ["x" * tokens.MOST_CHARACTERS]
    assert len(query_terms(" ".join(map(str, range(5_000))))) == tokens.MOST_QUERY_TERMS


def test_forgotten_words_give_the_same_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many words are remembered, all are forgotten, and nothing else changes."""
    monkeypatch.setattr(tokens, "CACHED", 4)
    texts = [f"running cats {n} walked über {n * 7}" for n in range(20)]
    first = [text_terms(one) for one in texts]
    assert [text_terms(one) for one in texts] == first


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_has_terms_that_are_its_own_query(text: str) -> None:
    """Terms are not empty, not long, and a text finds itself."""
    terms = text_terms(text)
    assert all(0 < len(one) <= tokens.MOST_CHARACTERS for one in terms)
    assert set(query_terms(text)) <= set(terms)
    assert text_terms(text) == terms


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyzäöüßéè ", max_size=80))
def test_case_does_not_count(text: str) -> None:
    """A text in capitals has the same terms."""
    assert text_terms(text.upper()) == text_terms(text)


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_words_of_ascii_are_runs_of_letters_and_digits(text: str) -> None:
    """Whatever stands between them."""
    assert tokens._ascii_words(text) == re.findall("[0-9a-z]+", text.lower())


def test_numbers_push_no_words_out_of_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entity may have numbers of its own; the words between them are stemmed once."""
    made: list[str] = []
    stems = tokens._Stems()
    make = stems._make

    def counted(word: str, *, plain: bool) -> str:
        made.append(word)
        return make(word, plain=plain)

    monkeypatch.setattr(tokens, "CACHED", 4)
    monkeypatch.setattr(stems, "_make", counted)
    for number in range(50):
        assert stems.of(["boats", f"{number}", f"{number}th"]) == [
            "boat",
            f"{number}",
            f"{number}th",
        ]
    assert made == ["boats"]


def test_words_that_are_asked_for_again_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others that come meanwhile push out those that are not."""
    made: list[str] = []
    stems = tokens._Stems()
    make = stems._make

    def counted(word: str, *, plain: bool) -> str:
        made.append(word)
        return make(word, plain=plain)

    monkeypatch.setattr(tokens, "CACHED", 4)
    monkeypatch.setattr(stems, "_make", counted)
    for other in "abcdefghijklmnop":
        assert stems.of(["boats", other]) == ["boat", other]
    assert made.count("boats") == 1
    assert len(stems) + len(stems._before) <= 8
