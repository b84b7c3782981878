"""What the transformers engine does around a network: pooling, order, length 1, failures.

The real networks are compared by ``scripts/memory-parity``, which installs torch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bert import write_model

from caxton.errors import EmbeddingUnavailable
from caxton.memory.backend import ModelInfo
from caxton.memory.embedding import transformers_engine
from caxton.memory.embedding.engine import EngineFailed
from caxton.memory.embedding.model_folder import ModelFolder
from caxton.memory.embedding.opening import EmbeddingSettings, open_embedder
from caxton.memory.embedding.transformers_engine import TransformersEngine, load_transformers, pool
from caxton.memory.embedding.weights import Places

MODEL = ModelInfo("fake", 3, "00" * 32)
TOKENS = np.array(
    [[[1, 5, -2], [3, 1, -4], [99, 99, 99]], [[-1, 2, 2], [99, -99, 99], [99, 99, 99]]],
    np.float32,
)
MASK = np.array([[1, 1, 0], [1, 0, 0]], np.int64)


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [
        ("mean", [[2, 3, -3], [-1, 2, 2]]),
        ("cls", [[1, 5, -2], [-1, 2, 2]]),
        ("max", [[3, 5, -2], [-1, 2, 2]]),
        ("last", [[3, 1, -4], [-1, 2, 2]]),
    ],
)
def test_padding_is_in_no_pooling(pooling: str, wanted: list[list[float]]) -> None:
    """By hand."""
    assert pool(TOKENS, MASK, pooling).tolist() == wanted


def test_other_poolings_are_errors() -> None:
    """And say what there is."""
    with pytest.raises(ValueError, match="mean, cls, max or last"):
        pool(TOKENS, MASK, "median")


def network(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vector of a token is its id and its square, that of padding would spoil everything."""
    assert ids[mask == 0].tolist() == [77] * int((mask == 0).sum())
    return np.stack([ids, ids**2, np.ones_like(ids)], -1).astype(np.float32)


def tokenize(texts: list[str]) -> list[list[int]]:
    return [list(map(len, text.split())) for text in texts]


def test_vectors_are_of_length_one_and_in_order() -> None:
    """Alone as in a batch with longer ones."""
    engine = TransformersEngine(MODEL, tokenize, network, "mean", pad=77)
    tokens = engine.tokenize(["a bb", "cccc", "a a a a"])
    assert tokens == [[1, 2], [4], [1, 1, 1, 1]]
    found = engine.run(tokens)
    wanted = np.array([[1.5, 2.5, 1], [4, 16, 1], [1, 1, 1]])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert found.dtype == np.float32
    assert np.allclose(found, wanted, atol=1e-6)
    assert np.array_equal(found, np.concatenate([engine.run([one]) for one in tokens]))


def test_failures_are_the_engines() -> None:
    """Of the tokenizer, of the network, of what it gives; and after it was closed."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    with pytest.raises(EngineFailed, match="tokenizer failed: out of memory"):
        TransformersEngine(MODEL, broken, network).tokenize(["a"])
    with pytest.raises(EngineFailed, match="model failed: out of memory"):
        TransformersEngine(MODEL, tokenize, broken).run([[1]])
    for wrong in (np.full((1, 1, 3), np.nan, np.float32), np.zeros((1, 1, 3), np.float32)):
        with pytest.raises(EngineFailed, match="not of length 1"):
            TransformersEngine(MODEL, tokenize, lambda *_: wrong).run([[1]])  # noqa: B023
    with pytest.raises(EngineFailed, match="1 × 3"):
        TransformersEngine(MODEL, tokenize, lambda *_: np.ones((1, 1, 4), np.float32)).run([[1]])
    engine = TransformersEngine(MODEL, tokenize, network)
    engine.close()
    for call in (lambda: engine.run([[1]]), lambda: engine.tokenize(["a"])):
        with pytest.raises(EngineFailed, match="closed"):
            call()


async def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is opened; and the engine itself, whoever calls it."""
    write_model(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "torch", None)
    settings = EmbeddingSettings(engine="transformers", model=str(tmp_path / "model"))
    with pytest.raises(EmbeddingUnavailable, match=r"pip install 'caxton\[transformers\]'"):
        await open_embedder(settings, places=Places(env={}, installed=tmp_path))
    with pytest.raises(EngineFailed, match="torch is not installed"):
        load_transformers(ModelFolder.read(tmp_path / "model"), MODEL, 1)


async def test_the_model_is_known_before_torch_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name, dimension and hash come from the folder, so that a node starts without waiting."""
    write_model(tmp_path / "model")
    monkeypatch.setattr(transformers_engine, "transformers_missing", lambda: "")
    settings = EmbeddingSettings(engine="transformers", model=str(tmp_path / "model"))
    places = Places(env={}, installed=tmp_path)
    embedder = await open_embedder(settings, places=places)
    weights = ModelFolder.read(tmp_path / "model").sha256()
    assert embedder.model == ModelInfo("model", 24, weights)
    await embedder.close()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "odd"}')
    with pytest.raises(EmbeddingUnavailable, match="says no hidden_size"):
        await open_embedder(settings, places=places)


def test_weights_in_several_files_are_hashed_together(tmp_path: Path) -> None:
    """In the order of their names."""
    write_model(tmp_path / "model")
    folder = ModelFolder.read(tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights"):
        folder.sha256()
    for part, content in (("2", b"b"), ("1", b"a")):
        (tmp_path / f"model/model-0000{part}-of-00002.safetensors").write_bytes(content)
    digest = folder.sha256()
    assert digest.startswith("fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"[:8])
    (tmp_path / "model/pytorch_model.bin").write_bytes(b"ab")
    assert folder.sha256() == digest
