"""Texts as the keyword index counts them: words without case, accents and endings.

Words of scripts that are written without spaces are pairs of neighbouring characters. In what is
searched they are single characters too, so that a query of one character finds them.
"""

from __future__ import annotations

import functools
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Final

__all__ = ["MOST_QUERY_TERMS", "MOST_TERMS", "VERSION", "query_terms", "text_terms"]

VERSION: Final = 1
"""Grows when the same text gives other terms; kept terms of another version are made anew."""
MOST_TERMS: Final = 65_536
"""Terms of one text; what comes after them is not found by words."""
MOST_TEXT: Final = 16 * MOST_TERMS
"""Characters of one text that are looked at."""
MOST_QUERY_TERMS: Final = 256
"""Different terms of one query; what comes after them is passed over."""
MOST_CHARACTERS: Final = 64
"""Of one term; what comes after them is cut off."""
STEMMED_CHARACTERS: Final = 24
"""Longest word that is stemmed; what is longer is a number, a hash or a name."""
CACHED: Final = 32_768
"""Words whose terms are remembered, and as many of those that were before them."""

_ASCII_LETTERS: Final = bytes(
    ord(chr(code).lower()) if chr(code).isascii() and chr(code).isalnum() else 0x20
    for code in range(256)
)
"""ASCII letters without case and digits; all else is a space."""
_POSSESSIVE: Final = re.compile(r"['’]s\b")
_LETTERS: Final = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h"}
)
_INVISIBLE: Final = dict.fromkeys((0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
_ACCENTS: Final = re.compile("[\u0300-\u036f]+")
_SPACELESS: Final = re.compile(
    "([\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff]+)"
)
_LANGUAGES: Final = {"LATIN": "english", "CYRILLIC": "russian"}
"""Script to the language whose endings are cut off. A word of another language of the script loses
the same ending wherever it stands, so it is found all the same."""


@functools.cache
def _words() -> Callable[[str], list[str]]:
    """Finds words of any script: letters and digits, with the marks that belong to them."""
    marks, first = [], 0
    for code in range(0x300, 0x20000):
        if unicodedata.category(chr(code))[0] == "M":
            first = first or code
        elif first:
            marks.append(f"{chr(first)}-{chr(code - 1)}")
            first = 0
    return re.compile(rf"(?:[^\W_]|[{''.join(marks)}])+").findall


class _Stems(dict[str, str]):
    """The term of each word that has no spaceless script in it. Thread-safe.

    What was asked for lately stays. Words of ASCII with a digit are their own terms and not kept:
    numbers would push out all the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stemmers: dict[str, Any] = {}

    def of(self, words: list[str]) -> list[str]:
        return [self[word] for word in words]

    def __missing__(self, word: str) -> str:
        plain = word.isascii()
        if plain and not word.isalpha():
            return word[:MOST_CHARACTERS]
        if len(self) >= CACHED:
            # Others may read it meanwhile: they find it in one of both, or make it again.
            self._before = dict(self)
            self.clear()
        term = self._before.get(word)
        if term is None:
            term = self._make(word, plain=plain)
        self[word] = term
        return term

    def _make(self, word: str, *, plain: bool) -> str:
        term, script = word, "LATIN"
        if not plain:
            script = unicodedata.name(word[0], "").partition(" ")[0]
            if script in ("LATIN", "GREEK"):
                bare = _ACCENTS.sub("", unicodedata.normalize("NFD", word))
                term = unicodedata.normalize("NFC", bare).translate(_LETTERS)
            elif script == "CYRILLIC":
                term = word.replace("ё", "е")
        if len(term) <= STEMMED_CHARACTERS and term.isalpha():
            term = self._stem(term, script)
        return term[:MOST_CHARACTERS]

    def _stem(self, word: str, script: str) -> str:
        language = _LANGUAGES.get(script)
        if language is None:
            return word
        with self._lock:
            stemmer = self._stemmers.get(language)
            if stemmer is None:
                import snowballstemmer

                stemmer = snowballstemmer.stemmer(language)
                stemmer.maxCacheSize = 0
                self._stemmers[language] = stemmer
            return str(stemmer.stemWord(word)) or word


_stems: Final = _Stems()


def _pieces(word: str, *, singles: bool) -> Iterator[str]:
    """The terms of a word that has characters of a spaceless script."""
    for at, piece in enumerate(_SPACELESS.split(word)):
        if at % 2 == 0:
            if piece:
                yield from _stems.of([piece])
            continue
        if singles or len(piece) == 1:
            yield from piece
        yield from (piece[start : start + 2] for start in range(len(piece) - 1))


def _ascii_words(text: str) -> list[str]:
    return text.encode("ascii").translate(_ASCII_LETTERS).decode("ascii").split()


def _terms(text: str, *, singles: bool) -> list[str]:
    text = text[:MOST_TEXT]
    if text.isascii():
        if "'" in text:
            text = _POSSESSIVE.sub("", text.lower())
        return _stems.of(_ascii_words(text)[:MOST_TERMS])
    text = unicodedata.normalize("NFKC", text).casefold().translate(_INVISIBLE)
    words = _words()(unicodedata.normalize("NFC", _POSSESSIVE.sub("", text)))[:MOST_TERMS]
    if _SPACELESS.search(text) is None:
        return _stems.of(words)
    terms: list[str] = []
    for word in words:
        if word.isascii() or _SPACELESS.search(word) is None:
            terms += _stems.of([word])
        else:
            terms += _pieces(word, singles=singles)
        if len(terms) >= MOST_TERMS:
            break
    return terms[:MOST_TERMS]


def text_terms(text: str) -> list[str]:
    """The terms of a text that is searched, in their order; at most ``MOST_TERMS``."""
    if text.isascii() and len(text) <= MOST_TERMS and "'" not in text:
        return _stems.of(_ascii_words(text))
    return _terms(text, singles=True)


def query_terms(text: str) -> list[str]:
    """The different terms to look for, in their order; at most ``MOST_QUERY_TERMS``."""
    return list(dict.fromkeys(_terms(text, singles=False)))[:MOST_QUERY_TERMS]
