"""A guest that fills its folder, in a real worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sandbox_processes import MakeBox

from sandbox import FolderGrant, Grants, Limits, QuotaExceeded
from sandbox.testing import command, wat

MIB = 1024 * 1024

IMPORT = '(import "wasi_snapshot_preview1" "{}" (func ${} (param {}) (result i32)))'

FILL = command(
    # Creates "f" in the first folder and writes 32 KiB again and again, up to 60 MB.
    "(local $at i64)"
    "(drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 1)"
    " (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 32)))"
    "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 32768))"
    "(loop $more (drop (call $pwrite (i32.load (i32.const 32)) (i32.const 0) (i32.const 1)"
    " (local.get $at) (i32.const 16)))"
    "(if (i64.lt_u (local.get $at) (i64.const 60000000)) (then"
    " (local.set $at (i64.add (local.get $at) (i64.const 32768))))) (br $more))",
    imports=IMPORT.format("path_open", "open", "i32 i32 i32 i32 i32 i64 i64 i32 i32")
    + IMPORT.format("fd_pwrite", "pwrite", "i32 i32 i32 i64 i32"),
    extra='(data (i32.const 64) "f")',
)


async def test_a_guest_that_fills_its_folder_is_killed(tmp_path: Path, make_box: MakeBox) -> None:
    """Soon; then no call starts there until there is room again; the pool goes on."""
    box = make_box()
    module = await box.prepare(wat(FILL))
    grants = Grants(folders=(FolderGrant(tmp_path, "out", write=True, quota_bytes=8 * MIB),))
    limits = Limits.for_command(fuel=10**12, wall_ms=60_000)
    for stage in ("during", "before"):
        with pytest.raises(QuotaExceeded) as error:
            await box.run_command(module, grants=grants, limits=limits)
        assert error.value.details["stage"] == stage
        assert (tmp_path / "f").stat().st_size < 64 * MIB
    os.truncate(tmp_path / "f", 0)
    with pytest.raises(QuotaExceeded):
        await box.run_command(module, grants=grants, limits=limits)
