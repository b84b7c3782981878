"""Models from the Hugging Face hub, into its own cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["HubUnavailable", "download"]

_ETAG_SECONDS: Final = 10.0
_SMALL: Final = (
    "config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
    "vocab.json", "merges.txt", "*.model",
)  # fmt: skip
_WEIGHTS: Final = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
_OLD_WEIGHTS: Final = ("pytorch_model.bin",)


class HubUnavailable(Exception):
    """The hub did not give the model: why."""


def download(name: str, say: Callable[[str], None], *, any_weights: bool = False) -> Path:
    """The folder of a model in the hub's cache, after getting what is missing of it.

    The variables of ``huggingface_hub`` hold: ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_HOME``.
    On a terminal it shows a progress bar.

    Args:
        name: ``OWNER/MODEL``.
        say: is told that it begins.
        any_weights: also the older form that only torch reads, where there is no other.

    Raises:
        HubUnavailable: it cannot be reached, or has no such model.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise HubUnavailable(f"{error.name} is not installed") from error

    def get(*patterns: str) -> Path:
        try:
            return Path(
                snapshot_download(
                    name,
                    allow_patterns=[*_SMALL, *patterns],
                    etag_timeout=_ETAG_SECONDS,
                    max_workers=2,
                )
            )
        except Exception as error:  # the library and its HTTP client raise any
            raise HubUnavailable(_first_line(error)) from error

    say(f"looking for {name} on the Hugging Face hub; its weights are downloaded when missing")
    folder = get(*_WEIGHTS)
    if any_weights and not any(folder.glob("model*.safetensors")):
        folder = get(*_OLD_WEIGHTS)
    if not (folder / "config.json").is_file():
        raise HubUnavailable(f"{name} has no config.json there")
    return folder


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'nothing said'}"[:200]
