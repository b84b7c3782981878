"""Makes an ONNX graph of a BERT-shaped model: its layers, pooling and length 1 inside.

The graph takes ``input_ids`` and ``attention_mask`` (``[texts, tokens]``, int64) and gives
``embedding`` (``[texts, dimension]``, float32). The table of words is kept in half precision: it is
a third of the model, and the other sums are float32 all the same. Large tensors lie in a file of
their own beside the graph, so that the engine maps them in place of copying them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from caxton.memory.embedding.model_folder import UnfitModel

if TYPE_CHECKING:
    import onnx

__all__ = ["GRAPH_FILE", "GRAPH_VERSION", "WEIGHTS_FILE", "BertShape", "Tensors", "write_graph"]

GRAPH_VERSION: Final = 1
"""Grows when the graph changes; graphs of other versions are made again."""
GRAPH_FILE: Final = "model.onnx"
WEIGHTS_FILE: Final = "model.onnx.data"

_OPSET: Final = 20
_IR: Final = 9
"""Read by every onnxruntime that knows the opset."""
_PAGE: Final = 4_096
_INLINE: Final = 16 * 1024
"""Bytes up to which a tensor lies in the graph itself."""
_MASKED: Final = -1e9
_HALF_MAX: Final = 65_504.0

Tensor = NDArray[Any]
Tensors = Callable[[str], Tensor]
"""Gives a tensor of the model by its name without a prefix, or raises ``KeyError``."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """The numbers of a BERT-shaped model."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    vocabulary: int
    epsilon: float
    activation: str
    """``gelu``, ``gelu_tanh`` or ``relu``."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BertShape:
        """What a ``config.json`` says.

        Raises:
            UnfitModel: it is of another kind, or a number is missing or out of range.
        """
        kind = config.get("model_type")
        if kind != "bert":
            raise UnfitModel(f"model_type is {kind!r}: graphs are made of `bert`; other kinds need "
                             "`memory.engine = transformers`")  # fmt: skip
        positions = config.get("position_embedding_type") or "absolute"
        if positions != "absolute":
            raise UnfitModel(f"position_embedding_type is {positions!r}, `absolute` is known")
        activation = _ACTIVATIONS.get(str(config.get("hidden_act")))
        if activation is None:
            raise UnfitModel(f"hidden_act is {config.get('hidden_act')!r}: gelu, gelu_new or relu "
                             "is known")  # fmt: skip
        epsilon = config.get("layer_norm_eps", 1e-12)
        if not isinstance(epsilon, float) or not 0 < epsilon < 1:
            raise UnfitModel(f"layer_norm_eps is {epsilon!r}: a number between 0 and 1 is needed")
        shape = cls(
            hidden=_count(config, "hidden_size"),
            layers=_count(config, "num_hidden_layers"),
            heads=_count(config, "num_attention_heads"),
            intermediate=_count(config, "intermediate_size"),
            positions=_count(config, "max_position_embeddings"),
            vocabulary=_count(config, "vocab_size"),
            epsilon=epsilon,
            activation=activation,
        )
        if shape.hidden % shape.heads:
            raise UnfitModel(f"hidden_size {shape.hidden} is no multiple of {shape.heads} heads")
        return shape


_ACTIVATIONS: Final = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


def _count(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10_000_000:
        raise UnfitModel(f"{name} is {value!r}: a whole number from 1 is needed")
    return value


def write_graph(tensors: Tensors, shape: BertShape, pooling: str, folder: Path) -> None:
    """Write the graph of a model and its weights into ``folder``.

    Args:
        tensors: gives the model's tensors, in float32 or float16.
        pooling: ``mean``, ``cls`` or ``max``.

    Raises:
        UnfitModel: a tensor is missing, or of another shape or type.
        OSError: a file cannot be written.
    """
    with (folder / WEIGHTS_FILE).open("wb") as file:
        graph = _Graph(tensors, shape, file.write)
        graph.embed()
        for layer in range(shape.layers):
            graph.layer(layer)
        graph.pool(pooling)
    graph.save(folder / GRAPH_FILE)


class _Graph:
    """The graph as it grows. ``self._at`` is the value that the next node takes."""

    def __init__(self, tensors: Tensors, shape: BertShape, write: Callable[[bytes], int]) -> None:
        from onnx import TensorProto, helper

        self._helper = helper
        self._proto = TensorProto
        self._tensors = tensors
        self._shape = shape
        self._write = write
        self._written = 0
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._known: dict[object, str] = {}
        self._at = ""
        self._bias = ""
        self._mask = ""

    def embed(self) -> None:
        """From ids to the input of the first layer, and the bias that hides what is padding."""
        shape = self._shape
        words = self._take("embeddings.word_embeddings.weight", (shape.vocabulary, shape.hidden))
        if not float(np.abs(words).max()) <= _HALF_MAX:
            raise UnfitModel("a word's vector has a number that half precision does not hold")
        positions = self._take(
            "embeddings.position_embeddings.weight", (shape.positions, shape.hidden)
        )
        kinds = self._take("embeddings.token_type_embeddings.weight", (-1, shape.hidden))
        # All texts are of the first kind, so its vector is part of each position's.
        placed = self._constant("positions", positions + kinds[0])
        table = self._constant("words", words.astype(np.float16))
        half = self._node("Gather", table, "input_ids")
        single = self._node("Cast", half, to=self._proto.FLOAT)
        length = self._node("Shape", "input_ids", start=1, end=2)
        used = self._node("Slice", placed, self._ints(0), length, self._ints(0))
        self._at = self._node("Add", single, used)
        self._normalise("embeddings.LayerNorm")
        mask = self._node("Cast", "attention_mask", to=self._proto.FLOAT)
        hidden = self._node("Sub", self._float(1.0), mask)
        bias = self._node("Mul", hidden, self._float(_MASKED))
        self._bias = self._node("Unsqueeze", bias, self._ints(1, 2))
        self._mask = mask

    def layer(self, number: int) -> None:
        """Attention and the two dense layers behind it."""
        shape, prefix = self._shape, f"encoder.layer.{number}"
        size = shape.hidden // shape.heads
        came = self._at
        weights, biases = [], []
        for name, factor in (("query", size**-0.5), ("key", 1.0), ("value", 1.0)):
            weight, bias = self._dense_of(
                f"{prefix}.attention.self.{name}", shape.hidden, shape.hidden
            )
            weights.append(weight * np.float32(factor))
            biases.append(bias * np.float32(factor))
        both = self._linear(
            f"layer{number}.attention", np.concatenate(weights, 1), np.concatenate(biases)
        )
        parts = self._nodes_out("Split", 3, both, axis=-1, num_outputs=3)
        query, key, value = (
            self._node("Reshape", part, self._ints(0, 0, shape.heads, size)) for part in parts
        )
        query = self._node("Transpose", query, perm=[0, 2, 1, 3])
        key = self._node("Transpose", key, perm=[0, 2, 3, 1])
        value = self._node("Transpose", value, perm=[0, 2, 1, 3])
        scores = self._node("Add", self._node("MatMul", query, key), self._bias)
        seen = self._node("MatMul", self._node("Softmax", scores, axis=-1), value)
        joined = self._node("Transpose", seen, perm=[0, 2, 1, 3])
        self._at = self._node("Reshape", joined, self._ints(0, 0, shape.hidden))
        self._dense(f"{prefix}.attention.output.dense", shape.hidden, shape.hidden)
        self._at = self._node("Add", self._at, came)
        self._normalise(f"{prefix}.attention.output.LayerNorm")
        came = self._at
        self._dense(f"{prefix}.intermediate.dense", shape.hidden, shape.intermediate)
        self._activate()
        self._dense(f"{prefix}.output.dense", shape.intermediate, shape.hidden)
        self._at = self._node("Add", self._at, came)
        self._normalise(f"{prefix}.output.LayerNorm")

    def pool(self, pooling: str) -> None:
        """From the vectors of tokens to that of the text, of length 1."""
        if pooling == "cls":
            whole = self._node("Gather", self._at, self._scalar(0), axis=1)
        elif pooling == "mean":
            kept = self._node("Unsqueeze", self._mask, self._ints(1))
            total = self._node("Squeeze", self._node("MatMul", kept, self._at), self._ints(1))
            count = self._node("ReduceSum", self._mask, self._ints(1), keepdims=1)
            whole = self._node("Div", total, self._node("Max", count, self._float(1e-9)))
        elif pooling == "max":
            hidden = self._node("Squeeze", self._bias, self._ints(1))
            far = self._node("Transpose", hidden, perm=[0, 2, 1])
            shown = self._node("Add", self._at, far)
            whole = self._node("ReduceMax", shown, self._ints(1), keepdims=0)
        else:
            raise UnfitModel(f"pooling is {pooling!r}: mean, cls or max is known")
        length = self._node("ReduceL2", whole, self._ints(1), keepdims=1)
        floor = self._node("Max", length, self._float(1e-12))
        self._node("Div", whole, floor, out="embedding")

    def save(self, path: Path) -> None:
        """Write the graph without the tensors that lie beside it."""
        make, whole = self._helper.make_tensor_value_info, self._proto.INT64
        shape = ["texts", "tokens"]
        inputs = [make("input_ids", whole, shape), make("attention_mask", whole, shape)]
        outputs = [make("embedding", self._proto.FLOAT, ["texts", self._shape.hidden])]
        graph = self._helper.make_graph(self._nodes, "sentence", inputs, outputs, self._constants)
        model = self._helper.make_model(
            graph, opset_imports=[self._helper.make_opsetid("", _OPSET)], producer_name="caxton"
        )
        model.ir_version = _IR
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _activate(self) -> None:
        if self._shape.activation == "relu":
            self._at = self._node("Relu", self._at)
        else:
            how = "tanh" if self._shape.activation == "gelu_tanh" else "none"
            self._at = self._node("Gelu", self._at, approximate=how)

    def _normalise(self, name: str) -> None:
        hidden = (self._shape.hidden,)
        scale = self._constant(f"{name}.weight", self._take(f"{name}.weight", hidden))
        bias = self._constant(f"{name}.bias", self._take(f"{name}.bias", hidden))
        self._at = self._node(
            "LayerNormalization", self._at, scale, bias, axis=-1, epsilon=self._shape.epsilon
        )

    def _dense(self, name: str, wide: int, out: int) -> None:
        self._at = self._linear(name, *self._dense_of(name, wide, out))

    def _dense_of(self, name: str, wide: int, out: int) -> tuple[Tensor, Tensor]:
        weight = self._take(f"{name}.weight", (out, wide))
        return weight.T, self._take(f"{name}.bias", (out,))

    def _linear(self, name: str, weight: Tensor, bias: Tensor) -> str:
        product = self._node("MatMul", self._at, self._constant(f"{name}.weight", weight))
        return self._node("Add", product, self._constant(f"{name}.bias", bias))

    def _take(self, name: str, shape: Sequence[int]) -> Tensor:
        try:
            tensor = self._tensors(name)
        except KeyError:
            raise UnfitModel(f"the weights have no tensor `{name}`") from None
        if tensor.dtype not in (np.float32, np.float16):
            raise UnfitModel(f"`{name}` is {tensor.dtype}: float32 or float16 is needed")
        if tensor.ndim != len(shape) or any(
            want not in (-1, have) for want, have in zip(shape, tensor.shape, strict=True)
        ):
            raise UnfitModel(f"`{name}` is {tensor.shape}: {tuple(shape)} is needed")
        return tensor.astype(np.float32, copy=False)

    def _constant(self, name: str, value: Tensor) -> str:
        value = np.asarray(value, order="C")
        if value.nbytes <= _INLINE:
            data = value.tobytes()
            kind = self._helper.np_dtype_to_tensor_dtype(value.dtype)
            self._constants.append(
                self._helper.make_tensor(name, kind, value.shape, data, raw=True)
            )
            return name
        pad = -self._written % _PAGE
        self._write(bytes(pad))
        tensor = self._proto(
            name=name,
            data_type=self._helper.np_dtype_to_tensor_dtype(value.dtype),
            dims=value.shape,
            data_location=self._proto.EXTERNAL,
        )
        places = {"location": WEIGHTS_FILE, "offset": self._written + pad, "length": value.nbytes}
        for key, at in places.items():
            tensor.external_data.add(key=key, value=str(at))
        self._written += pad + self._write(value.tobytes())
        self._constants.append(tensor)
        return name

    def _once(self, value: Tensor) -> str:
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = self._constant(f"constant{len(self._known)}", value)
        return self._known[key]

    def _ints(self, *values: int) -> str:
        return self._once(np.array(values, np.int64))

    def _scalar(self, value: int) -> str:
        return self._once(np.array(value, np.int64))

    def _float(self, value: float) -> str:
        return self._once(np.array(value, np.float32))

    def _node(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        return self._nodes_out(kind, 1, *inputs, out=out, **attributes)[0]

    def _nodes_out(
        self, kind: str, count: int, *inputs: str, out: str = "", **attributes: Any
    ) -> list[str]:
        names = [out or f"v{len(self._nodes)}_{index}" for index in range(count)]
        self._nodes.append(self._helper.make_node(kind, inputs, names, **attributes))
        return names
