"""The graph that is made of a model says what the model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bert import CONFIG, forward, random_tensors, write_model

from caxton.memory.embedding.graph import BertShape
from caxton.memory.embedding.model_folder import ModelFolder, UnfitModel, file_sha256
from caxton.memory.embedding.onnx_engine import OnnxEngine
from caxton.memory.embedding.prepared import PreparedModel, prepare

BATCH = [[2, 4, 7, 8, 9, 10, 3], [2, 3], [2, 5, 3], [2, *range(4, 11), 4, 5, 6, 7, 8, 3]]


def prepared(folder: Path, name: str = "tiny") -> PreparedModel:
    """The model of ``folder``, made in a cache beside it."""
    source = ModelFolder.read(folder)
    return prepare(source, name, folder.parent / "cache", file_sha256(source.safetensors))


@pytest.mark.parametrize(
    ("pooling", "activation", "prefix"),
    [
        ("mean", "gelu", ""),
        ("cls", "gelu_new", "bert."),
        ("max", "relu", ""),
        ("mean", "gelu_pytorch_tanh", ""),
    ],
)
def test_it_computes_what_the_layers_say(
    tmp_path: Path, pooling: str, activation: str, prefix: str
) -> None:
    """Against a forward pass in plain numpy, of texts of different lengths in one batch."""
    tensors = write_model(tmp_path / "model", pooling=pooling, prefix=prefix, hidden_act=activation)
    engine = OnnxEngine(prepared(tmp_path / "model"), threads=1)
    found = engine.run(BATCH)
    plain = "gelu_new" if activation == "gelu_pytorch_tanh" else activation
    wanted = np.stack([forward(tensors, ids, pooling, plain) for ids in BATCH])
    assert np.abs(found - wanted).max() < 2e-5
    assert np.abs(found - np.concatenate([engine.run([ids]) for ids in BATCH])).max() < 2e-6
    engine.close()


def test_words_that_half_precision_rounds_stay_close(tmp_path: Path) -> None:
    """The table of words loses digits, and the vectors hardly anything."""
    tensors = random_tensors()
    table = np.random.default_rng(1).normal(0, 0.4, (CONFIG["vocab_size"], CONFIG["hidden_size"]))
    tensors["embeddings.word_embeddings.weight"] = table.astype(np.float32)
    write_model(tmp_path / "model", tensors=tensors)
    engine = OnnxEngine(prepared(tmp_path / "model"))
    found = engine.run(BATCH)
    wanted = np.stack([forward(tensors, ids) for ids in BATCH])
    assert 0 < np.abs(found - wanted).max() < 2e-3
    assert np.einsum("ij,ij->i", found, wanted).min() > 0.99999
    engine.close()


def test_the_tokenizer_is_freed_of_its_fixed_length(tmp_path: Path) -> None:
    """Short texts stay short, long ones are cut where the model's folder says: at 12, not 9."""
    write_model(tmp_path / "model")
    engine = OnnxEngine(prepared(tmp_path / "model"))
    assert engine.tokenize(["", "Red foxes", "green " * 50]) == [
        [2, 3],
        [2, 4, 7, 8, 3],
        [2, *[5] * 10, 3],
    ]
    engine.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "t5"}, "model_type is 't5'"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"hidden_act": "swish"}, "hidden_act is 'swish'"),
        ({"num_attention_heads": 5}, "no multiple of 5"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"layer_norm_eps": 0}, "layer_norm_eps is 0"),
    ],
)
def test_other_kinds_are_refused_with_the_reason(changes: dict[str, Any], said: str) -> None:
    """What the graph would compute wrongly is not computed."""
    with pytest.raises(UnfitModel, match=said):
        BertShape.of(CONFIG | changes)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("encoder.layer.1.output.dense.weight", None, "no tensor `encoder.layer.1.output"),
        ("embeddings.word_embeddings.weight", np.zeros((3, 24), np.float32), "is needed"),
        ("embeddings.LayerNorm.bias", np.zeros(24, np.float64), "float64"),
        (
            "embeddings.word_embeddings.weight",
            np.full((400, 24), 1e6, np.float32),
            "half precision",
        ),
        ("embeddings.word_embeddings.weight", np.full((400, 24), np.nan, np.float32), "half"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, value: Any, said: str
) -> None:
    """Missing tensors, other shapes, other types, and numbers that the graph cannot keep; nothing
    is left behind."""
    tensors = random_tensors()
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    write_model(tmp_path / "model", tensors=tensors)
    with pytest.raises(UnfitModel, match=said):
        prepared(tmp_path / "model")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", "{", "does not read"),
        ("1_Pooling/config.json", '{"pooling_mode_weightedmean_tokens": true}', "asks for"),
        ("modules.json", json.dumps([{"type": "sentence_transformers.models.Dense"}]), "Dense"),
        ("modules.json", "no", "does not read"),
        ("model.safetensors", "no", "does not read"),
    ],
)
def test_folders_that_ask_for_more_are_refused(
    tmp_path: Path, file: str, content: str, said: str
) -> None:
    """Other layers, other poolings, and files that do not read."""
    write_model(tmp_path / "model")
    (tmp_path / "model" / file).write_text(content)
    with pytest.raises(UnfitModel, match=said):
        prepared(tmp_path / "model")


@pytest.mark.parametrize("gone", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_files_are_named(tmp_path: Path, gone: str) -> None:
    """A folder without one of the three is none."""
    write_model(tmp_path / "model")
    (tmp_path / "model" / gone).unlink()
    with pytest.raises(UnfitModel, match=f"has no {gone}"):
        prepared(tmp_path / "model")
