"""The shipped template tool: mustache as its specification has it, with named errors."""

from __future__ import annotations

import json
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
    return ShippedTool.compiled("text_template", tmp_path_factory.mktemp("tool"))


@pytest.fixture
def tool(compiled: tuple[WasmtimeEngine, Path], tmp_path: Path) -> ShippedTool:
    """The tool on an empty folder."""
    (tmp_path / "data").mkdir()
    return ShippedTool(*compiled, tmp_path / "data")


DATA: dict[str, Any] = {
    "name": "Ada",
    "html": "<b a=\"1\" c='2'>&</b>",
    "count": 3,
    "price": 1.50,
    "yes": True,
    "no": False,
    "nil": None,
    "zero": 0,
    "blank": "",
    "void": [],
    "ship": {"name": "Bo", "port": {"city": "Oslo"}},
    "list": [{"n": 1}, {"n": 2, "name": "Cy"}],
    "words": ["x", "<y>"],
    "grid": [[1, 2], [3]],
    "two words": "both",
}


def text(tool: ShippedTool, template: str, data: object = DATA, **more: object) -> str:
    """What a template renders to."""
    rendered: str = tool.ask(template=template, data=data, **more)["text"]
    return rendered


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("no tags {here} }}\n", "no tags {here} }}\n"),
        ("Hi {{name}}!", "Hi Ada!"),
        ("{{ name }}|{{\tname\n}}", "Ada|Ada"),
        ("{{html}}", "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;&lt;/b&gt;"),
        ("{{{html}}}{{{ name }}}", DATA["html"] + "Ada"),
        ("{{&html}}{{& name }}", DATA["html"] + "Ada"),
        ("{{count}} {{price}} {{yes}} {{no}} {{zero}}", "3 1.5 true false 0"),
        ("[{{nil}}{{blank}}{{nothing}}{{{nothing}}}]", "[]"),
        ("{{ship.port.city}}", "Oslo"),
        ("[{{ship.none.city}}{{name.none}}]", "[]"),
        ("{{two words}}", "both"),
        ("{{ship.port}}", "{&quot;city&quot;:&quot;Oslo&quot;}"),
        ("{{{grid}}}", "[[1,2],[3]]"),
        (" {{name}}\n", " Ada\n"),
    ],
)  # fmt: skip
def test_variables(tool: ShippedTool, template: str, expected: str) -> None:
    """Escaped unless asked otherwise; dotted; empty when there is nothing."""
    assert text(tool, template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{#yes}}a{{/yes}}{{^yes}}b{{/yes}}", "a"),
        ("{{#no}}a{{/no}}{{^no}}b{{/no}}", "b"),
        ("{{#nil}}a{{/nil}}{{^nil}}b{{/nil}}", "b"),
        ("{{#none}}a{{/none}}{{^none}}b{{/none}}", "b"),
        ("{{#void}}a{{/void}}{{^void}}b{{/void}}", "b"),
        ("{{#zero}}a{{/zero}}{{#blank}}c{{/blank}}", "ac"),
        ("{{#ship}}{{name}} {{count}}{{/ship}}", "Bo 3"),
        ("{{#list}}{{n}}{{name}},{{/list}}", "1Ada,2Cy,"),
        ("{{#words}}{{.}}{{{.}}};{{/words}}", "xx;&lt;y&gt;<y>;"),
        ("{{#grid}}[{{#.}}{{.}}{{/.}}]{{/grid}}", "[12][3]"),
        ("{{#ship.port}}{{city}} {{name}}{{/ship.port}}", "Oslo Ada"),
        ("{{#ship.none}}a{{/ship.none}}{{^ship.none}}b{{/ship.none}}", "b"),
        ("{{#name}}{{.}}{{/name}}", "Ada"),
        ("{{#yes}}{{#ship}}{{#yes}}{{name}}{{/yes}}{{/ship}}{{/yes}}", "Bo"),
        ("{{#ship}}{{ship.name}}{{port.name}}|{{/ship}}", "Bo|"),
        ("{{# yes }}a{{/ yes }}", "a"),
        ("a{{! all of\nthis }}b{{!x}}", "ab"),
        ("{{=<% %>=}}<%name%>{{name}}<%={{ }}=%>{{name}}", "Ada{{name}}Ada"),
        ("{{= | | =}}|name| |{name}| |#yes|a|/yes|", "Ada Ada a"),
        ("{{#yes}}{{=| |=}}|name||/yes||name|", "AdaAda"),
        ("{{=@ @=}}@!x@@&html@", DATA["html"]),
    ],
)
def test_sections_comments_and_delimiters(tool: ShippedTool, template: str, expected: str) -> None:
    """Truth, lists, contexts from the inside out, and other brackets."""
    assert text(tool, template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a\n{{#yes}}\nb\n{{/yes}}\nc", "a\nb\nc"),
        ("a\n  {{#yes}}  \nb\n\t{{/yes}}\nc", "a\nb\nc"),
        ("a\r\n{{#yes}}\r\nb\r\n{{/yes}}\r\nc", "a\r\nb\r\nc"),
        ("{{#yes}}\nb\n  {{/yes}}", "b\n"),
        ("  {{^no}}\nb{{/no}}\n", "b\n"),
        ("a\n{{! x }}\nb", "a\nb"),
        ("a\n {{!\n x\n }} \nb", "a\nb"),
        ("a {{! x }}\nb", "a \nb"),
        ("a\n{{=| |=}}\nb", "a\nb"),
        ("a\n{{#yes}}b\n{{/yes}}\nc", "a\nb\nc"),
        ("a\n{{#yes}} {{/yes}}\nc", "a\n \nc"),
        ("{{#yes}}\n\n{{/yes}}", "\n"),
        (" {{name}}\n {{{name}}}\n", " Ada\n Ada\n"),
        ("{{#list}}\n- {{n}}\n{{/list}}\n", "- 1\n- 2\n"),
        ("|\n{{#no}}\nx\n{{/no}}\n|", "|\n|"),
    ],
)
def test_tags_alone_on_a_line_take_the_line_away(
    tool: ShippedTool, template: str, expected: str
) -> None:
    """All but variables, at the beginning and the end of the text too, with any line end."""
    assert text(tool, template) == expected


@pytest.mark.parametrize(
    ("template", "partials", "expected"),
    [
        ("[{{>p}}]", {"p": "{{name}}"}, "[Ada]"),
        ("[{{> p }}]", {}, "[]"),
        ("{{#list}}{{>p}}{{/list}}", {"p": "<{{n}}>"}, "<1><2>"),
        ("a\n  {{>p}}\nb", {"p": "x\ny\n"}, "a\n  x\n  y\nb"),
        ("  {{>p}}\n", {"p": ">\n>"}, "  >\n  >"),
        ("  a {{>p}}\n", {"p": ">\n>"}, "  a >\n>\n"),
        ("\t{{>p}}\n|", {"p": "{{{lines}}}\n"}, "\t1\n2\n|"),
        ("  {{>p}}\n", {"p": "a\n {{>q}}\n", "q": "b\nc\n"}, "  a\n   b\n   c\n"),
        ("  {{>p}}\n", {"p": "{{#yes}}\n x\n{{/yes}}\n"}, "   x\n"),
        ("{{=| |=}}|>p| |name|", {"p": "{{name}}|name|"}, "Ada|name| Ada"),
        ("{{>p}}{{name}}", {"p": "{{=| |=}}|name|"}, "AdaAda"),
        ("{{#tree}}{{>n}}{{/tree}}", {"n": "({{v}}{{#kids}}{{>n}}{{/kids}})"}, "(1(2)(3(4)))"),
    ],
)  # fmt: skip
def test_partials(
    tool: ShippedTool, template: str, partials: dict[str, str], expected: str
) -> None:
    """Indented when alone on a line, with delimiters of their own, also inside themselves."""
    tree = {"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3, "kids": [{"v": 4, "kids": []}]}]}
    data = {**DATA, "lines": "1\n2", "tree": tree}
    assert text(tool, template, data, partials=partials) == expected


@pytest.mark.parametrize(
    ("template", "line", "column", "said"),
    [
        ("a {{name", 1, 3, "not closed"),
        ("a\né {{{name}}", 2, 3, "not closed"),
        ("{{#yes}}\n a", 1, 1, "never closed: yes"),
        ("a\n {{/yes}}", 2, 2, "no section is open"),
        ("{{#yes}}{{#no}}\n{{/yes}}", 2, 1, "the section no of line 1 must be closed before yes"),
        ("{{}}", 1, 1, "a name is missing"),
        ("{{#}}x{{/}}", 1, 1, "a name is missing"),
        ("{{a..b}}", 1, 1, "empty: a..b"),
        ("{{.a}}", 1, 1, "empty: .a"),
        ("{{=<%=}}", 1, 1, "two words"),
        ("{{=a b c=}}", 1, 1, "two words"),
        ("{{=a= b=}}", 1, 1, "="),
        ("{{= =}}", 1, 1, "two words"),
        ("{{name\n{{other}}", 1, 1, "not closed"),
        ("{{! never", 1, 1, "not closed"),
    ],
)
def test_mistakes_are_reported_with_their_place(
    tool: ShippedTool, template: str, line: int, column: int, said: str
) -> None:
    """Line and character, from 1."""
    code, message = tool.error(template=template, data=DATA)
    assert code == "bad_template"
    assert message.startswith(f"template, line {line}, column {column}: "), message
    assert said in message
    code, message = tool.error(template="x {{>p}}", partials={"p": template}, data=DATA)
    assert (code, message.partition(":")[0]) == (
        "bad_template",
        f"partial p, line {line}, column {column}",
    )


def test_what_is_missing_is_named(tool: ShippedTool) -> None:
    """In the answer, each name once; an error in strict mode."""
    template = "{{nam}} {{ship.nam}} {{nam}} {{nil}} {{>part}}\n{{#opt}}{{/opt}}"
    got = tool.ask(template=template, data=DATA)
    assert got["missing"] == ["nam", "ship.nam", "part"]
    code, message = tool.error(template="{{name}}\n {{nam}}", data=DATA, strict=True)
    assert (code, message) == (
        "missing_value",
        "template, line 2, column 2: the data has nothing for nam",
    )
    assert tool.code(template="{{>part}}", data=DATA, strict=True) == "missing_value"
    assert text(tool, "{{name}}{{nil}}{{#opt}}{{/opt}}", strict=True) == "Ada"
    assert "missing" not in tool.ask(template="{{name}}", data=DATA)


def test_the_text_is_bounded(tool: ShippedTool) -> None:
    """By bytes, with the place where it got too long; endless partials end."""
    data = {"rows": list(range(1_000))}
    template = "ab\n{{#rows}}\n{{.}}\n{{/rows}}"
    assert tool.ask(template=template, data=data)["bytes"] == 3_893
    code, message = tool.error(template=template, data=data, max_bytes=3_892)
    assert (code, message.partition(":")[0]) == ("result_too_large", "template, line 3, column 6")
    assert tool.ask(template=template, data=data, max_bytes=3_893)["bytes"] == 3_893
    code, message = tool.error(template="{{>p}}", partials={"p": "x{{>p}}"}, data=DATA)
    assert (code, "partial p, line 1, column 2" in message) == ("too_deep", True)
    nested = "{{#yes}}" * 65 + "{{/yes}}" * 65
    assert tool.code(template=nested, data=DATA) == "bad_template"
    for sign, name in (("#", "yes"), ("^", "no"), ("#", "list")):
        inside = {"p": f"{{{{{sign}{name}}}}}" * 60 + "{{>p}}" + f"{{{{/{name}}}}}" * 60}
        assert tool.code(template="{{>p}}", partials=inside, data=DATA) == "too_deep"


def test_escaping_can_be_left_out(tool: ShippedTool) -> None:
    """For plain text."""
    assert text(tool, "{{html}}", escape="none") == DATA["html"]
    assert tool.code(template="", escape="xml") == "bad_argument"


def test_files(tool: ShippedTool) -> None:
    """Template and data from files, the text into one; marks at the front are passed over."""
    (tool.folder / "t.txt").write_bytes("\ufeffHé {{name}}\r\n".encode())
    (tool.folder / "d.json").write_bytes('\ufeff{"name": "🐎 & co"}'.encode())
    got = tool.ask(template_path="data/t.txt", data_path="data/d.json")
    assert got["text"] == "Hé 🐎 &amp; co\r\n"
    got = tool.ask(template_path="data/t.txt", data_path="data/d.json", output_path="data/o.txt")
    assert got == {"path": "data/o.txt", "bytes": len("Hé 🐎 &amp; co\r\n".encode())}
    assert (tool.folder / "o.txt").read_bytes() == "Hé 🐎 &amp; co\r\n".encode()
    tool.ask(template="new", output_path="data/o.txt")
    assert (tool.folder / "o.txt").read_text() == "new"
    assert sorted(path.name for path in tool.folder.iterdir()) == ["d.json", "o.txt", "t.txt"]
    (tool.folder / "bad.txt").write_bytes(b"ok\n\xff")
    code, message = tool.error(template_path="data/bad.txt")
    assert (code, message) == ("not_utf8", "data/bad.txt, line 2, column 1: byte 0xff is not UTF-8")
    (tool.folder / "wide.txt").write_bytes("a".encode("utf-16"))
    assert tool.code(template_path="data/wide.txt") == "not_utf8"
    (tool.folder / "bad.json").write_text("{")
    assert tool.code(template="", data_path="data/bad.json") == "bad_json"


def test_nothing_outside_the_folder_is_read_or_written(tool: ShippedTool) -> None:
    """Not by a path, not by a link, and not without a grant for writing."""
    outside = tool.folder.parent / "secret.txt"
    outside.write_text("secret")
    (tool.folder / "link").symlink_to("../secret.txt")
    for path in ("data/../secret.txt", "/etc/passwd", "secret.txt", "data/link"):
        assert tool.code(template_path=path) == "not_granted"
    assert tool.code(template="x", output_path="data/link") == "not_a_file"
    assert tool.code(template="x", output_path="../secret.txt") == "not_granted"
    assert outside.read_text() == "secret"
    tool.grants = Grants(folders=(FolderGrant(tool.folder, "data"),))
    code, message = tool.error(template="x", output_path="data/new.txt")
    assert (code, "for reading only" in message) == ("not_granted", True)
    assert not (tool.folder / "new.txt").exists()


def test_wrong_arguments_are_named(tool: ShippedTool) -> None:
    """One template, at most one source of data, known names and types."""
    assert tool.code(data=DATA) == "missing_argument"
    assert tool.code(template="", template_path="data/t") == "bad_argument"
    assert tool.code(template="", data=1, data_path="data/d") == "bad_argument"
    assert tool.code(template_path="data/none") == "file_not_found"
    assert tool.code(template="", partials={"p": 1}) == "bad_argument"
    assert tool.code(template="", partials=[]) == "bad_argument"
    assert tool.code(template="", datum={}) == "unknown_argument"
    assert tool.code(template="", max_bytes=0) == "bad_argument"
    assert text(tool, "{{a}}", None) == ""
    assert text(tool, "{{.}}", 5) == "5"


def test_the_description_is_the_sidecar(tool: ShippedTool) -> None:
    """--describe prints tool.json; the recorded hash is right."""
    check_description(tool, "text_template")


@pytest.mark.process
async def test_ten_megabytes_within_default_limits(sandbox: Sandbox, tmp_path: Path) -> None:
    """In a worker: 10 MB of data through a partial into a file; a template of 10 MB."""
    rows = [{"id": n, "name": f"n & {n}", "note": "é" * 25} for n in range(110_000)]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows}, ensure_ascii=False))
    (tmp_path / "big.txt").write_text(("{{#yes}}" + "line\n" * 200 + "{{n}}{{/yes}}\n") * 10_000)
    assert all(path.stat().st_size > 9_500_000 for path in tmp_path.iterdir())
    module = await sandbox.prepare(module_of("text_template"))
    grants = Grants(folders=(FolderGrant(tmp_path, "data", write=True),))
    for arguments in (
        {
            "template": "{{#rows}}\n  {{>row}}\n{{/rows}}",
            "partials": {"row": "{{id}} {{name}}\n"},
            "data_path": "data/rows.json",
        },
        {"template_path": "data/big.txt", "data": {"n": 1}},
        {"template_path": "data/big.txt", "data": {"n": 1, "yes": True}},
    ):
        stdin = {"output_path": "data/out.txt", "max_bytes": 8_000_000, **arguments}
        got = await sandbox.run_command(module, json.dumps(stdin).encode(), grants=grants)
        answer = json.loads(got.stdout)
        assert got.fuel_used < Limits.for_command().fuel / 2
        if arguments.get("data") == {"n": 1, "yes": True}:
            assert answer["error"]["code"] == "result_too_large"
        else:
            assert (tmp_path / "out.txt").stat().st_size == answer["bytes"] >= 10_000


IN_PLACE = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@IN_PLACE
@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_tags_is_left_as_it_is(tool: ShippedTool, source: str) -> None:
    """And so is any value that is not escaped."""
    assert text(tool, source, {}) == source
    assert text(tool, "{{{x}}}|{{&x}}", {"x": source}) == f"{source}|{source}"


PIECES = ["{{", "}}", "{{{", "#a", "/a", "^a", "a", ">p", "=", "!", " ", "\n", "{{#a}}", "{{/a}}",
          "{{.}}", "{{=| |=}}", "|"]  # fmt: skip


@IN_PLACE
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_any_template_gets_a_valid_answer(tool: ShippedTool, parts: list[str]) -> None:
    """Text or one named error, never a trap."""
    source = "".join(parts)
    stdin = {"template": source, "data": {"a": [{"a": "x"}, 2]}, "partials": {"p": source}}
    answer = tool.raw(json.dumps(stdin).encode())
    assert "text" in answer or answer["error"]["code"] in {"bad_template", "too_deep"}
