"""A folder of tools as it lies on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from caxton import Config
from caxton.errors import ToolInvalid
from caxton.tools.tool_files import (
    check_name,
    files_of,
    find_tools,
    own_tools,
    parse_description,
    stamp,
    tools_folder,
)

GOOD = {"name": "t", "description": "Does it.", "inputSchema": {"type": "object"}}


def test_tools_are_folders_and_bare_modules(tmp_path: Path) -> None:
    """Built or not; what is hidden, empty or something else is nobody's business."""
    for name in ("built", "unbuilt", "other", ".hidden", "_kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("x")
    (tmp_path / "built" / "built.wasm").write_bytes(b"x")
    (tmp_path / "unbuilt" / "tool.json").write_text("{}")
    (tmp_path / ".hidden" / "tool.json").write_text("{}")
    (tmp_path / "_kept" / "tool.json").write_text("{}")
    (tmp_path / "bare.wasm").write_bytes(b"x")
    (tmp_path / "built.wasm").write_bytes(b"x")
    found = {files.name: files for files in find_tools(tmp_path)}
    assert list(found) == ["bare", "built", "unbuilt"]
    assert found["bare"].folder is None
    assert found["bare"].policy is None
    assert found["bare"].cases == []
    assert found["built"].module == tmp_path / "built" / "built.wasm"
    assert found["unbuilt"].description == tmp_path / "unbuilt" / "tool.json"


def test_a_folder_that_is_not_there_has_no_tools(tmp_path: Path) -> None:
    """It need not exist."""
    assert find_tools(tmp_path / "none") == []
    config = Config(workspace=tmp_path, data=tmp_path, agents=tmp_path)
    assert tools_folder(config) == tmp_path / "tools"
    assert own_tools(config) == ()
    (tmp_path / "tools").write_text("a file")
    assert own_tools(config) == ()


def test_a_path_names_the_folder_or_its_module(tmp_path: Path) -> None:
    """A module in the folder of its name brings the files beside it."""
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "words.wasm").write_bytes(b"x")
    (folder / "other.wasm").write_bytes(b"x")
    (folder / "policy.yaml").write_text("x")
    for path in (folder, folder / "words.wasm"):
        assert files_of(path).policy == folder / "policy.yaml"
    assert files_of(folder / "other.wasm").folder is None
    with pytest.raises(ToolInvalid, match="there is no"):
        files_of(tmp_path / "none.wasm")


@pytest.mark.parametrize("name", ["", "1a", "a b", "gh__issue", "a" * 65, "ä", "../up"])
def test_names_are_those_that_models_take(name: str) -> None:
    """And ``__`` stands between a server and its tool."""
    with pytest.raises(ToolInvalid, match="a name is"):
        check_name(name)
    assert check_name("word_count-2") == "word_count-2"


def test_a_change_of_a_file_changes_the_stamp(tmp_path: Path) -> None:
    """So does its coming and its going."""
    file = tmp_path / "a"
    gone = stamp([file, None])
    file.write_text("x")
    there = stamp([file, None])
    os.utime(file, ns=(1, 1))
    assert len({gone, there, stamp([file, None])}) == 3


def test_a_description_is_read() -> None:
    """Without a name and a schema it is that of the file, of any object."""
    about = parse_description(b'{"description": " Does it. "}', "t", "tool.json")
    assert (about.name, about.description, about.input_schema) == (
        "t", "Does it.", {"type": "object"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (GOOD | {"name": "other"}, "`name` is 'other', the module's file is t.wasm"),
        (GOOD | {"description": ""}, "`description` must be"),
        (GOOD | {"description": 7}, "`description` must be"),
        (GOOD | {"inputSchema": {"type": "array"}}, '"type": "object"'),
        (GOOD | {"inputSchema": {"type": "object", "required": 7}}, "`inputSchema`: 7 is not"),
        ("[" * 100_000, "not JSON"),
        (" " * 300_000, "at most 262,144"),
    ],
)
def test_what_is_wrong_with_a_description_is_named(value: object, said: str) -> None:
    """The field, what it is and what it should be."""
    data = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(ToolInvalid, match="t") as caught:
        parse_description(data.encode(), "t", "tool.json")
    assert said in str(caught.value)
