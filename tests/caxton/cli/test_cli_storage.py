"""``caxton storage`` on a data folder."""

from __future__ import annotations

from pathlib import Path

from caxton.storage.journal import Journal
from caxton.storage.registry import Registry


def test_a_folder_is_verified_backed_up_restored_and_compacted(run, tmp_path: Path) -> None:
    """Figures on stdout; the exit code says whether all is well."""
    folder = tmp_path / "data"
    Registry(folder / "registry").close()
    journal = Journal(folder / "shards" / "0", disk=False, map_bytes=1 << 26)
    journal.append(b"\xc1")
    journal.commit(journal.seal(1))
    journal.close()
    data = ("--data", str(folder))
    bad = run("storage", "verify", *data)
    assert bad.code == 1
    assert "shards/0: message 1" in bad.err
    assert run("storage", "verify", "--json", *data).json["items"][1]["messages"] == 1
    assert run("storage", "backup", str(tmp_path / "kept"), *data).out.startswith("backed up to")
    again = run("storage", "backup", str(tmp_path / "kept"), *data)
    assert again.code != 0
    assert "there already" in again.err
    made = ("--data", str(tmp_path / "new"))
    refused = run("storage", "restore", str(tmp_path / "kept"), *made)
    assert refused.code != 0
    assert "does not read" in refused.err or "corrupt" in refused.err.lower()
    assert "bytes freed" in run("storage", "compact", *data).out
    assert run("storage", "compact", "-o", "name", *data).out.split() == ["registry", "shards/0"]
    assert set(run("storage", "compact", "--json", *data).json["stores"]) == {
        "registry", "shards/0",
    }  # fmt: skip
    assert run("storage", "verify", "--data", str(tmp_path / "none")).code != 0
