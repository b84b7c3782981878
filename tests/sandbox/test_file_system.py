"""The shipped file tool: every operation, its errors, and that nothing outside is reached."""

from __future__ import annotations

import base64
import fnmatch
import json
import os
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
    return ShippedTool.compiled("file_system", tmp_path_factory.mktemp("tool"))


@pytest.fixture
def tool(compiled: tuple[WasmtimeEngine, Path], tmp_path: Path) -> ShippedTool:
    """The tool on an empty folder."""
    (tmp_path / "data").mkdir()
    return ShippedTool(*compiled, tmp_path / "data")


def files(folder: Path) -> dict[str, str]:
    """What is below a folder, by path: the text of files, empty for folders."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def test_list_and_stat(tool: ShippedTool) -> None:
    """Sorted by name, with type, size and time; links are named and not followed."""
    (tool.folder / "b.txt").write_text("12345")
    (tool.folder / "a é🐎").mkdir()
    (tool.folder / "c").symlink_to("b.txt")
    os.utime(tool.folder / "b.txt", (1_000_000_000, 1_000_000_000))
    got = tool.ask(operation="list", path="data")
    assert [(entry["name"], entry["type"]) for entry in got["entries"]] == [
        ("a é🐎", "folder"),
        ("b.txt", "file"),
        ("c", "link"),
    ]
    assert got["entries"][1]["bytes"] == 5
    assert got["entries"][1]["modified"] == "2001-09-09T01:46:40Z"
    assert (got["total"], "truncated" in got) == (3, False)
    got = tool.ask(operation="list", path="/data/", limit=1)
    assert (got["total"], len(got["entries"]), got["truncated"]) == (3, 1, True)
    got = tool.ask(operation="stat", path="data/b.txt")
    assert (got["type"], got["bytes"], got["modified"]) == ("file", 5, "2001-09-09T01:46:40Z")
    assert tool.ask(operation="stat", path="data/c")["target"] == "b.txt"
    assert tool.ask(operation="stat", path="data")["type"] == "folder"
    assert tool.code(operation="list", path="data/b.txt") == "not_a_folder"
    assert tool.code(operation="list", path="data/none") == "file_not_found"
    assert tool.code(operation="stat", path="data/b.txt/x") in {"not_a_folder", "file_not_found"}


def test_the_granted_folders_are_listed(tool: ShippedTool, tmp_path: Path) -> None:
    """Without a path, or at the top; and named when a path is in none of them."""
    (tmp_path / "more").mkdir()
    tool.grants = Grants(
        folders=(FolderGrant(tool.folder, "data"), FolderGrant(tmp_path / "more", "work/more"))
    )
    for place in ({}, {"path": "."}, {"path": "/"}):
        got = tool.ask(operation="list", **place)
        assert [entry["name"] for entry in got["entries"]] == ["data", "work/more"]
    code, message = tool.error(operation="read", path="other/x")
    assert code == "not_granted"
    assert "other/x is outside the granted folders (granted: data, work/more)" in message
    assert "grant the folder other " in message
    assert tool.ask(operation="list", path="work/more")["total"] == 0
    assert tool.code(operation="list", path="work") == "not_granted"
    assert tool.code(operation="list", path="database") == "not_granted"
    tool.grants = Grants()
    assert tool.ask(operation="list")["entries"] == []
    assert "granted: none" in tool.error(operation="list", path="data")[1]
    tool.grants = Grants(folders=(FolderGrant(tool.folder, "/"),))
    (tool.folder / "x").write_text("1")
    assert tool.ask(operation="list", path="/")["entries"][0]["name"] == "x"
    assert tool.ask(operation="read", path="x")["text"] == "1"


def test_read_text(tool: ShippedTool) -> None:
    """Whole, in parts that never cut a character, and by lines."""
    text = "é1\n🐎2\r\n\nlast"
    data = text.encode()
    (tool.folder / "t").write_bytes(data)
    got = tool.ask(operation="read", path="data/t")
    assert (got["text"], got["size"], got["bytes"]) == (text, len(data), len(data))
    assert "next_offset" not in got
    for size in (4, 5, 7):
        parts, offset = [], 0
        while offset is not None:
            got = tool.ask(operation="read", path="data/t", offset=offset, max_bytes=size)
            parts.append(got["text"])
            assert got["offset"] == offset
            offset = got.get("next_offset")
        assert "".join(parts) == text
    assert tool.ask(operation="read", path="data/t", offset=1, max_bytes=4)["text"] == "1\n"
    assert tool.ask(operation="read", path="data/t", offset=len(data))["text"] == ""
    assert tool.code(operation="read", path="data/t", offset=len(data) + 1) == "bad_argument"
    got = tool.ask(operation="read", path="data/t", line=2, lines=2)
    assert (got["text"], got["line"], got["lines"], got["total_lines"]) == ("🐎2\r\n\n", 2, 2, 4)
    assert tool.ask(operation="read", path="data/t", line=4)["text"] == "last"
    assert tool.ask(operation="read", path="data/t", lines=1)["text"] == "é1\n"
    got = tool.ask(operation="read", path="data/t", line=9)
    assert (got["text"], got["lines"], got["total_lines"]) == ("", 0, 4)
    got = tool.ask(operation="read", path="data/t", line=1, max_bytes=11)
    assert (got["text"], got["lines"]) == ("é1\n🐎2\r\n", 2)
    assert tool.code(operation="read", path="data/t", line=2, max_bytes=4) == "result_too_large"


def test_read_marks_and_bytes(tool: ShippedTool) -> None:
    """A byte order mark is told and left out; what is no text needs base64."""
    (tool.folder / "bom").write_bytes(b"\xef\xbb\xbfa")
    got = tool.ask(operation="read", path="data/bom")
    assert (got["text"], got["byte_order_mark"]) == ("a", True)
    (tool.folder / "empty").write_bytes(b"")
    assert tool.ask(operation="read", path="data/empty")["text"] == ""
    assert tool.ask(operation="read", path="data/empty", line=1)["total_lines"] == 0
    data = bytes(range(256))
    (tool.folder / "bin").write_bytes(data)
    for offset, size in ((0, 256), (1, 254), (2, 100), (255, 10), (256, 10)):
        got = tool.ask(
            operation="read", path="data/bin", encoding="base64", offset=offset, max_bytes=size
        )
        assert base64.b64decode(got["base64"], validate=True) == data[offset : offset + size]
    code, message = tool.error(operation="read", path="data/bin")
    assert (code, "offset 0" in message, "base64" in message) == ("not_text", True, True)
    (tool.folder / "late").write_bytes(b"abc\xff def")
    assert "0xff at offset 3" in tool.error(operation="read", path="data/late")[1]
    assert tool.code(operation="read", path="data/late", line=1) == "not_text"
    (tool.folder / "cut").write_bytes(b"abc\xe2\x82")
    assert tool.code(operation="read", path="data/cut") == "not_text"
    assert tool.code(operation="read", path="data") == "not_a_file"
    assert tool.code(operation="read", path="data/none") == "file_not_found"
    assert tool.code(operation="read", path="data/bom", line=1, offset=0) == "bad_argument"


def test_write(tool: ShippedTool) -> None:
    """create never changes a file, overwrite and append do; nothing is left lying about."""
    got = tool.ask(operation="write", path="data/a", content="é\0x")
    assert got == {"path": "data/a", "bytes": 4, "created": True}
    assert (tool.folder / "a").read_bytes() == "é\0x".encode()
    code, message = tool.error(operation="write", path="data/a", content="new")
    assert (code, "overwrite" in message) == ("exists", True)
    got = tool.ask(operation="write", path="data/a", content="", mode="overwrite")
    assert (got["bytes"], got["created"]) == (0, False)
    assert tool.ask(operation="write", path="data/b", content="1", mode="append")["created"]
    tool.ask(operation="write", path="data/b", content="2", mode="append")
    tool.ask(operation="write", path="data/c", content="3", mode="overwrite")
    data = bytes(range(256)) + b"z"
    for cut in range(3):
        text = base64.b64encode(data[cut:]).decode()
        tool.ask(operation="write", path=f"data/d{cut}", content_base64=text)
        assert (tool.folder / f"d{cut}").read_bytes() == data[cut:]
        (tool.folder / f"d{cut}").unlink()
    tool.ask(operation="write", path="data/e", content_base64="YQ")
    assert files(tool.folder) == {"a": "", "b": "12", "c": "3", "e": "a"}
    for wrong in ("Y", "Y===", "a*==", "YQ=a", "YWJj="):
        assert tool.code(operation="write", path="data/f", content_base64=wrong) == "bad_argument"
    assert tool.code(operation="write", path="data/f") == "missing_argument"
    assert (
        tool.code(operation="write", path="data/f", content="", content_base64="") == "bad_argument"
    )
    assert tool.code(operation="write", path="data/none/f", content="") == "file_not_found"
    assert tool.code(operation="write", path="data/a/f", content="") == "not_a_folder"
    for mode in ("create", "overwrite", "append"):
        assert tool.code(operation="write", path="data", content="", mode=mode) in {
            "not_a_file",
            "exists",
        }
    assert sorted(files(tool.folder)) == ["a", "b", "c", "e"]


def test_replace(tool: ShippedTool) -> None:
    """One exact place, or all of them; the file is as it was when it fails."""
    path = tool.folder / "t.py"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\nb = 1\r\nc = 1\r\n")
    got = tool.ask(
        operation="replace", path="data/t.py", old="b = 1\r\n", new="b = 2\r\nbb = 3\r\n"
    )
    assert (got["replaced"], got["line"]) == (1, 2)
    assert path.read_bytes() == b"\xef\xbb\xbfa = 1\r\nb = 2\r\nbb = 3\r\nc = 1\r\n"
    before = path.read_bytes()
    code, message = tool.error(operation="replace", path="data/t.py", old="= 1", new="= 9")
    assert (code, "2 times (lines 1, 4)" in message) == ("text_not_unique", True)
    code, message = tool.error(operation="replace", path="data/t.py", old="= 7", new="")
    assert (code, "data/t.py" in message) == ("text_not_found", True)
    assert tool.code(operation="replace", path="data/t.py", old="x", new="x") == "bad_argument"
    assert tool.code(operation="replace", path="data/t.py", old="", new="x") == "missing_argument"
    assert tool.code(operation="replace", path="data/t.py", old="x") == "missing_argument"
    assert path.read_bytes() == before
    got = tool.ask(operation="replace", path="data/t.py", old="= 1", new="=", all=True)
    assert (got["replaced"], got["line"]) == (2, 1)
    assert tool.ask(operation="replace", path="data/t.py", old="a =\r\n", new="")["replaced"] == 1
    assert path.read_bytes() == b"\xef\xbb\xbfb = 2\r\nbb = 3\r\nc =\r\n"
    path.write_bytes(b"aaaa")
    assert (
        tool.ask(operation="replace", path="data/t.py", old="aa", new="b", all=True)["replaced"]
        == 2
    )
    path.write_bytes(b"a\xffb")
    assert tool.code(operation="replace", path="data/t.py", old="a", new="b") == "not_text"
    assert path.read_bytes() == b"a\xffb"


def test_folders(tool: ShippedTool) -> None:
    """Made with those above, moved, copied, deleted."""
    assert tool.ask(operation="make_directory", path="data/a/b/c")["created"] is True
    assert tool.ask(operation="make_directory", path="data/a/b/c")["created"] is False
    assert tool.ask(operation="make_directory", path="data")["created"] is False
    (tool.folder / "a/f").write_text("1")
    assert tool.code(operation="make_directory", path="data/a/f") == "exists"
    assert tool.code(operation="make_directory", path="data/a/f/g") in {"exists", "not_a_folder"}
    assert tool.ask(operation="move", path="data/a/f", to="data/a/b/g")["to"] == "data/a/b/g"
    assert tool.ask(operation="move", path="data/a/b", to="data/d")["to"] == "data/d"
    assert files(tool.folder) == {"a": "", "d": "", "d/c": "", "d/g": "1"}
    (tool.folder / "h").write_text("2")
    assert tool.code(operation="move", path="data/h", to="data/d/g") == "exists"
    assert tool.code(operation="move", path="data/h", to="data/d", overwrite=True) == "exists"
    assert tool.code(operation="move", path="data/d", to="data/h", overwrite=True) == "exists"
    assert tool.code(operation="move", path="data/d", to="data/d/c/x") == "bad_argument"
    assert tool.code(operation="move", path="data", to="data/x") == "bad_argument"
    assert tool.code(operation="move", path="data/none", to="data/x") == "file_not_found"
    assert tool.code(operation="move", path="data/h", to="data/none/x") == "file_not_found"
    assert tool.code(operation="move", path="data/h") == "missing_argument"
    tool.ask(operation="move", path="data/h", to="data/d/g", overwrite=True)
    assert tool.ask(operation="copy", path="data/d/g", to="data/i")["bytes"] == 1
    assert tool.code(operation="copy", path="data/d/g", to="data/i") == "exists"
    assert tool.code(operation="copy", path="data/d", to="data/j") == "not_a_file"
    (tool.folder / "d/g").write_text("33")
    assert tool.ask(operation="copy", path="data/d/g", to="data/i", overwrite=True)["bytes"] == 2
    assert files(tool.folder) == {"a": "", "d": "", "d/c": "", "d/g": "33", "i": "33"}
    code, message = tool.error(operation="delete", path="data/d")
    assert (code, "recursive" in message) == ("not_empty", True)
    assert tool.ask(operation="delete", path="data/d", recursive=True)["deleted"] == 3
    assert tool.ask(operation="delete", path="data/a")["deleted"] == 1
    assert tool.ask(operation="delete", path="data/i")["deleted"] == 1
    assert tool.code(operation="delete", path="data/i") == "file_not_found"
    assert tool.code(operation="delete", path="data", recursive=True) == "bad_argument"
    assert files(tool.folder) == {}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", ["a.py", "src/b.py", "src/deep/c.py"]),
        ("?.py", ["a.py", "src/b.py", "src/deep/c.py"]),
        ("[ab].py", ["a.py", "src/b.py"]),
        ("[!a-b]*.py", ["src/deep/c.py"]),
        ("src/*.py", ["src/b.py"]),
        ("src/**/*.py", ["src/b.py", "src/deep/c.py"]),
        ("**/c.py", ["src/deep/c.py"]),
        ("**/a.py", ["a.py"]),
        ("src/**", ["src/b.py", "src/deep", "src/deep/c.py", "src/é.txt"]),
        ("d*", ["src/deep"]),
        ("é*", ["src/é.txt"]),
        ("?.txt", ["src/é.txt"]),
        ("nothing", []),
    ],
)
def test_find(tool: ShippedTool, pattern: str, expected: list[str]) -> None:
    """By the name, or by the path below the folder when the pattern has a slash."""
    for name in ("a.py", "src/b.py", "src/deep/c.py", "src/é.txt"):
        (tool.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (tool.folder / name).write_text("x")
    got = tool.ask(operation="find", path="data", pattern=pattern)
    assert [entry["path"] for entry in got["entries"]] == [f"data/{name}" for name in expected]
    assert got["matches"] == len(expected)


def test_find_by_type_and_bounds(tool: ShippedTool) -> None:
    """Links are listed and not entered; the answer is bounded, the count is not."""
    (tool.folder / "a/b").mkdir(parents=True)
    (tool.folder / "a/b/f").write_text("12")
    (tool.folder / "a/loop").symlink_to("..")
    got = tool.ask(operation="find", path="data")
    assert [entry["path"] for entry in got["entries"]] == [
        "data/a",
        "data/a/b",
        "data/a/b/f",
        "data/a/loop",
    ]
    got = tool.ask(operation="find", path="data", type="file")
    assert got["entries"] == [{"path": "data/a/b/f", "type": "file", "bytes": 2}]
    assert tool.ask(operation="find", path="data", type="folder", limit=1)["truncated"] is True
    assert tool.ask(operation="find", path="data", type="link")["matches"] == 1
    assert tool.code(operation="find", path="data/a/b/f") == "not_a_folder"
    assert tool.code(operation="find", path="data", pattern="[a") == "bad_argument"
    deep = tool.folder / "/".join(["d"] * 70)
    deep.mkdir(parents=True)
    assert tool.code(operation="find", path="data") == "too_deep"
    assert tool.code(operation="delete", path="data/d", recursive=True) == "too_deep"


def test_grep(tool: ShippedTool) -> None:
    """Lines with their numbers, of one file or all below a folder; no pattern language."""
    (tool.folder / "sub").mkdir()
    (tool.folder / "a.txt").write_bytes(b"one TODO\r\ntwo\n\nTODO TODO\nlast todo")
    (tool.folder / "sub/b.md").write_text("TODO é.*\n")
    (tool.folder / "bin").write_bytes(b"TODO\0")
    got = tool.ask(operation="grep", path="data", text="TODO")
    assert got["lines"] == [
        {"path": "data/a.txt", "line": 1, "text": "one TODO"},
        {"path": "data/a.txt", "line": 4, "text": "TODO TODO"},
        {"path": "data/sub/b.md", "line": 1, "text": "TODO é.*"},
    ]
    assert (got["matches"], got["files"], got["binary_files"]) == (3, 3, 1)
    got = tool.ask(operation="grep", path="data", text="todo", ignore_case=True, pattern="*.txt")
    assert [line["line"] for line in got["lines"]] == [1, 4, 5]
    assert tool.ask(operation="grep", path="data/sub/b.md", text="é.*")["matches"] == 1
    assert tool.ask(operation="grep", path="data", text="o.e")["matches"] == 0
    got = tool.ask(operation="grep", path="data", text="TODO", limit=1)
    assert (len(got["lines"]), got["matches"], got["truncated"]) == (1, 3, True)
    assert tool.code(operation="grep", path="data") == "missing_argument"
    assert tool.code(operation="grep", path="data", text="a\nb") == "bad_argument"
    assert tool.code(operation="grep", path="data/none", text="x") == "file_not_found"
    (tool.folder / "long").write_text("é" * 5_000 + "needle" + "é" * 5_000)
    (line,) = tool.ask(operation="grep", path="data/long", text="needle")["lines"]
    assert "needle" in line["text"]
    assert len(line["text"].encode()) <= 400
    assert "\ufffd" not in line["text"]


class TestEscape:
    """Nothing outside the granted folder is seen or changed."""

    READS: tuple[dict[str, Any], ...] = (
        {"operation": "read"},
        {"operation": "grep", "text": "s"},
        {"operation": "copy", "to": "data/copy"},
    )
    WRITES: tuple[dict[str, Any], ...] = (
        {"operation": "write", "content": "x"},
        {"operation": "write", "content": "x", "mode": "overwrite"},
        {"operation": "write", "content": "x", "mode": "append"},
        {"operation": "replace", "old": "secret", "new": "x"},
        {"operation": "delete"},
        {"operation": "delete", "recursive": True},
        {"operation": "make_directory"},
        {"operation": "move", "to": "data/moved"},
    )

    @pytest.mark.parametrize(
        "path",
        ["../secret", "data/../secret", "data/../../secret", "/etc/passwd", "secret", "..",
         "data/..", "/data/../secret", "data//../secret", "data/./../secret", "database/x"],
    )  # fmt: skip
    def test_paths_that_climb_are_refused(self, tool: ShippedTool, path: str) -> None:
        """By .. or from the root, for each operation, as source and as target."""
        secret = tool.folder.parent / "secret"
        secret.write_text("secret")
        (tool.folder / "f").write_text("1")
        for arguments in (*self.READS, *self.WRITES, {"operation": "list"}, {"operation": "stat"}):
            assert tool.code(**{**arguments, "path": path}) == "not_granted", arguments
        for operation in ("move", "copy"):
            assert tool.code(operation=operation, path="data/f", to=path) == "not_granted"
        assert secret.read_text() == "secret"
        assert files(tool.folder) == {"f": "1"}

    def test_links_out_are_refused(self, tool: ShippedTool) -> None:
        """Relative, absolute and through a linked folder; the link itself may be deleted."""
        outside = tool.folder.parent / "outside"
        outside.mkdir()
        (outside / "secret").write_text("secret")
        (tool.folder / "relative").symlink_to("../outside/secret")
        (tool.folder / "absolute").symlink_to(outside / "secret")
        (tool.folder / "folder").symlink_to("../outside")
        (tool.folder / "new").symlink_to("../outside/new")
        names = ("relative", "absolute", "folder/secret", "new")
        for name in names:
            for arguments in self.READS:
                assert tool.code(**{**arguments, "path": f"data/{name}"}) == "not_granted"
        for name in names:
            for arguments in self.WRITES[:4]:
                code = tool.code(**{**arguments, "path": f"data/{name}"})
                assert code in {"not_granted", "not_a_file"}, (name, arguments)
        for path in ("data/folder/x", "data/folder/x/y"):
            assert tool.code(operation="make_directory", path=path) == "not_granted"
            assert tool.code(operation="write", path=path, content="x") == "not_granted"
        assert tool.code(operation="delete", path="data/folder/secret") == "not_granted"
        assert tool.code(operation="list", path="data/folder") == "not_granted"
        assert (
            tool.code(operation="move", path="data/relative", to="data/folder/x") == "not_granted"
        )
        assert tool.ask(operation="find", path="data", pattern="secret")["matches"] == 0
        assert tool.ask(operation="grep", path="data", text="secret")["matches"] == 0
        for name in ("relative", "absolute", "folder", "new"):
            tool.ask(operation="delete", path=f"data/{name}", recursive=True)
        assert files(outside) == {"secret": "secret"}
        assert files(tool.folder) == {}

    def test_links_inside_the_folder_work(self, tool: ShippedTool) -> None:
        """They are read through; a circle ends."""
        (tool.folder / "f").write_text("1")
        (tool.folder / "link").symlink_to("f")
        (tool.folder / "circle").symlink_to("circle")
        assert tool.ask(operation="read", path="data/link")["text"] == "1"
        assert tool.code(operation="read", path="data/circle") == "bad_argument"

    def test_a_folder_for_reading_is_not_changed(self, tool: ShippedTool) -> None:
        """The error says what to grant."""
        (tool.folder / "f").write_text("secret")
        (tool.folder / "d").mkdir()
        tool.grants = Grants(folders=(FolderGrant(tool.folder, "data"),))
        for arguments in (
            {"operation": "write", "path": "data/new", "content": "x"},
            {"operation": "write", "path": "data/f", "content": "x", "mode": "overwrite"},
            {"operation": "write", "path": "data/f", "content": "x", "mode": "append"},
            {"operation": "replace", "path": "data/f", "old": "secret", "new": "x"},
            {"operation": "delete", "path": "data/f"},
            {"operation": "delete", "path": "data/d"},
            {"operation": "make_directory", "path": "data/new"},
            {"operation": "move", "path": "data/f", "to": "data/g"},
            {"operation": "copy", "path": "data/f", "to": "data/g"},
        ):
            code, message = tool.error(**arguments)
            assert (code, "for reading only" in message) == ("not_granted", True), arguments
        assert tool.ask(operation="read", path="data/f")["text"] == "secret"
        assert files(tool.folder) == {"d": "", "f": "secret"}

    def test_moving_from_a_folder_for_reading_is_refused(
        self, tool: ShippedTool, tmp_path: Path
    ) -> None:
        """Copying is not."""
        (tmp_path / "in").mkdir()
        (tmp_path / "in/f").write_text("1")
        tool.grants = Grants(
            folders=(
                FolderGrant(tmp_path / "in", "in"),
                FolderGrant(tool.folder, "data", write=True),
            )
        )
        assert tool.code(operation="move", path="in/f", to="data/f") == "not_granted"
        tool.ask(operation="copy", path="in/f", to="data/f")
        tool.ask(operation="write", path="data/g", content="2")
        assert tool.code(operation="move", path="data/g", to="in/g") == "not_granted"
        assert (files(tmp_path / "in"), files(tool.folder)) == ({"f": "1"}, {"f": "1", "g": "2"})


def test_special_files_are_not_opened(tool: ShippedTool) -> None:
    """A FIFO deep in a folder would block whoever opens it."""
    (tool.folder / "d").mkdir()
    (tool.folder / "d/f").write_text("x")
    os.mkfifo(tool.folder / "d/fifo")
    assert tool.code(operation="read", path="data/d/fifo") == "not_a_file"
    assert (
        tool.code(operation="write", path="data/d/fifo", content="", mode="append") == "not_a_file"
    )
    assert tool.ask(operation="grep", path="data", text="x")["files"] == 1
    assert tool.ask(operation="stat", path="data/d/fifo")["type"] == "other"


def test_names_that_are_not_utf8_are_told(tool: ShippedTool) -> None:
    """WASI cannot give them; the folder is counted as unreadable in a search."""
    (tool.folder / "d").mkdir()
    (tool.folder / "f").write_text("x")
    with open(os.fsencode(tool.folder / "d") + b"/\xff", "w"):
        pass
    code, message = tool.error(operation="list", path="data/d")
    assert (code, "not UTF-8" in message) == ("bad_name", True)
    got = tool.ask(operation="grep", path="data", text="x")
    assert (got["matches"], got["unreadable"]) == (1, 1)


def test_wrong_arguments_are_named(tool: ShippedTool) -> None:
    """Unknown names, arguments of another operation, wrong types and ranges."""
    (tool.folder / "f").write_text("1")
    assert tool.code() == "missing_argument"
    assert tool.code(operation="format") == "bad_argument"
    assert tool.code(operation="read") == "missing_argument"
    assert tool.code(operation="read", path="") == "bad_argument"
    assert tool.code(operation="read", path="data/f", contents="x") == "unknown_argument"
    code, message = tool.error(operation="read", path="data/f", content="x")
    assert (code, message) == ("bad_argument", "read takes no content; it belongs to write")
    assert tool.code(operation="read", path="data/f\0") == "bad_argument"
    assert tool.code(operation="read", path="data/" + "x" * 300) in {
        "bad_argument",
        "file_not_found",
    }
    assert tool.code(operation="read", path="data/" + "x/" * 3_000) == "bad_argument"
    for wrong in (
        {"offset": -1},
        {"offset": 1.5},
        {"max_bytes": 3},
        {"line": 0},
        {"encoding": "x"},
    ):
        assert tool.code(**{"operation": "read", "path": "data/f", **wrong}) == "bad_argument"
    assert tool.ask(operation="read", path="data/f", content=None, line=None)["text"] == "1"


def test_the_description_is_the_sidecar(tool: ShippedTool) -> None:
    """--describe prints tool.json; the recorded hash is right."""
    check_description(tool, "file_system")


@pytest.mark.process
async def test_ten_megabytes_within_default_limits(sandbox: Sandbox, tmp_path: Path) -> None:
    """In a worker: a file of 10 MB is read, searched, edited, copied and written."""
    text = "".join(f"line {n} of a long file, é\n" for n in range(360_000)) + "needle\n"
    (tmp_path / "big.txt").write_text(text)
    assert (tmp_path / "big.txt").stat().st_size > 9_500_000
    for n in range(300):
        (tmp_path / f"small{n}").write_text("needle\n" * 50)
    module = await sandbox.prepare(module_of("file_system"))
    grants = Grants(folders=(FolderGrant(tmp_path, "data", write=True),))

    async def ask(**arguments: object) -> dict[str, Any]:
        got = await sandbox.run_command(module, json.dumps(arguments).encode(), grants=grants)
        answer: dict[str, Any] = json.loads(got.stdout)
        assert "error" not in answer, answer
        assert got.fuel_used < Limits.for_command().fuel / 2, arguments
        return answer

    assert (await ask(operation="grep", path="data", text="needle"))["matches"] == 15_001
    got = await ask(operation="grep", path="data/big.txt", text="NEEDLE", ignore_case=True)
    assert got["lines"][0]["line"] == 360_001
    got = await ask(operation="read", path="data/big.txt", line=360_000, lines=2)
    assert got["text"] == "line 359999 of a long file, é\nneedle\n"
    got = await ask(operation="read", path="data/big.txt", offset=5_000_000, max_bytes=4_000_000)
    assert got["text"] in text
    assert (await ask(operation="copy", path="data/big.txt", to="data/copy"))["bytes"] > 9_500_000
    got = await ask(operation="replace", path="data/big.txt", old="long file", new="file", all=True)
    assert got["replaced"] == 360_000
    assert (tmp_path / "big.txt").read_text() == text.replace("long file", "file")
    assert (await ask(operation="write", path="data/new", content=text[:7_000_000]))["created"]
    assert (tmp_path / "new").read_text() == text[:7_000_000]


IN_PLACE = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@IN_PLACE
@given(st.binary(max_size=300))
def test_any_bytes_are_written_and_read_back(tool: ShippedTool, data: bytes) -> None:
    """Through base64; as text when they are."""
    encoded = base64.b64encode(data).decode()
    tool.ask(operation="write", path="data/x", content_base64=encoded, mode="overwrite")
    assert (tool.folder / "x").read_bytes() == data
    got = tool.ask(operation="read", path="data/x", encoding="base64")
    assert base64.b64decode(got["base64"]) == data
    answer = tool.raw(json.dumps({"operation": "read", "path": "data/x"}).encode())
    try:
        text = data.decode()
    except UnicodeDecodeError:
        assert answer["error"]["code"] == "not_text"
        return
    if "\0" in text:
        assert answer["error"]["code"] == "not_text"
    else:
        assert answer["text"] == text.removeprefix("\ufeff")


@IN_PLACE
@given(st.text("ab*?[!]-c", min_size=1, max_size=8), st.text("abc-", min_size=1, max_size=6))
def test_any_pattern_agrees_with_python(tool: ShippedTool, pattern: str, name: str) -> None:
    """Patterns without ** match names as fnmatch has it."""
    for path in tool.folder.iterdir():
        path.unlink()
    (tool.folder / name).write_text("")
    answer = tool.raw(
        json.dumps({"operation": "find", "path": "data", "pattern": pattern}).encode()
    )
    if "error" in answer:
        assert answer["error"]["code"] == "bad_argument"
        assert "[" in pattern
    elif "**" not in pattern and "[" not in pattern:
        assert bool(answer["matches"]) == fnmatch.fnmatchcase(name, pattern)
