"""Prepared models are whole or not there, whoever makes them, and whatever interrupts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_embedding_graph import BATCH, prepared
from tiny_bert import CONFIG, write_model

from caxton.memory.backend import ModelInfo
from caxton.memory.embedding.engine import EngineFailed
from caxton.memory.embedding.graph import GRAPH_FILE, GRAPH_VERSION, WEIGHTS_FILE
from caxton.memory.embedding.model_folder import UnfitModel, file_sha256
from caxton.memory.embedding.onnx_engine import OnnxEngine
from caxton.memory.embedding.prepared import PreparedModel, find_prepared

MAKER = """
import sys
from pathlib import Path
from caxton.memory.embedding.model_folder import ModelFolder, file_sha256
from caxton.memory.embedding.prepared import prepare
source = ModelFolder.read(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(prepare(source, "tiny", Path(sys.argv[2]), file_sha256(source.safetensors)).path)
"""


def test_it_is_made_once(tmp_path: Path) -> None:
    """The second time it is read; another pooling, or other weights, are another model."""
    write_model(tmp_path / "model")
    first = prepared(tmp_path / "model")
    made = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    assert prepared(tmp_path / "model") == first
    assert {path: path.stat().st_mtime_ns for path in first.path.iterdir()} == made
    weights = file_sha256(tmp_path / "model" / "model.safetensors")
    assert first.model == ModelInfo("tiny", CONFIG["hidden_size"], weights)
    write_model(tmp_path / "model", pooling="cls")
    second = prepared(tmp_path / "model")
    assert second.path != first.path
    assert second.model == first.model
    write_model(tmp_path / "model", seed=1)
    assert prepared(tmp_path / "model").model.sha256 != weights


@pytest.mark.parametrize("file", [GRAPH_FILE, WEIGHTS_FILE, "tokenizer.json", "model.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_one_is_seen_and_made_again(tmp_path: Path, file: str, damage: str) -> None:
    """By a look at every byte of it."""
    write_model(tmp_path / "model")
    first = prepared(tmp_path / "model")
    wanted = OnnxEngine(first).run(BATCH).tolist()
    victim = first.path / file
    data = victim.read_bytes()
    if damage == "gone":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(data[: len(data) // 2])
    else:
        victim.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    told: list[str] = []
    if file != "model.json":
        with pytest.raises(UnfitModel, match="damaged"):
            PreparedModel.read(first.path)
        assert find_prepared(tmp_path / "cache", "tiny", on_damage=told.append) is None
        assert file in told[0]
    again = prepared(tmp_path / "model")
    assert again == first
    assert OnnxEngine(again).run(BATCH).tolist() == wanted


def test_it_is_found_by_name_and_hash(tmp_path: Path) -> None:
    """The newest of that name; none of another version of the graph."""
    write_model(tmp_path / "model")
    made = prepared(tmp_path / "model", "owner/tiny")
    root = tmp_path / "cache"
    assert find_prepared(root, "owner/tiny") == made
    assert find_prepared(root, "owner/tiny", made.model.sha256) == made
    assert find_prepared(root, "owner/tiny", "0" * 64) is None
    assert find_prepared(root, "owner/tin") is None
    assert find_prepared(tmp_path / "nowhere", "owner/tiny") is None
    about = made.path / "model.json"
    said = f'"graph": {GRAPH_VERSION}'
    assert said in about.read_text()
    about.write_text(about.read_text().replace(said, f'"graph": {GRAPH_VERSION + 1}'))
    assert find_prepared(root, "owner/tiny") is None
    with pytest.raises(UnfitModel, match="of this version"):
        PreparedModel.read(made.path)


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    """A half-made model is never taken for one, and does not stay."""
    write_model(tmp_path / "model")
    left = tmp_path / "cache" / ".new-abc"
    left.mkdir(parents=True)
    (left / GRAPH_FILE).write_bytes(b"half")
    made = prepared(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".lock", made.path.name]


@pytest.mark.process
def test_processes_at_once_make_one(tmp_path: Path) -> None:
    """All get the same whole model."""
    write_model(tmp_path / "model")
    command = [sys.executable, "-c", MAKER, str(tmp_path / "model"), str(tmp_path / "cache")]
    makers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        for maker in makers:
            assert maker.stdout is not None
            assert maker.stdout.readline() == "ready\n"
        found = {maker.communicate("go\n", timeout=60)[0].strip() for maker in makers}
    finally:
        for maker in makers:
            maker.kill()
            maker.communicate()
    assert len(found) == 1
    PreparedModel.read(Path(found.pop()))


def test_an_engine_says_what_does_not_load(tmp_path: Path) -> None:
    """With the folder in its words."""
    write_model(tmp_path / "model")
    made = prepared(tmp_path / "model")
    made.graph.write_bytes(b"no graph")
    with pytest.raises(EngineFailed, match="does not load"):
        OnnxEngine(made)


def test_an_engine_says_what_it_cannot_run(tmp_path: Path) -> None:
    """Tokens that the model does not have; it goes on with others."""
    write_model(tmp_path / "model")
    engine = OnnxEngine(prepared(tmp_path / "model"))
    with pytest.raises(EngineFailed, match="onnxruntime failed"):
        engine.run([[2, 400, 3]])
    assert engine.run([[2, 4, 3]]).shape == (1, CONFIG["hidden_size"])
    engine.close()
