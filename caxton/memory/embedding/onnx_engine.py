"""Vectors by onnxruntime: no torch, little memory, and cores left to the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from caxton.memory.backend import Vectors
from caxton.memory.embedding.engine import EngineFailed, Tokens, checked, padded
from caxton.memory.embedding.prepared import PreparedModel

__all__ = ["OnnxEngine"]

_TOGETHER: Final = 64


class OnnxEngine:
    """An ``Engine`` on a prepared model.

    Args:
        threads: cores that one batch may use, 1 to 64.

    Raises:
        EngineFailed: onnxruntime or the tokenizer does not load it, or they are not installed.
    """

    def __init__(self, prepared: PreparedModel, threads: int = 2) -> None:
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise EngineFailed(f"{error.name} is not installed") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin for work take the cores from the processes that would bring it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Batches differ in shape, so plans for their memory would only pile up.
        options.enable_mem_pattern = False
        self.model = prepared.model
        try:
            self._session = onnxruntime.InferenceSession(
                str(prepared.graph), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = Tokenizer.from_file(str(prepared.tokenizer))
        except Exception as error:  # both raise classes of their own, or this one
            raise EngineFailed(f"{prepared.path} does not load: {error}") from error
        # The files of many models ask for a fixed length, which would cost the longest for each.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(prepared.max_tokens)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """See ``Engine``."""
        tokens: list[Tokens] = []
        for start in range(0, len(texts), _TOGETHER):
            try:
                found = self._tokenizer.encode_batch_fast(list(texts[start : start + _TOGETHER]))
            except Exception as error:  # the library raises this very class
                raise EngineFailed(f"the tokenizer failed: {error}") from error
            tokens += [one.ids for one in found]
        return tokens

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        """See ``Engine``."""
        ids, mask = padded(batch, 0)
        try:
            given = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        except Exception as error:  # its errors have no other class in common
            raise EngineFailed(f"onnxruntime failed: {error}") from error
        return checked(given, len(batch), self.model.dimension)

    def close(self) -> None:
        """See ``Engine``."""
        del self._session, self._tokenizer
