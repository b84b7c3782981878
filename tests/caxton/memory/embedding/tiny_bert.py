"""A BERT of a few numbers, its forward pass in plain numpy, and a folder with it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "blue", "fox", "##es", "runs", "."]
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "vocab_size": 400,  # so many that they lie beside the graph
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
Array = NDArray[np.float32]
erf = np.vectorize(math.erf)


def random_tensors(seed: int = 0, **changes: Any) -> dict[str, Array]:
    """Weights of the shape that ``CONFIG`` says, by seed. Words fit into half precision."""
    made = np.random.default_rng(seed)
    config = CONFIG | changes
    wide, deep = config["hidden_size"], config["intermediate_size"]

    def some(*shape: int) -> Array:
        return made.normal(0, 0.4, shape).astype(np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": some(config["vocab_size"], wide)
        .astype(np.float16)
        .astype(np.float32),
        "embeddings.position_embeddings.weight": some(config["max_position_embeddings"], wide),
        "embeddings.token_type_embeddings.weight": some(2, wide),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
        for name, rows, columns in (
            ("attention.self.query", wide, wide),
            ("attention.self.key", wide, wide),
            ("attention.self.value", wide, wide),
            ("attention.output.dense", wide, wide),
            ("intermediate.dense", deep, wide),
            ("output.dense", wide, deep),
        ):
            tensors[f"{at}.{name}.weight"] = some(rows, columns)
            tensors[f"{at}.{name}.bias"] = some(rows)
    for name in norms:
        tensors[f"{name}.weight"] = 1 + some(wide)
        tensors[f"{name}.bias"] = some(wide)
    return tensors


def forward(
    tensors: dict[str, Array], ids: list[int], pooling: str = "mean", activation: str = "gelu"
) -> Array:
    """The vector of one text, as the paper says it, without any of the library's operators."""

    def normalise(x: Array, name: str) -> Array:
        spread = np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        centred = (x - x.mean(-1, keepdims=True)) / spread
        return centred * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    def dense(x: Array, name: str) -> Array:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def activate(x: Array) -> Array:
        if activation == "relu":
            return np.maximum(x, 0)
        if activation == "gelu_new":
            return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        return 0.5 * x * (1 + erf(x / math.sqrt(2)))

    x = tensors["embeddings.word_embeddings.weight"][ids]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(ids)]
    x = normalise(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    heads, size = CONFIG["num_attention_heads"], x.shape[1] // CONFIG["num_attention_heads"]
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        query, key, value = (
            dense(x, f"{at}.attention.self.{one}").reshape(-1, heads, size)
            for one in ("query", "key", "value")
        )
        seen = []
        for head in range(heads):
            scores = query[:, head] @ key[:, head].T / math.sqrt(size)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            seen.append(weights / weights.sum(-1, keepdims=True) @ value[:, head])
        attended = dense(np.concatenate(seen, -1), f"{at}.attention.output.dense")
        x = normalise(x + attended, f"{at}.attention.output.LayerNorm")
        inner = activate(dense(x, f"{at}.intermediate.dense"))
        x = normalise(x + dense(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    whole = {"mean": x.mean(0), "cls": x[0], "max": x.max(0)}[pooling]
    vector: Array = (whole / np.linalg.norm(whole)).astype(np.float32)
    return vector


def write_tokenizer(path: Path, **fixed: int) -> None:
    """A word-piece tokenizer on ``WORDS``; as published ones do, it may ask for a fixed length."""
    tokenizer = Tokenizer(WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    if fixed:
        tokenizer.enable_padding(length=fixed["length"])
        tokenizer.enable_truncation(fixed["length"])
    tokenizer.save(str(path))


def write_model(
    folder: Path,
    *,
    seed: int = 0,
    pooling: str = "mean",
    prefix: str = "",
    tensors: dict[str, Array] | None = None,
    **changes: Any,
) -> dict[str, Array]:
    """A folder as hubs lay it out, with a random model; its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    made = random_tensors(seed) if tensors is None else tensors
    save_file({prefix + name: value for name, value in made.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    named = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}[pooling]
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{named}": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    write_tokenizer(folder / "tokenizer.json", length=9)
    return made
