"""The inputs and outputs of a Keras model as a LiteRT file has them: fixed shapes and names."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import keras

from kdzoo.graph.exportable import exportable
from kdzoo.graph.keras_internals import flatten_layers


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: Its name in the file.
        key: Its name in the Keras model.
        shape: Its shape, batch included; None for a size that is open until samples fix it.
        dtype: NumPy name of its type, e.g. `"float32"`.
    """

    name: str
    key: str
    shape: tuple[int, ...]
    dtype: str


def check_exportable(model: Any) -> None:
    """Raises unless `model` is a built Keras model on the TensorFlow backend.

    Args:
        model: The model to export.

    Raises:
        RuntimeError: On another backend than TensorFlow, which holds the converter.
        ValueError: If `model` is no Keras model, still being compressed or not built, or has
            weights in half precision.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "Expected the TensorFlow backend, because the LiteRT converter is part of TensorFlow. "
            f"Received: keras.backend.backend()={keras.backend.backend()!r}. Save the model with "
            "model.save('model.keras') and export it in a process started with "
            "KERAS_BACKEND=tensorflow."
        )
    if not isinstance(model, keras.Model):
        raise ValueError(f"Expected a keras.Model. Received: model={type(model).__name__}.")
    parts = flatten_layers(model, include_self=False)
    if any(exportable(layer).is_quantization_aware for layer in parts):
        raise ValueError(
            "Expected a quantization-aware model by itself. "
            f"Received: model={model.name!r}, which has one as a part: export that one."
        )
    if not exportable(model).is_quantization_aware and any(
        exportable(layer).is_being_compressed for layer in (model, *parts)
    ):
        raise ValueError(
            "Expected a plain Keras model. Received: "
            f"model={model.name!r}, which is still being compressed: pass "
            "`strip_pruning(model)` or `strip_clustering(model)` of `kdzoo.compression`."
        )
    stateful = [layer for layer in parts if isinstance(layer, keras.layers.RNN) and layer.stateful]
    if stateful:
        raise ValueError(
            "Expected layers that begin anew with each sample, as a LiteRT file does. Received: "
            f"layer {stateful[0].name!r} with stateful=True: build it with stateful=False and copy "
            "the weights. To carry a state on, make it an input and an output of the model "
            "(`initial_state=` and `return_state=True`)."
        )
    if not model.built:
        raise ValueError(
            "Expected a built model. "
            f"Received: model={model.name!r}, which has no weights yet: call it once on real data."
        )
    half = sorted({weight.dtype for weight in model.weights} & {"float16", "bfloat16"})
    if half:
        raise ValueError(
            f"Expected float32 weights. Received: model={model.name!r} with {half[0]} weights: "
            f"build it under the policy 'float32' or 'mixed_{half[0]}' and copy the weights."
        )


def input_specs(model: keras.Model, batch_size: int) -> list[InputSpec]:
    """Returns the `InputSpec` of every input of `model`, the batch fixed to `batch_size`.

    Args:
        model: A built Keras model: functional, sequential, or subclassed with one input.
        batch_size: Samples in one run of the file.

    Returns:
        A list of `InputSpec`, in the order in which Keras flattens the inputs; sizes that are open
        in the model are None.

    Raises:
        ValueError: If the shapes are not known.
    """
    tensors = getattr(model, "inputs", None)
    if tensors:
        known = [(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors]
    else:
        known = [("input", _built_shape(model), "float32")]
    specs = []
    for index, (key, shape, dtype) in enumerate(known):
        name = _name(key, index, len(known))
        specs.append(
            InputSpec(name, key, (batch_size, *shape[1:]), keras.backend.standardize_dtype(dtype))
        )
    return specs


def check_sizes(specs: list[InputSpec]) -> None:
    """Raises `ValueError` if a size of an input is still open."""
    for spec in specs:
        if None in spec.shape:
            raise ValueError(
                "Expected a model whose input shape is open in the batch alone. "
                f"Received: input {spec.key!r} of shape {(None, *spec.shape[1:])}. Pass "
                "representative_data, whose sizes the file then takes, or build the model for one "
                "size, e.g. with keras.Input((32, 32, 3))."
            )


def _built_shape(model):
    """Returns the shape that a subclassed model was built with."""
    shape = (model.get_build_config() or {}).get("input_shape")
    flat = isinstance(shape, (tuple, list)) and all(isinstance(n, int | None) for n in shape)
    if not flat:
        raise ValueError(
            "Expected a model with one input of known shape. "
            f"Received: model={model.name!r}, a subclassed model built with {shape}: wrap it in a "
            "functional model, keras.Model(inputs, model(inputs))."
        )
    return shape


def _name(key, index, count):
    """Returns an input's name in the file: the user's, or a plain one where Keras made it up."""
    if re.fullmatch(r"keras_tensor(_\d+)?|input_layer(_\d+)?", key):
        return "input" if count == 1 else f"input_{index}"
    return re.sub(r"\W", "_", key)


def as_structure(model: keras.Model, flat: list[Any]) -> Any:
    """Packs a flat list of input tensors into the structure that `model` is called with."""
    if isinstance(
        getattr(model, "input", None) if _is_functional(model) else None, (dict, list, tuple)
    ):
        return keras.tree.pack_sequence_as(model.input, flat)
    return flat[0] if len(flat) == 1 else flat


def _is_functional(model):
    """Whether the structure of the inputs is known; a sequential model has one input."""
    return bool(getattr(model, "inputs", None)) and not isinstance(model, keras.Sequential)


def named_outputs(model: keras.Model, outputs: Any) -> dict[str, Any]:
    """Returns the flat outputs of `model` as a dict by name: their keys, or their layers' names.

    Args:
        model: The model that computed the outputs.
        outputs: The result of a call of the model: a tensor, or any structure of tensors.

    Returns:
        A dict from name to tensor, with one name for each tensor.
    """
    flat = keras.tree.flatten(outputs)
    if isinstance(outputs, dict):
        paths = [path for path, _ in keras.tree.flatten_with_path(outputs)]
        return dict(zip(("/".join(map(str, path)) for path in paths), flat, strict=True))
    names = [re.sub(r"\W", "_", name) for name in getattr(model, "output_names", [])]
    if len(set(names)) != len(flat):
        names = ["output"] if len(flat) == 1 else [f"output_{i}" for i in range(len(flat))]
    return dict(zip(names, flat, strict=True))


@contextlib.contextmanager
def computing_in_float32(model: keras.Model) -> Iterator[None]:
    """Makes every layer of `model` compute in float32 inside the block; weights stay as they are.

    LiteRT's operators compute in float32 or integers, so a model trained in `mixed_bfloat16` is
    exported, and compared, as the float32 function of its weights.

    Args:
        model: A Keras model; its own dtype policies are restored after the block.
    """
    layers = flatten_layers(model)
    changed = [(layer, layer.dtype_policy) for layer in layers if _is_mixed(layer)]
    try:
        for layer, _ in changed:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy


def _is_mixed(layer):
    """Whether a layer computes in half precision; quantized policies are left alone."""
    policy = layer.dtype_policy
    return policy.compute_dtype in ("float16", "bfloat16") and policy.quantization_mode is None
