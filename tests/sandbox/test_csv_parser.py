"""The shipped CSV tool: answers are right, errors are named, nothing outside the folder is read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import statistics
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import FolderGrant, Grants, Limits, Sandbox
from sandbox.wasmtime_engine import WasmtimeEngine

OPERATIONS = [
    "describe", "head", "count", "mean", "sum", "min", "max", "median", "unique", "group",
]  # fmt: skip

TOOL = Path(__file__).resolve().parents[2] / "caxton/tools/builtin/csv_parser"

Ask = Callable[..., dict[str, Any]]


class Tool:
    """The tool in this process, on one folder."""

    def __init__(self, engine: WasmtimeEngine, artifact: Path, folder: Path) -> None:
        self.folder = folder
        self._engine = engine
        self._artifact = artifact
        self._grants = Grants(folders=(FolderGrant(folder, "data"),))
        self.exit_code = 0

    def raw(self, stdin: bytes, *args: str) -> dict[str, Any]:
        """What it prints for an input."""
        got = self._engine.run_command(
            self._artifact,
            stdin=stdin,
            limits=Limits.for_command(),
            grants=self._grants,
            args=args,
        )
        self.exit_code = got.exit_code
        assert got.stderr == b""
        answer: dict[str, Any] = json.loads(got.stdout)
        assert ("error" in answer) == (got.exit_code == 1)
        return answer

    def ask(self, table: str | bytes | None = None, /, **arguments: object) -> dict[str, Any]:
        """What it answers about a table."""
        if table is not None:
            data = table if isinstance(table, bytes) else table.encode()
            (self.folder / "t.csv").write_bytes(data)
        return self.raw(json.dumps({"path": "data/t.csv", **arguments}).encode())

    def code(self, table: str | bytes | None = None, /, **arguments: object) -> str:
        """The error's code."""
        error: dict[str, str] = self.ask(table, **arguments)["error"]
        assert error["message"]
        return error["code"]


@pytest.fixture(scope="module")
def compiled(
    csv_wasm: bytes, tmp_path_factory: pytest.TempPathFactory
) -> tuple[WasmtimeEngine, Path]:
    """The tool, compiled once."""
    engine = WasmtimeEngine()
    path = tmp_path_factory.mktemp("tool") / "csv.artifact"
    path.write_bytes(engine.compile(csv_wasm).code)
    return engine, path


@pytest.fixture
def tool(compiled: tuple[WasmtimeEngine, Path], tmp_path: Path) -> Tool:
    """The tool on an empty folder."""
    (tmp_path / "data").mkdir()
    return Tool(*compiled, tmp_path / "data")


SALES = """city,item,price,qty
Oslo,"salt, fine",0.1,3
Oslo,pepper,0.2,
Rome,"the ""best"" oil",12.5,1
Rome,"two
lines",n/a,2
"""


def test_describe_names_every_column_with_its_numbers(tool: Tool) -> None:
    """Type, counts and statistics of each column; describe is the default."""
    got = tool.ask(SALES)
    assert got["operation"] == "describe"
    assert got["rows_total"] == 4
    by_name = {column["name"]: column for column in got["columns"]}
    assert [column["type"] for column in got["columns"]] == ["text", "text", "mixed", "number"]
    assert by_name["price"]["sum"] == 12.8
    assert (by_name["price"]["min"], by_name["price"]["max"]) == (0.1, 12.5)
    assert (by_name["qty"]["numeric"], by_name["qty"]["missing"]) == (3, 1)
    assert tool.ask(SALES, column="qty")["columns"][0]["mean"] == 2


def test_head_shows_rows_as_they_are(tool: Tool) -> None:
    """Quotes are taken off, line ends inside cells are kept."""
    got = tool.ask(SALES, operation="head", limit=4)
    assert got["columns"] == ["city", "item", "price", "qty"]
    assert got["rows"][2][1] == 'the "best" oil'
    assert got["rows"][3][1] == "two\nlines"
    assert len(tool.ask(SALES, operation="head", limit=2)["rows"]) == 2
    assert tool.ask("a\n" * 50, operation="head")["rows"] == [["a"]] * 10


@pytest.mark.parametrize(
    ("operation", "value"),
    [("mean", 4.266666666666667), ("sum", 12.8), ("min", 0.1), ("max", 12.5), ("median", 0.2)],
)
def test_statistics_leave_out_what_is_no_number(tool: Tool, operation: str, value: float) -> None:
    """Cells that are no numbers are counted, and shown with their line."""
    got = tool.ask(SALES, operation=operation, column="price")
    assert got["value"] == pytest.approx(value, abs=1e-15)
    assert (got["count"], got["missing"], got["non_numeric"]) == (3, 0, 1)
    assert got["non_numeric_examples"] == [{"line": 5, "value": "n/a"}]


def test_numbers_are_printed_without_noise(tool: Tool) -> None:
    """Decimals add up as decimals."""
    tenths = "x\n" + "0.1\n" * 3
    for operation, text in (("sum", "0.3"), ("mean", "0.1"), ("median", "0.1")):
        tool.ask(tenths, operation=operation, column="x")
        answer = json.dumps(tool.ask(tenths, operation=operation, column="x")["value"])
        assert answer == text
    assert tool.ask("x\n0.1\n0.2\n", operation="median", column="x")["value"] == 0.15
    assert tool.ask("x\n9007199254740993\n", operation="sum", column="x")["value"] == 2**53 + 1
    assert tool.ask("x\n-0.50\n", operation="sum", column="x")["value"] == -0.5
    assert tool.ask("x\n1e300\n1e300\n", operation="sum", column="x")["value"] == 2e300
    assert tool.ask("x\n1e308\n1e308\n", operation="sum", column="x")["value"] is None
    assert tool.ask("x\n1e308\n1e308\n", operation="mean", column="x")["value"] is None
    assert tool.ask("x\ny\n", operation="mean", column="x")["value"] is None


@pytest.mark.parametrize("cell", ["nan", "inf", "-", ".", "1e", "0x10", "1,5", "1 2", "1e999", "+"])
def test_what_is_no_decimal_number_is_text(tool: Tool, cell: str) -> None:
    """Neither words nor hexadecimal nor marks of thousands nor what no number can hold."""
    got = tool.ask(f'x\n"{cell}"\n', operation="sum", column="x")
    assert (got["value"], got["non_numeric"]) == (None, 1)


@pytest.mark.parametrize("cell", [" 1 ", "+1", "1.", "1e0", "0001", "1.000", "\t1"])
def test_decimal_numbers_may_be_spelled_in_several_ways(tool: Tool, cell: str) -> None:
    """Spaces around, signs, exponents and zeros."""
    assert tool.ask(f"x\n{cell}\n", operation="sum", column="x")["value"] == 1


def test_groups_and_distinct_values(tool: Tool) -> None:
    """The largest groups first, then in the order they were met."""
    got = tool.ask(SALES, operation="group", group_by="city", column="qty")
    assert got["groups"] == [
        {"group": "Oslo", "rows": 2, "numeric": 1, "missing": 1, "non_numeric": 0, "sum": 3,
         "mean": 3, "min": 3, "max": 3},
        {"group": "Rome", "rows": 2, "numeric": 2, "missing": 0, "non_numeric": 0, "sum": 3,
         "mean": 1.5, "min": 1, "max": 2},
    ]  # fmt: skip
    got = tool.ask(SALES, operation="median", group_by="city", column="qty")
    assert [item["value"] for item in got["groups"]] == [3, 1.5]
    got = tool.ask(SALES, operation="count", group_by="city")
    assert got["groups"] == [{"group": "Oslo", "rows": 2}, {"group": "Rome", "rows": 2}]
    got = tool.ask("a\nx\ny\ny\n", operation="unique", column="a")
    assert got["values"] == [{"value": "y", "count": 2}, {"value": "x", "count": 1}]
    got = tool.ask("a\n" + "".join(f"{n}\n" for n in range(500)), operation="unique", column="a")
    assert (got["distinct"], len(got["values"])) == (500, 100)


def test_count_counts_rows_or_cells(tool: Tool) -> None:
    """Without a column rows, with one the cells that are there."""
    assert tool.ask(SALES, operation="count")["rows_total"] == 4
    got = tool.ask(SALES, operation="count", column="qty")
    assert (got["count"], got["missing"]) == (3, 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_byte_order_mark_and_unicode(tool: Tool, end: str) -> None:
    """Every kind of line end, a BOM, and characters beyond ASCII."""
    rows = ["naïve,数", "žluť,1", "🐎,2", ""]
    got = tool.ask("\ufeff" + end.join(rows), operation="head")
    assert got["columns"] == ["naïve", "数"]
    assert got["rows"] == [["žluť", "1"], ["🐎", "2"]]
    assert tool.ask(end.join(rows), operation="sum", column="数")["value"] == 3


def test_bytes_that_are_not_utf8_stay_valid_json(tool: Tool) -> None:
    """They are replaced; UTF-16 is named."""
    got = tool.ask(b"a\n\xff\xc0\x80\xed\xa0\x80\xf5\n", operation="head")
    assert set(got["rows"][0][0]) == {"\ufffd"}
    assert tool.code("a\n1".encode("utf-16")) == "not_utf8"
    assert tool.ask(b"a\n\x01\x7f\\\t\n", operation="head")["rows"] == [["\x01\x7f\\\t"]]


@pytest.mark.parametrize(
    ("table", "line"),
    [('a\n"open\n1\n', 2), ('a\n"x"y\n', 2), ('a,b\n1,2\n3,"x\ny" z\n', 4), ('a\n"', 2)],
)
def test_broken_quoting_is_reported_with_its_line(tool: Tool, table: str, line: int) -> None:
    """The line where the quote was opened, or where text follows one."""
    error = tool.ask(table)["error"]
    assert error["code"] == "broken_quoting"
    assert error["message"].startswith(f"line {line}:")


def test_an_error_found_late_replaces_the_answer(tool: Tool) -> None:
    """However much was to be printed before it, the answer is the error alone."""
    table = "a\n" + ("x" * 1000 + "\n") * 200 + '"open'
    assert tool.code(table, operation="head", limit=200) == "broken_quoting"


def test_ragged_rows_are_counted(tool: Tool) -> None:
    """Rows with too few or too many cells are named; missing cells are missing values."""
    got = tool.ask("a,b\n1,2\n3\n4,5,6\n", operation="head")
    assert got["rows"] == [["1", "2"], ["3", None], ["4", "5", "6"]]
    assert (got["ragged_rows"], got["first_ragged_line"]) == (2, 3)
    assert tool.ask("a,b\n1,2\n3\n", operation="sum", column="b")["missing"] == 1


def test_delimiters(tool: Tool) -> None:
    """Any single ASCII character that is no quote or line end."""
    for mark in ";\t|":
        got = tool.ask(f"a{mark}b\n1{mark}2\n", operation="sum", column="b", delimiter=mark)
        assert got["value"] == 2
    for wrong in ("", ";;", '"', "\n", "é"):
        assert tool.code("a\n", delimiter=wrong) == "bad_argument"


def test_wrong_arguments_are_named(tool: Tool) -> None:
    """Every mistake has its code, and the columns are listed."""
    assert tool.code(SALES, operation="mean") == "missing_argument"
    assert tool.code(SALES, operation="group") == "missing_argument"
    assert tool.code(SALES, operation="head", group_by="city") == "bad_argument"
    assert tool.code(SALES, operation="guess") == "bad_argument"
    assert tool.code(SALES, colum="x") == "unknown_argument"
    assert tool.code(SALES, path="") == "missing_argument"
    assert tool.code(SALES, path="data/t.csv\0x") == "bad_argument"
    for limit in (0, 10_001, 1.5, -1, 10**30):
        assert tool.code(SALES, limit=limit) in {"bad_argument", "bad_input"}
    error = tool.ask(SALES, operation="mean", column="prize")["error"]
    assert (error["code"], error["column"]) == ("unknown_column", "prize")
    assert error["columns"] == ["city", "item", "price", "qty"]
    assert tool.code("a,a\n1,2\n", operation="sum", column="a") == "ambiguous_column"
    assert tool.code("") == "empty_file"
    assert tool.code("\n\n") == "empty_file"
    assert tool.code("a," * 5000 + "\n") == "too_many_columns"
    assert tool.code("a\n" + "x" * 5_000_000) == "record_too_large"
    assert tool.ask(SALES, column=None, limit=None)["operation"] == "describe"


@pytest.mark.parametrize(
    "stdin",
    [b"", b"[]", b"{", b'{"path"}', b'{"path":1}', b'{"path":"x"', b'{"path":"x"} x',
     b'{"path":"x}', b'{"path":"\\q"}', b'{"path":"\\u12"}', b'{"path":"\\ud800"}',
     b'{"path":"\\ud800\\u0041"}',
     b'{"path":"a\nb"}', b'{"path":"' + b"x" * 70_000 + b'"}', b'{"limit":"x"}'],
)  # fmt: skip
def test_input_that_is_no_json_object_is_refused(tool: Tool, stdin: bytes) -> None:
    """One named error, whatever comes in."""
    assert tool.raw(stdin)["error"]["code"] in {"bad_input", "bad_argument"}


def test_escapes_in_arguments_are_decoded(tool: Tool) -> None:
    """All of JSON's escapes, with surrogate pairs."""
    (tool.folder / "t.csv").write_text('🐎\t/\b\f"\\é\n1\n', encoding="utf-8")
    name = tool.raw(b'{"path":"data\\/t.csv","operation":"head"}')["columns"][0]
    wanted = {"path": "data/t.csv", "operation": "sum", "column": name}
    for ascii_only in (True, False):
        assert tool.raw(json.dumps(wanted, ensure_ascii=ascii_only).encode())["value"] == 1


class TestEscape:
    """Nothing outside the granted folder can be read."""

    @pytest.mark.parametrize(
        "path",
        ["../secret.csv", "data/../../secret.csv", "data/../secret.csv", "/etc/passwd",
         "secret.csv", "data/..", "..", "/data/../secret.csv", "data//../secret.csv",
         "/proc/self/environ"],
    )  # fmt: skip
    def test_paths_that_climb_are_refused(self, tool: Tool, path: str) -> None:
        """By .. or from the root."""
        (tool.folder.parent / "secret.csv").write_text("secret\n1\n")
        assert tool.code(path=path) in {"not_granted", "file_not_found"}

    def test_symlinks_out_are_refused(self, tool: Tool) -> None:
        """Relative, absolute, and through a linked folder; one inside the folder works."""
        (tool.folder.parent / "secret.csv").write_text("secret\n1\n")
        (tool.folder / "relative").symlink_to("../secret.csv")
        (tool.folder / "absolute").symlink_to(tool.folder.parent / "secret.csv")
        (tool.folder / "folder").symlink_to("..")
        for path in ("relative", "absolute", "folder/secret.csv"):
            assert tool.code(path=f"data/{path}") == "not_granted"
        (tool.folder / "inside").symlink_to("t.csv")
        assert tool.ask("a\n1\n", path="data/inside")["rows_total"] == 1

    def test_folders_and_missing_files_are_named(self, tool: Tool) -> None:
        """No file is one error, no regular file another."""
        assert tool.code(path="data/nothing.csv") == "file_not_found"
        assert tool.code(path="data") == "not_a_file"


def test_the_description_is_the_sidecar(tool: Tool) -> None:
    """--describe prints tool.json; any other option is an error."""
    described = tool.raw(b"", "--describe")
    assert described == json.loads((TOOL / "tool.json").read_text())
    assert set(described) == {"name", "description", "inputSchema"}
    assert tool.raw(b"", "--help")["error"]["code"] == "bad_argument"


def test_the_binary_is_the_recorded_one(csv_wasm: bytes) -> None:
    """The hash beside the module is its hash."""
    recorded = (TOOL / "csv_parser.wasm.sha256").read_text()
    assert recorded == f"{hashlib.sha256(csv_wasm).hexdigest()}  csv_parser.wasm\n"


@pytest.mark.process
async def test_ten_megabytes_within_default_limits(
    sandbox: Sandbox, csv_wasm: bytes, tmp_path: Path
) -> None:
    """In a worker, every operation on a file of 10 MB stays inside the defaults."""
    lines = [f'{n},"name {n}",city{n % 500},{n % 10_007 / 100},{n % 50}' for n in range(270_000)]
    (tmp_path / "big.csv").write_text("id,name,city,price,qty\n" + "\n".join(lines) + "\n")
    assert (tmp_path / "big.csv").stat().st_size > 9_500_000
    module = await sandbox.prepare(csv_wasm)
    grants = Grants(folders=(FolderGrant(tmp_path, "data"),))
    for arguments in (
        {"operation": "describe"},
        {"operation": "median", "column": "price"},
        {"operation": "unique", "column": "id"},
        {"operation": "median", "group_by": "city", "column": "price"},
    ):
        stdin = json.dumps({"path": "data/big.csv", **arguments}).encode()
        got = await sandbox.run_command(module, stdin, grants=grants)
        assert json.loads(got.stdout)["rows_total"] == 270_000
        assert got.fuel_used < Limits.for_command().fuel / 2


cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=8
) | st.sampled_from(["", '"', ",", "a\r\nb", " ", '""', "1.5", "-3"])
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6)
)
IN_PLACE = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@IN_PLACE
@given(tables, st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
def test_tables_are_read_as_pythons_csv_reads_them(
    tool: Tool, table: list[list[str]], end: str, quoting: Any
) -> None:
    """Cells of any text come back as they were written."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=quoting).writerows([["h"] * len(table[0]), *table])
    read = [row for row in csv.reader(io.StringIO(text.getvalue(), newline="")) if row]
    # A bare carriage return ends a line for both; the rest of its row is then missing.
    width = len(read[0])
    expected = [row + [None] * (width - len(row)) for row in read[1:]]
    assert tool.ask(text.getvalue(), operation="head", limit=100)["rows"] == expected


@IN_PLACE
@given(st.text(st.sampled_from('a1,"\n\r é'), max_size=30))
def test_any_text_is_read_as_pythons_csv_or_refused(tool: Tool, text: str) -> None:
    """What strict reading refuses is refused; all else reads the same."""
    try:
        rows = list(csv.reader(io.StringIO("h\n" + text, newline=""), strict=True))
    except csv.Error:
        assert tool.code("h\n" + text, operation="head") == "broken_quoting"
        return
    got = tool.ask("h\n" + text, operation="head", limit=100)["rows"]
    assert got == [row for row in rows if row][1:]


@IN_PLACE
@given(st.binary(max_size=60), st.sampled_from(OPERATIONS), st.sampled_from(["a", "b", None]))
def test_any_file_gets_a_valid_answer(
    tool: Tool, data: bytes, operation: str, group_by: str | None
) -> None:
    """No bytes make the tool trap or print what is not JSON."""
    tool.ask(b"a,b\n" + data, operation=operation, column="b", group_by=group_by)


@IN_PLACE
@given(st.binary(max_size=60) | st.text('{}[]:,"\\u0path1', max_size=30).map(str.encode))
def test_any_input_gets_a_valid_answer(tool: Tool, stdin: bytes) -> None:
    """Arguments that make no sense are one named error."""
    assert tool.raw(stdin)["error"]["code"]


decimals = st.decimals(-(10**6), 10**6, places=3) | st.decimals(-10, 10, places=2)


@IN_PLACE
@given(st.lists(decimals, min_size=1, max_size=30))
def test_statistics_are_those_of_exact_arithmetic(tool: Tool, numbers: list[Any]) -> None:
    """Sum, mean, median, minimum, maximum and counts against fractions."""
    table = "x\n" + "".join(f"{number}\n" for number in numbers)
    exact = [Fraction(number) for number in numbers]
    expected = {
        "sum": sum(exact),
        "mean": statistics.mean(exact),
        "median": statistics.median(exact),
        "min": min(exact),
        "max": max(exact),
    }
    for operation, value in expected.items():
        got = tool.ask(table, operation=operation, column="x")
        assert got["value"] == pytest.approx(float(value), rel=1e-15, abs=1e-15), operation
    counted = tool.ask(table, operation="unique", column="x", limit=100)["values"]
    assert {item["value"]: item["count"] for item in counted} == Counter(map(str, numbers))
