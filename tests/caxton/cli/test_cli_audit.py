"""``caxton audit`` on a data folder."""

from __future__ import annotations

from pathlib import Path

import lmdb

from caxton.storage.registry import Registry


def test_the_trail_is_shown_and_verified(run, tmp_path: Path) -> None:
    """Listed for people and programs; the head that was kept is looked for."""

    def audit(*words: str) -> None:
        registry = Registry(tmp_path / "registry")
        registry.audit(*words)
        registry.close()

    audit("breaker.reset", "Echo", "by hand")
    audit("dead_letter.discarded", "0-7")
    data = ("--data", str(tmp_path))
    assert "by hand" in run("audit", "show", *data).out
    rows = run("audit", "show", "--json", "--event", "dead_letter.discarded", *data).json
    assert [one["subject"] for one in rows["items"]] == ["0-7"]
    good = run("audit", "verify", *data)
    assert (good.code, good.out.startswith("2 records")) == (0, True)
    head = run("audit", "verify", "-o", "name", *data).out.strip()
    audit("breaker.reset", "Echo")
    assert run("audit", "verify", "--head", head, *data).code == 0
    cut = run("audit", "verify", "--head", "00" * 32, *data)
    assert (cut.code, "cut off" in cut.out) == (1, True)
    assert run("audit", "verify", "--head", "xyz", *data).code == 5
    shown = run("audit", "verify", "--json", *data).json
    assert (shown["records"], shown["head_found"]) == (3, True)
    with lmdb.open(str(tmp_path / "registry"), max_dbs=9) as environment:
        table = environment.open_db(b"audit")
        with environment.begin(write=True, db=table) as txn:
            txn.put((2).to_bytes(8, "big"), b"\xc1")
    broken = run("audit", "verify", *data)
    assert (broken.code, "broken at record 2" in broken.out) == (1, True)
