"""A folder with a sentence-embedding model, as model hubs lay it out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

__all__ = ["MOST_TOKENS", "ModelFolder", "UnfitModel", "file_sha256", "read_json"]

MOST_TOKENS: Final = 512
"""Tokens of a text that are looked at where a model says nothing of it, or a larger number."""

_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin")
_POOLINGS: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
_MODULES: Final = {"Transformer", "Pooling", "Normalize"}
_DIMENSIONS: Final = ("hidden_size", "d_model", "dim", "n_embd")
_CHUNK: Final = 1024 * 1024


class UnfitModel(ValueError):
    """A model is not of the kind that is asked for, or its files do not agree."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What the small files of a model's folder say."""

    path: Path
    config: dict[str, Any]
    pooling: str
    """How the vectors of tokens become one: ``mean``, ``cls``, ``max`` or ``last``."""
    max_tokens: int
    """Tokens of a text that are looked at, those that begin and end it among them."""

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """The model in ``path``.

        Raises:
            UnfitModel: there is none, or it is pooled in a way that is not known here.
            OSError: a file cannot be read.
        """
        if not (path / "config.json").is_file():
            raise UnfitModel(f"{path} has no config.json")
        config = read_json(path / "config.json")
        _check_modules(path)
        return cls(path, config, _pooling(path), _max_tokens(path, config))

    @property
    def dimension(self) -> int:
        """Numbers of a vector.

        Raises:
            UnfitModel: the configuration does not say.
        """
        for name in _DIMENSIONS:
            value = self.config.get(name)
            if isinstance(value, int) and 1 <= value <= 65_536:
                return value
        raise UnfitModel(f"{self.path / 'config.json'} says no hidden_size")

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's file.

        Raises:
            UnfitModel: there is none.
        """
        found = self.path / "tokenizer.json"
        if not found.is_file():
            raise UnfitModel(f"{self.path} has no tokenizer.json")
        return found

    @property
    def safetensors(self) -> Path:
        """The weights, in the one form that is read without torch.

        Raises:
            UnfitModel: there are none.
        """
        found = self.path / "model.safetensors"
        if not found.is_file():
            raise UnfitModel(f"{self.path} has no model.safetensors")
        return found

    def weight_files(self) -> list[Path]:
        """All files of weights, in whatever form.

        Raises:
            UnfitModel: there are none.
        """
        for name in _WEIGHTS:
            if (self.path / name).is_file():
                return [self.path / name]
        found = sorted(self.path.glob("model-*-of-*.safetensors"))
        if not found:
            raise UnfitModel(f"{self.path} has no weights, such as model.safetensors")
        return found

    def sha256(self) -> str:
        """Of its weights, in hex: of the file, or of all of them in the order of their names.

        Raises:
            UnfitModel: there are none.
            OSError: they cannot be read.
        """
        return file_sha256(*self.weight_files())


def file_sha256(*paths: Path) -> str:
    """SHA-256 of the contents of files, one after the other, in hex."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UnfitModel: it is none.
        OSError: it cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnfitModel(f"{path} does not read: {error}") from error


def _pooling(path: Path) -> str:
    found = path / "1_Pooling" / "config.json"
    if not found.is_file():
        return "mean"
    given = read_json(found)
    modes = [key for key, value in given.items() if key.startswith("pooling_mode") and value]
    if len(modes) == 1 and modes[0] in _POOLINGS:
        return _POOLINGS[modes[0]]
    raise UnfitModel(
        f"{found} asks for {', '.join(modes) or 'nothing'}: mean, cls, max or last is known"
    )


def _check_modules(path: Path) -> None:
    found = path / "modules.json"
    if not found.is_file():
        return
    try:
        modules = msgspec.json.decode(found.read_bytes(), type=list[dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnfitModel(f"{found} does not read: {error}") from error
    kinds = [str(one.get("type", "")).rpartition(".")[2] for one in modules]
    if other := set(kinds) - _MODULES:
        raise UnfitModel(f"{found} asks for {', '.join(sorted(other))}, which is not known here")


def _max_tokens(path: Path, config: dict[str, Any]) -> int:
    limits = [MOST_TOKENS]
    sentence = path / "sentence_bert_config.json"
    given = [config.get("max_position_embeddings")]
    if sentence.is_file():
        given.append(read_json(sentence).get("max_seq_length"))
    limits += [value for value in given if isinstance(value, int) and value >= 8]
    return min(limits)
