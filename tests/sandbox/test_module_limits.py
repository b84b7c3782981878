"""Limits written into a module, and folders as copies: what the wasmer engine stands on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from sandbox import FolderGrant, Limits, Reason, SandboxError
from sandbox.folder_copies import copies
from sandbox.module_limits import limited
from sandbox.testing import COMMANDS, wat

ENGINE = wasmtime.Engine()


def sizes(data: bytes) -> list[tuple[int, int | None]]:
    """Least and largest size of each memory and table that a module exports."""
    return [
        (export.type.limits.min, export.type.limits.max)
        for export in wasmtime.Module(ENGINE, data).exports
        if isinstance(export.type, wasmtime.MemoryType | wasmtime.TableType)
    ]


def module(memory: str, *tables: str) -> bytes:
    """A module of these sizes, with other sections around them."""
    made = "".join(f'(table (export "t{n}") {size} funcref)' for n, size in enumerate(tables))
    return wat(
        f'(module {made} (memory (export "m") {memory}) (global i32 (i32.const 7))'
        ' (data (i32.const 0) "text") (func (export "_start") (nop)))'
    )


def test_what_grows_without_end_gets_an_end() -> None:
    """Memory in pages of 64 KiB, tables in elements; each table its own."""
    data = limited(module("2", "1", "5 300"), Limits(memory_bytes=1 << 20, table_elements=200))
    assert sizes(data) == [(1, 200), (5, 200), (2, 16)]


def test_a_smaller_end_stays() -> None:
    """A module may allow itself less than its limits do."""
    assert sizes(limited(module("2 3", "1 4"), Limits())) == [(1, 4), (2, 3)]


@given(st.integers(0, 8192), st.integers(1, 8192), st.integers(0, 1_000_000))
def test_any_sizes_give_a_valid_module(least: int, pages: int, elements: int) -> None:
    """Whatever the numbers, also those of several bytes; too large a start is refused."""
    limits = Limits(memory_bytes=pages * 65536, table_elements=elements)
    data = module(str(least), "0")
    if least > pages:
        with pytest.raises(SandboxError) as refused:
            limited(data, limits)
        assert refused.value.reason is Reason.MODULE_TOO_LARGE
        assert refused.value.details["memory_bytes"] == limits.memory_bytes
    else:
        assert sizes(limited(data, limits)) == [(0, elements), (least, pages)]


def test_a_table_that_starts_too_large_is_refused() -> None:
    """As by an engine with limits of its own."""
    with pytest.raises(SandboxError, match="10000 table elements"):
        limited(module("1", "10001"), Limits())


def test_a_module_without_either_stays_as_it_is() -> None:
    """Nothing else is touched."""
    data = wat('(module (func (export "f") (nop)))')
    assert limited(data, Limits()) == data
    command = wat(COMMANDS["cat"])
    assert limited(limited(command, Limits()), Limits()) == limited(command, Limits())


def test_copies_are_of_regular_files_only(tmp_path: Path) -> None:
    """Links, FIFOs and sockets below are left out; names are absolute and plain."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "f").write_bytes(b"1")
    (tmp_path / "deep" / "link").symlink_to("f")
    (tmp_path / "up").symlink_to("/", target_is_directory=True)
    os.mkfifo(tmp_path / "deep" / "pipe")
    for guest, name in (("data", "/data/deep/f"), ("/a/b", "/a/b/deep/f"), (".", "/deep/f")):
        assert copies((FolderGrant(tmp_path, guest),)) == {name: b"1"}
    assert copies(()) == {}


def test_copies_are_bounded_over_all_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes and files count together for a call."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"12345678")
    folders = tuple(FolderGrant(tmp_path / name, name) for name in ("one", "two"))
    monkeypatch.setattr("sandbox.folder_copies.COPIED_BYTES", 16)
    assert len(copies(folders)) == 2
    monkeypatch.setattr("sandbox.folder_copies.COPIED_BYTES", 15)
    with pytest.raises(SandboxError, match="more than 15 bytes"):
        copies(folders)
    monkeypatch.setattr("sandbox.folder_copies.COPIED_BYTES", 16)
    monkeypatch.setattr("sandbox.folder_copies.COPIED_FILES", 1)
    with pytest.raises(SandboxError, match="or 1 files"):
        copies(folders)


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another user ends the call with its name."""
    (tmp_path / "private").write_bytes(b"x")
    grant = FolderGrant(tmp_path, "data")

    def refuse(name: str, *_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr("sandbox.folder_copies.os.open", refuse)
    with pytest.raises(SandboxError, match="cannot be read: Permission denied") as refused:
        copies((grant,))
    assert refused.value.reason is Reason.HOST_ERROR
