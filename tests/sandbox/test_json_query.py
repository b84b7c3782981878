"""The shipped JSON query tool: RFC 9535 on files, inline JSON and text, with named errors."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shipped_tool import ShippedTool, check_description, module_of

from sandbox import FolderGrant, Grants, Limits, Sandbox
from sandbox.wasmtime_engine import WasmtimeEngine


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[WasmtimeEngine, Path]:
    """The tool, compiled once."""
    return ShippedTool.compiled("json_query", tmp_path_factory.mktemp("tool"))


@pytest.fixture
def tool(compiled: tuple[WasmtimeEngine, Path], tmp_path: Path) -> ShippedTool:
    """The tool on an empty folder."""
    (tmp_path / "data").mkdir()
    return ShippedTool(*compiled, tmp_path / "data")


FLEET: dict[str, Any] = {
    "ships": [
        {"name": "Ada", "crew": 4, "ports": ["Oslo", "Rome"], "cargo": {"salt": 10}},
        {"name": "Bo", "crew": 12, "ports": [], "cargo": {"oil": 2.5, "salt": 1}},
        {"name": "Cy", "crew": None, "ports": ["Rome"]},
    ],
    "home": {"name": "Oslo", "o'clock": 7, "a b": True},
}


def found(tool: ShippedTool, query: str, document: object = FLEET, **more: object) -> list[Any]:
    """The values a query finds in a document."""
    values: list[Any] = tool.ask(query=query, json=document, **more)["values"]
    return values


def paths(tool: ShippedTool, query: str, document: object = FLEET) -> list[str]:
    """The normalized paths of what a query finds."""
    values: list[str] = tool.ask(query=query, json=document, paths=True)["paths"]
    return values


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("$", [FLEET]),
        ("$.home.name", ["Oslo"]),
        ("$['home'][\"name\"]", ["Oslo"]),
        ("$.home['o\\'clock', 'a b']", [7, True]),
        ("$.ships[*].name", ["Ada", "Bo", "Cy"]),
        ("$.ships[0,2].name", ["Ada", "Cy"]),
        ("$.ships[-1].name", ["Cy"]),
        ("$.ships[-4].name", []),
        ("$.ships[3]", []),
        ("$.ships[1:].name", ["Bo", "Cy"]),
        ("$.ships[:-1].name", ["Ada", "Bo"]),
        ("$.ships[::2].name", ["Ada", "Cy"]),
        ("$.ships[::-1].name", ["Cy", "Bo", "Ada"]),
        ("$.ships[5:0:-2].name", ["Cy"]),
        ("$.ships[1:3:0]", []),
        ("$.ships[0:9007199254740991].name", ["Ada", "Bo", "Cy"]),
        ("$..salt", [10, 1]),
        ("$..ports[0]", ["Oslo", "Rome"]),
        ("$.nothing", []),
        ("$.home[0]", []),
        ("$.ships.name", []),
        ("$ .ships [ 0 ] .name", ["Ada"]),
        ("$.home.*", ["Oslo", 7, True]),
    ],
)
def test_segments_and_selectors(tool: ShippedTool, query: str, expected: list[Any]) -> None:
    """Names, wildcards, indexes, slices and descendants."""
    assert found(tool, query) == expected


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("@.crew", ["Ada", "Bo", "Cy"]),
        ("@.cargo", ["Ada", "Bo"]),
        ("!@.cargo", ["Cy"]),
        ("@.crew > 4", ["Bo"]),
        ("@.crew >= 4 && @.crew < 12", ["Ada"]),
        ("@.crew == null || @.name == 'Bo'", ["Bo", "Cy"]),
        ("@.crew != null && !(@.name == 'Bo')", ["Ada"]),
        ("@.cargo == $.ships[1].cargo", ["Bo"]),
        ("@.ports == $.ships[1].ports", ["Bo"]),
        ("@.ports[0] == $.home.name", ["Ada"]),
        ("@.none == @.nothing", ["Ada", "Bo", "Cy"]),
        ("@.none == null", []),
        ("@.name < 'B'", ["Ada"]),
        ("@.name < 5", []),
        ("@.cargo.oil == 25e-1", ["Bo"]),
        ("length(@.ports) == 2", ["Ada"]),
        ("length(@.name) == 2 && length(@.cargo) == 2", ["Bo"]),
        ("count(@.*) == 3", ["Cy"]),
        ("count(@..salt) == 1", ["Ada", "Bo"]),
        ("value(@..oil) == 2.5", ["Bo"]),
        ("match(@.name, '[A-B].*')", ["Ada", "Bo"]),
        ("search(@.ports[0], 'om|x')", ["Cy"]),
        ("match(@.name, 'd')", []),
        ("@.ports[?@ == 'Rome']", ["Ada", "Cy"]),
        ("(@.crew == 4 || @.crew == 12) && @.cargo.oil", ["Bo"]),
        ("@.crew == 4 || @.crew == 12 && @.cargo.none", ["Ada"]),
        ("true == false || @.crew == 12", ["Bo"]),
    ],
)
def test_filters(tool: ShippedTool, condition: str, names: list[str]) -> None:
    """Comparisons, existence, logic and functions, as the RFC defines them."""
    assert found(tool, f"$.ships[?{condition}].name") == names


def test_filters_work_on_members_of_objects_too(tool: ShippedTool) -> None:
    """The values of an object are tested one by one."""
    assert found(tool, "$[?@ > 1]", {"a": 1, "b": 2, "c": 3}) == [2, 3]


def test_falsy_values_exist(tool: ShippedTool) -> None:
    """A test asks whether there is a node, not what it holds."""
    document = [{"x": False}, {"x": None}, {"x": 0}, {"x": ""}, {"y": 1}]
    assert len(found(tool, "$[?@.x]", document)) == 4
    assert found(tool, "$[?!@.x]", document) == [{"y": 1}]


@pytest.mark.parametrize(
    ("left", "operator", "right"),
    [
        ("1", "==", "1.0"),
        ("100", "==", "1e2"),
        ("-0", "==", "0"),
        ("0.1", "==", "1E-1"),
        ("9007199254740993", ">", "9007199254740992"),
        ("123456789012345678901234567890.1", ">", "123456789012345678901234567890"),
        ("1e400", ">", "1e399"),
        ("-1e400", "<", "-1e399"),
        ("0.00000000000000000001", ">", "0"),
        ("-2", "<", "-1.5"),
        ("12e-1", "==", "1.2"),
        ("10", "!=", "1"),
        ("1e99999999999999999999", ">", "5"),
    ],
)
def test_numbers_are_compared_exactly(
    tool: ShippedTool, left: str, operator: str, right: str
) -> None:
    """However large, small or precise, and however they are spelled."""
    got = tool.ask(query=f"$[?@ {operator} {right}]", text=f"[{left}]")
    assert got["matches"] == 1
    back = {"<": ">", ">": "<"}.get(operator, operator)
    assert tool.ask(query=f"$[?@ {back} {left}]", text=f"[{right}]")["matches"] == 1


def test_numbers_are_returned_as_they_are_spelled(tool: ShippedTool) -> None:
    """No digit is lost, no notation is changed."""
    spelled = "[12345678901234567890123,1.10,1E+2,-0,0.1e-7]"
    (tool.folder / "n.json").write_text(spelled)
    tool.ask(query="$", path="data/n.json")
    assert f'"values":[{spelled}]' in tool.printed


def test_normalized_paths(tool: ShippedTool) -> None:
    """Quotes, escapes and indexes as the RFC normalizes them, in the order of the values."""
    document = {"a'b": [{"\\": 1}], "\n\x01": {"é🐎": 2}, "t\t": 3}
    assert paths(tool, "$..*", document) == [
        "$['a\\'b']",
        "$['\\n\\u0001']",
        "$['t\\t']",
        "$['a\\'b'][0]",
        "$['a\\'b'][0]['\\\\']",
        "$['\\n\\u0001']['é🐎']",
    ]
    assert paths(tool, "$.ships[::-1].name")[0] == "$['ships'][2]['name']"
    assert paths(tool, "$") == ["$"]
    assert paths(tool, "$[0, 0]", [5]) == ["$[0]", "$[0]"]


@pytest.mark.parametrize("query", ["$..*", "$.ships[*].ports[*]", "$..[?@.name].name", "$..[-1:]"])
def test_a_normalized_path_finds_its_value(tool: ShippedTool, query: str) -> None:
    """Each path is a query that finds that one value."""
    got = tool.ask(query=query, json=FLEET, paths=True)
    assert got["matches"] == len(got["paths"]) > 0
    for path, value in zip(got["paths"], got["values"], strict=True):
        assert found(tool, path) == [value]


@pytest.mark.parametrize(
    ("query", "character", "said"),
    [
        ("", None, "query is required"),
        ("ships", 1, "starts with $"),
        (" $", 1, "starts with $"),
        ("$ ", 2, "no space"),
        ("$.", 3, "a name or *"),
        ("$.1", 3, "a name or *"),
        ("$..", 4, "a name or *"),
        ("$[", 3, "a selector"),
        ("$[a]", 3, "quotes"),
        ("$['a", 3, "does not end"),
        ("$['\\x']", 4, "unknown escape"),
        ("$['\\ud800']", 4, "surrogate"),
        ('$["\\\'"]', 4, "unknown escape"),
        ("$[01]", 3, "start with 0"),
        ("$[-0]", 3, "-0"),
        ("$[9007199254740992]", 3, "2^53"),
        ("$[0", 4, "']'"),
        ("$.a b", 4, "no space"),
        ("$.a#", 4, "segment"),
        ("$[?@.a = 1]", 8, "']'"),
        ("$[?1]", 4, "literal alone"),
        ("$[?@.* == 1]", 4, "more than one"),
        ("$[?@..a == 1]", 4, "more than one"),
        ("$[?length(@.*) == 1]", 11, "at most one node"),
        ("$[?length(@.a)]", 4, "must be compared"),
        ("$[?count('a') == 1]", 10, "needs a query"),
        ("$[?match(@.a) ]", 4, "needs 2 arguments, not 1"),
        ("$[?match(@.a, 'b') == true]", 4, "cannot be compared"),
        ("$[?nope(@.a)]", 4, "no function nope"),
        ("$[?(@.a]", 8, "')'"),
        ("$[?!@.a == 1]", 5, "parentheses"),
        ("$[?@.a && ]", 11, "was expected"),
        ("$[?@.a == 01]", 11, "start with 0"),
        ("$" + "[?@" * 40, None, "nested deeper"),
        ("$" + ".a" * 300, None, "256 segments"),
    ],
)
def test_a_wrong_query_is_reported_with_its_position(
    tool: ShippedTool, query: str, character: int | None, said: str
) -> None:
    """Where it is wrong, and why."""
    code, message = tool.error(query=query, json=[])
    assert code == ("bad_query" if query else "missing_argument")
    assert said in message
    if character:
        assert message.startswith(f"query, character {character}: "), message


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("", 1, 1, "ends where a value"),
        ("[1,]", 1, 4, "no JSON value"),
        ("[1 2]", 1, 4, "',' or ']'"),
        ('{"a":1,}', 1, 8, "a name in quotes"),
        ('{"a" 1}', 1, 6, "':'"),
        ("{'a':1}", 1, 2, "a name in quotes"),
        ("[\n  01]", 2, 4, "0 followed by digits"),
        ("[1.]", 1, 4, "after its point"),
        ("[.5]", 1, 2, "no JSON value"),
        ("[+1]", 1, 2, "no JSON value"),
        ("[1e]", 1, 4, "exponent"),
        ("[-]", 1, 3, "after its sign"),
        ("[NaN]", 1, 2, "no JSON value"),
        ("[tru]", 1, 2, "no JSON value"),
        ('["é\n"]', 1, 4, "control character"),
        ('["é\\x"]', 1, 4, "unknown escape"),
        ('["\\u12"]', 1, 3, "four hexadecimal"),
        ('["\\udc00"]', 1, 3, "surrogate"),
        ('["abc', 1, 2, "does not end"),
        ("[1]\n]", 2, 1, "text after the value"),
        ("[[1]", 1, 5, "ends inside"),
        ("[" * 513 + "]" * 513, 1, 513, "deeper than 512"),
        ("[1]// no", 1, 4, "text after the value"),
    ],
)
def test_broken_json_is_reported_with_its_position(
    tool: ShippedTool, text: str, line: int, column: int, said: str
) -> None:
    """Strictly RFC 8259, from a file and from text; lines and characters from 1."""
    (tool.folder / "x.json").write_text(text, encoding="utf-8")
    sources: list[tuple[str, dict[str, str]]] = [("data/x.json", {"path": "data/x.json"})]
    if text:
        sources.append(("text", {"text": text}))
    for name, source in sources:
        code, message = tool.error(query="$", **source)
        assert code == "bad_json"
        assert message.startswith(f"{name}, line {line}, column {column}: "), message
        assert said in message


def test_depth_unicode_and_marks(tool: ShippedTool) -> None:
    """512 levels, a byte order mark, every escape, and names beyond ASCII."""
    deep = "[" * 511 + "7" + "]" * 511
    assert tool.ask(query="$..[?@ == 7]", text=deep)["values"] == [7]
    assert len(tool.ask(query="$..[?@ == 7]", text=deep, paths=True)["paths"][0]) == 1 + 3 * 511
    (tool.folder / "bom.json").write_bytes(b'\xef\xbb\xbf{"\xc3\xa9":"\\ud83d\\udc0e\\u0000"}')
    assert tool.ask(query="$.é", path="data/bom.json")["values"] == ["🐎\0"]
    assert tool.ask(query="$['\\u00e9']", path="data/bom.json")["matches"] == 1
    assert tool.ask(query="$[?length(@) == 2]", path="data/bom.json")["matches"] == 1
    escaped = '{"\\u0061\\/":1}'
    assert tool.ask(query="$['a/']", text=escaped, paths=True)["paths"] == ["$['a/']"]
    for wide in ("[]".encode("utf-16"), b"\xfe\xff" + "[]".encode("utf-16-be")):
        (tool.folder / "wide.json").write_bytes(wide)
        assert tool.code(query="$", path="data/wide.json") == "not_utf8"
    (tool.folder / "bad.json").write_bytes(b'["\xff"]')
    assert tool.code(query="$", path="data/bad.json") == "bad_json"
    (tool.folder / "empty.json").write_bytes(b"")
    assert tool.code(query="$", path="data/empty.json") == "bad_json"


def test_the_last_of_two_members_with_one_name_counts(tool: ShippedTool) -> None:
    """By name; a wildcard gives both."""
    text = '{"a":1,"a":2}'
    assert tool.ask(query="$.a", text=text)["values"] == [2]
    assert tool.ask(query="$.*", text=text)["values"] == [1, 2]


def test_the_answer_is_bounded(tool: ShippedTool) -> None:
    """By number and by bytes; all matches are counted."""
    got = tool.ask(query="$[*]", json=list(range(500)))
    assert (got["matches"], len(got["values"]), got["truncated"]) == (500, 100, True)
    got = tool.ask(query="$[*]", json=["x" * 100] * 50, max_bytes=1_000, paths=True)
    assert (got["matches"], len(got["values"]), len(got["paths"])) == (50, 9, 9)
    code, message = tool.error(query="$", json=["x" * 2_000], max_bytes=1_000)
    assert code == "result_too_large"
    assert "2004 bytes" in message
    assert "truncated" not in tool.ask(query="$[*]", json=[1, 2])


def test_where_the_document_comes_from(tool: ShippedTool) -> None:
    """Exactly one source; paths stay inside the granted folder."""
    assert tool.code(query="$") == "missing_argument"
    assert tool.code(query="$", json=1, text="1") == "bad_argument"
    assert found(tool, "$", 0) == [0]
    assert found(tool, "$", False) == [False]
    assert tool.code(query="$", path="data/none.json") == "file_not_found"
    assert tool.code(query="$", path="data") == "not_a_file"
    (tool.folder.parent / "secret.json").write_text("1")
    (tool.folder / "link").symlink_to("../secret.json")
    for path in (
        "data/link",
        "data/../secret.json",
        "../secret.json",
        "secret.json",
        "/etc/passwd",
    ):
        assert tool.code(query="$", path=path) == "not_granted"
    assert "granted: data" in tool.error(query="$", path="other/x.json")[1]
    assert tool.code(query="$", jsn=1) == "unknown_argument"
    for wrong in ({"limit": 0}, {"limit": 10_001}, {"paths": 1}, {"max_bytes": "9"}, {"query": 5}):
        assert tool.code(**{"query": "$", "json": 1, **wrong}) == "bad_argument"


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a.c", ["abc", "a🐎c", "a\u2028c"], ["ac", "a\nc", "a\rc", "xabc"]),
        ("a|bc|", ["a", "bc", ""], ["b", "abc"]),
        ("(ab)*c", ["c", "ababc"], ["abac"]),
        ("a{2,3}", ["aa", "aaa"], ["a", "aaaa"]),
        ("a{2}", ["aa"], ["a", "aaa"]),
        ("a{2,}", ["aa", "a" * 50], ["a"]),
        ("a{0}b?c+", ["c", "bcc"], ["a", "b"]),
        ("[a-cx]", ["a", "x"], ["d", "ab"]),
        ("[^a-c]", ["d", "é"], ["a", ""]),
        ("[-a]+", ["-a-"], ["b"]),
        ("[a-]+", ["-a-"], ["b"]),
        ("\\p{Lu}\\p{Ll}+", ["Éa", "Ωλ"], ["aA", "A1"]),
        ("\\P{L}", ["1", " "], ["a", "é"]),
        ("[\\p{Nd}_]+", ["1_2", "٣"], ["a"]),
        ("\\.\\(\\[\\\\", [".([\\"], ["x([\\"]),
        ("^a$", ["^a$"], ["a"]),
        ("(a|b|c|d)(e|f)?", ["a", "df"], ["ef"]),
        ("((a*)*)*b", ["b", "aab"], ["a" * 200]),
    ],
)
def test_patterns_are_i_regexp(
    tool: ShippedTool, pattern: str, yes: list[str], no: list[str]
) -> None:
    """match takes the whole string; nothing explodes."""
    quoted = json.dumps(pattern)
    assert found(tool, f"$[?match(@, {quoted})]", yes + no) == yes
    wrapped = [f"<{text}>" for text in yes if text]
    assert found(tool, f"$[?search(@, {quoted})]", wrapped) == wrapped


@pytest.mark.parametrize("pattern", ["(", ")", "a**", "[", "[]", "\\d", "a{3,2}", "*", "[b-a]",
                                     "\\p{Xx}", "a{1001}", "(((a{999}){999}){999})"])  # fmt: skip
def test_what_is_no_pattern_matches_nothing_and_is_told(tool: ShippedTool, pattern: str) -> None:
    """The RFC says no match; the answer says why."""
    got = tool.ask(query=f"$[?search(@, {json.dumps(pattern)})]", json=["a", pattern])
    assert got["matches"] == 0
    assert "I-Regexp" in got["warning"]


def test_patterns_may_come_from_the_document(tool: ShippedTool) -> None:
    """Another one for each value; what is no string matches nothing."""
    document = [{"v": "abc", "p": "a.*"}, {"v": "abc", "p": "b"}, {"v": "b", "p": "b"},
                {"v": 1, "p": "1"}, {"v": "1", "p": 1}]  # fmt: skip
    got = tool.ask(query="$[?match(@.v, @.p)]", json=document)
    assert got["values"] == [document[0], document[2]]
    assert "warning" not in got


def test_categories_are_those_of_unicode(tool: ShippedTool) -> None:
    """Against Python's tables, where both know the character."""
    sample = [chr(code) for code in range(32, 0x20000, 37) if not 0xD800 <= code < 0xE000]
    for category in ("Lu", "Ll", "Lo", "Mn", "Nd", "Po", "Sm", "Zs", "So"):
        got = set(found(tool, f"$[?match(@, '\\\\p{{{category}}}')]", sample, limit=10_000))
        expected = {c for c in sample if unicodedata.category(c) == category}
        known = {c for c in sample if unicodedata.category(c) != "Cn"}
        newer = expected - got
        # A newer Python may know characters that the tool's table does not have yet.
        assert got & known <= expected, category
        assert len(newer) <= len(expected) / 20, category


def test_the_description_is_the_sidecar(tool: ShippedTool) -> None:
    """--describe prints tool.json; the recorded hash is right."""
    check_description(tool, "json_query")


@pytest.mark.process
async def test_ten_megabytes_within_default_limits(sandbox: Sandbox, tmp_path: Path) -> None:
    """In a worker: records, the densest JSON there is, and one long string."""
    rows = [
        {
            "id": n,
            "city": f"c{n % 500}",
            "tags": ["x", "é"],
            "price": n % 1000 / 8,
            "note": "n" * 40,
        }
        for n in range(85_000)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows, ensure_ascii=False))
    (tmp_path / "dense.json").write_text("[" + "1," * 4_999_999 + "1]")
    (tmp_path / "text.json").write_text(json.dumps(["x,:[{" * 2_000_000]))
    assert all(path.stat().st_size > 9_500_000 for path in tmp_path.iterdir())
    module = await sandbox.prepare(module_of("json_query"))
    grants = Grants(folders=(FolderGrant(tmp_path, "data"),))
    for name, query, matches in (
        ("rows", "$[?@.price > 120 && search(@.city, '9$')].id", 0),
        ("rows", "$[?@.city == 'c7'].id", 170),
        ("rows", "$..tags[-1]", 85_000),
        ("dense", "$[-1]", 1),
        ("text", "$[?length(@) != 10000000]", 0),
    ):
        stdin = json.dumps({"query": query, "path": f"data/{name}.json", "paths": True})
        got = await sandbox.run_command(module, stdin.encode(), grants=grants)
        answer = json.loads(got.stdout)
        assert answer.get("matches") == matches, (query, answer)
        assert got.fuel_used < Limits.for_command().fuel * 0.75, query


IN_PLACE = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@IN_PLACE
@given(documents.filter(lambda value: value is not None))
def test_any_document_is_returned_as_it_is(tool: ShippedTool, document: object) -> None:
    """Inline and as text, whole and in parts; every value is counted once."""
    assert found(tool, "$", document) == [document]
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=1)):
        assert tool.ask(query="$", text=text)["values"] == [document]

    def count(value: object) -> int:
        below = value.values() if isinstance(value, dict) else value
        return 1 + sum(map(count, below)) if isinstance(value, dict | list) else 1

    got = tool.ask(query="$..*", json=document, paths=True, limit=1_000)
    assert got["matches"] == count(document) - 1
    assert len(set(got["paths"])) == got["matches"]


@IN_PLACE
@given(st.text("$@.[]*?!&|=<>()'\"ab01-: \\,", max_size=20))
def test_any_query_gets_a_valid_answer(tool: ShippedTool, query: str) -> None:
    """A result or one named error with a position, never a trap."""
    answer = tool.raw(json.dumps({"query": f"${query}", "json": [{"a": [0, 1]}, "b"]}).encode())
    if "error" in answer:
        assert answer["error"]["code"] == "bad_query"
        assert re.match(r"query, character \d+: ", answer["error"]["message"])


@IN_PLACE
@given(st.text("ab|()*+?{}[]^-.,1\\p", max_size=12), st.text("ab1-", max_size=8))
def test_any_pattern_agrees_with_python(tool: ShippedTool, pattern: str, text: str) -> None:
    """Where both accept a pattern, both match the same."""
    got = tool.ask(query=f"$[?match(@, {json.dumps(pattern)})]", json=[text])
    if "warning" in got or re.search(r"[*+?}][*+?{]|\^|\$|\\p|\(\?|--|&&|\|\||~~|\[\[", pattern):
        return
    assert bool(got["matches"]) == bool(re.fullmatch(pattern, text)), pattern
