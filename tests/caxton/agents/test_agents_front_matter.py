"""Front matter: YAML, nearly YAML, TOML, and where each value is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caxton.agents.front_matter import _read_plain, read_front_matter
from caxton.agents.places import FrontMatterError
from caxton.agents.yaml_reader import read_yaml

WORDS = st.text("abcAZ09_-.", min_size=0, max_size=8)
LINES = st.one_of(
    st.builds("{}: {}".format, WORDS, WORDS),
    st.builds("{}:".format, WORDS),
    st.builds("  - {}".format, WORDS),
    st.builds("    - {}".format, WORDS),
    st.builds("{}: [{}, {}]".format, WORDS, WORDS, WORDS),
    st.builds("{}: {} {}, {}".format, WORDS, WORDS, WORDS, WORDS),
    st.sampled_from(
        ["", "a: true", "b: [null]", "c: []", "d: x # y", "e: 1.0.0", "f: it's: odd", "g: yes",
         "h: [a,b , c]", "i:  two  spaces ", "true: x", "- x", "k: a:b", "l: 1e3", "m: ~"]
    ),
)  # fmt: skip


@given(st.lists(LINES, max_size=6))
def test_the_short_way_agrees_with_the_parser(lines: list[str]) -> None:
    """What is read without the parser is what the parser reads, places too."""
    front = "".join(f"{line}\n" for line in lines)
    short = _read_plain(front, "body")
    if short is None:
        return
    full = read_yaml(front, "body", 2)
    assert short.data == full.data
    assert short.keys == full.keys
    assert short.values == {path: at for path, at in full.values.items() if path}


def test_most_files_go_the_short_way() -> None:
    """Plain keys, words in lists of both shapes."""
    front = "name: A\nversion: 1.0.0\ndescription: Does x, (y).\ntools: [a, b]\nrequires:\n  - c\n"
    found = _read_plain(front, "")
    assert found is not None
    assert found.data["tools"] == ["a", "b"]
    assert found.values["tools", 1] == (5, 12)


@pytest.mark.parametrize(
    ("text", "place", "rule"),
    [
        ("hello", (1, 1), "must begin with"),
        ("---\nname: x\n", (1, 1), "not closed"),
        ("---\n---\n", (2, 1), "must hold `key: value` lines"),
        ("---\n- a\n---\n", (2, 1), "must hold"),
        ("---\nname: x\ntools: [a\n---\n", (3, 8), "not YAML"),
        ("---\na: 1\na: 2\n---\n", (3, 1), "given again (line 2)"),
        ("---\na: !!python/object:os.system x\n---\n", (2, 4), "tag"),
        ("---\na: !x 1\n---\n", (2, 4), "tag"),
        ("---\n? [a]\n: 1\n---\n", (2, 3), "a key must be a text"),
        ("---\nb: &b {x: 1}\na:\n  <<: *b\n---\n", (4, 3), "merge"),
        ("---\na: &a [*a]\n---\n", (2, 4), "nested too deep"),
        ("---\na: " + "[" * 30_000 + "\n---\n", (2, 1), "nested too deep"),
        ("---\na:" + " - a" * 5_000 + "\n---\n", (2, 4), "not YAML"),
        ("---\n- " * 1 + "- " * 5_000 + "\n---\n", (2, 1), "nested too deep"),
        ("---\n%YAML 1.1\nname: no\n---\n", (2, 1), "directives"),
        ("---\na: " + "9" * 50 + "\n---\n", (2, 4), "digits"),
        ("---\na: " + "x" * 70_000 + "\n---\n", (1, 1), "at most 65,536"),
        ("+++\na = \n+++\n", (2, 5), "not TOML"),
        ("+++\na = 'x\n+++\n", (2, 1), "not TOML"),
        ("+++\na = " + "[" * 20 + "]" * 20 + "\n+++\n", (2, 1), "16 levels"),
        ("+++\na = " + "[" * 5_000 + "\n+++\n", (2, 1), "not TOML"),
    ],
)
def test_what_cannot_be_read_names_its_place(text: str, place: tuple[int, int], rule: str) -> None:
    """Each broken front matter ends in one error with line, column and rule."""
    with pytest.raises(FrontMatterError) as broken:
        read_front_matter(text)
    assert broken.value.place == place
    assert rule in broken.value.rule


def test_an_alias_bomb_is_refused_quickly() -> None:
    """Aliases are counted for what they stand for."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    started = time.monotonic()
    with pytest.raises(FrontMatterError, match="through aliases"):
        read_front_matter("---\n" + "\n".join(lines) + "\n---\n")
    assert time.monotonic() - started < 5


def test_yaml_is_1_2() -> None:
    """`no` is a text, 010 is ten, times stay texts, the usual numbers are numbers."""
    text = "---\na: no\nb: 010\nc: 12:30:00\nd: 1e3\ne: 0x1F\nf: 0o17\ng: true\nh: ~\n"
    found = read_front_matter(text + "i: 2026-01-01\nj: .inf\nk: 'q'\nl: |\n  two\n  lines\n---\n")
    assert found.data == {
        "a": "no", "b": 10, "c": "12:30:00", "d": 1000.0, "e": 31, "f": 15, "g": True, "h": None,
        "i": "2026-01-01", "j": float("inf"), "k": "q", "l": "two\nlines\n",
    }  # fmt: skip


def test_the_body_is_verbatim() -> None:
    """Braces, fences and blank lines of a body are left alone."""
    found = read_front_matter("---\nname: x\n---\n\n# A\n{{ x }}\n---\nb\n\n")
    assert found.body == "\n# A\n{{ x }}\n---\nb\n\n"


def test_loose_descriptions_are_read_line_by_line() -> None:
    """A text with a colon costs a warning, not the file."""
    text = (
        "---\nname: x\ndescription: Use when: a\n  <example>b: c</example>\n"
        "tools: [Read,\n  Grep]\n---\n"
    )
    found = read_front_matter(text)
    assert found.data["description"] == "Use when: a <example>b: c</example>"
    assert found.data["tools"] == ["Read", "Grep"]
    assert found.lenient is not None
    assert found.lenient.place == (3, 22)
    assert found.values["description",] == (3, 14)
    assert found.values["tools", 1] == (6, 3)


def test_loose_quotes_are_taken_off() -> None:
    """Quotes around a broken text do not become part of it."""
    found = read_front_matter('---\nname: x\ndescription: "say "hi" now"\n---\n')
    assert found.data["description"] == 'say "hi" now'


@pytest.mark.parametrize(
    "text",
    [
        "---\nname: x\nllm:\n  - a\n  b: c\n---\n",
        "---\nname: x\ndescription: [a\n---\n",
        "---\ndescription: a: b\n---\n",
        "---\nname: x\nname: y\ndescription: a: b\n---\n",
        "---\n  odd: a: b\nname: x\n---\n",
    ],
)
def test_more_than_a_loose_text_is_an_error(text: str) -> None:
    """Structure is never guessed."""
    with pytest.raises(FrontMatterError):
        read_front_matter(text)


def test_toml_keeps_places_of_keys() -> None:
    """TOML front matter gives the same values, with the line of each key."""
    text = '+++\nname = "x"\n[llm]\n  model = "m"\n[permissions.files]\n"data" = "ro"\n'
    found = read_front_matter(text + "when = 2026-01-01\nlist = [1, true]\n+++\nbody")
    assert found.data["llm"] == {"model": "m"}
    assert found.data["permissions"]["files"]["when"] == "2026-01-01"
    assert found.values["llm", "model"] == (4, 11)
    assert found.keys["permissions", "files", "data"] == (6, 1)
    assert found.body == "body"


@given(st.text(max_size=200))
def test_garbage_gives_one_error_or_a_mapping(text: str) -> None:
    """Whatever lies between the fences, the outcome is a mapping or an error with a place."""
    for fence in ("---", "+++"):
        try:
            outcome: object = read_front_matter(f"{fence}\n{text}\n{fence}\nbody").data
        except FrontMatterError as error:
            outcome = error
        if isinstance(outcome, FrontMatterError):
            assert outcome.place >= (1, 1)
            assert outcome.rule
        else:
            assert isinstance(outcome, dict)


@pytest.mark.parametrize(
    "front",
    ["", "a:\n", "a:\nb: c\n", "a: [b, true]\n", "a: null\n", "a:\n  - x\n   - y\n", "a: b\na: c\n",
     "true: x\n", "  - x\n", "a:\n  - null\n", "a: b: c\n", "a: [b\n", "a: |\n  x\n"],
)  # fmt: skip
def test_what_the_short_way_leaves_to_the_parser(front: str) -> None:
    """Anything that could mean something else."""
    assert _read_plain(front, "") is None


def test_a_body_that_is_no_mapping_of_texts_in_the_parser_itself() -> None:
    """A fault of the parser on malformed text is the same typed error."""
    for text in ("a: !!int x", "a: !!float x", "a: !<tag:yaml.org,2002:int> --1"):
        try:
            outcome: object = read_front_matter(f"---\n{text}\n---\n").data
        except FrontMatterError as error:
            outcome = error.rule
        assert outcome
