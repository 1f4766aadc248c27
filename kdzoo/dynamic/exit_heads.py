"""Heads of early exits: from the features at an inner layer to logits."""

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras

from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.utils import check_choice, shown

Heads = Literal["pooled", "convolved"]
_SMALLEST_TO_STRIDE = 8


def exit_heads(
    heads: Any, features: Sequence[Any], shape: tuple[int | None, ...], model: keras.Model
) -> list[Any]:
    """Returns the logits of exits at features, Keras tensors.

    Args:
        heads: As in `kdzoo.dynamic.add_exits`.
        features: The features of each exit, Keras tensors.
        shape: The shape of the model's logits, which those of the exits have to have.
        model: The model, of whose layers the heads' names are to differ.

    Raises:
        ValueError: If there are no such heads, the model's channels lie elsewhere than at the end,
            or a head gives logits of another shape.
    """
    if isinstance(heads, str):
        check_choice("heads", heads, ("pooled", "convolved"))
        _check_channels(model, features)
    elif isinstance(heads, list | tuple):
        if len(heads) != len(features) or not all(map(callable, heads)):
            raise ValueError(
                f"Expected a layer, model or function for each of {len(features)} exits. Received: "
                f"heads={shown(list(heads))}"
            )
    elif not callable(heads) or isinstance(heads, keras.layers.Layer):
        raise ValueError(
            "Expected heads to be 'pooled', 'convolved', a function of a tensor and a number, or a "
            "list of layers or functions. Received: "
            f"heads={shown(heads)}"
        )
    return [_head(heads, n, feature, shape, model) for n, feature in enumerate(features, 1)]


def _check_channels(model, features):
    """Raises if the channels of images or sequences may lie elsewhere than at the end."""
    first = [
        layer.name
        for layer in flatten_layers(model)
        if getattr(layer, "data_format", None) == "channels_first"
    ]
    if first and any(len(feature.shape) > 2 for feature in features):
        raise ValueError(
            f"Expected channels last for heads by name. Received: {model.name!r}, in which "
            f"{first[0]!r} has data_format='channels_first'; pass a function as `heads`."
        )


def _head(heads, number, feature, shape, model):
    """The logits of an exit, whose number is counted from 1."""
    if isinstance(heads, str):
        logits = _standard_head(heads, _free_name(f"exit{number}", model), feature, shape, model)
    elif isinstance(heads, list | tuple):
        logits = _called(heads[number - 1], number, feature)
    else:
        logits = _called(heads, number, feature, number)
    given = getattr(logits, "shape", None)
    if given is None or tuple(given) != tuple(shape):
        raise ValueError(
            f"Expected the head of exit {number} to give logits of the shape {tuple(shape)}, that "
            f"of the model. Received: {shown(logits) if given is None else tuple(given)}"
        )
    return logits


def _called(head: Callable[..., Any], number: int, *args: Any) -> Any:
    """What a head gives, if it takes so many arguments."""
    try:
        inspect.signature(head).bind(*args)
    except TypeError as error:
        wanted = "a tensor and a number" if len(args) == 2 else "a tensor"
        raise ValueError(
            f"Expected the head of exit {number} to take {wanted}. Received: a function with "
            f"{error}; heads={shown(head)}"
        ) from None
    except ValueError:  # Of a function without a signature.
        pass
    return head(*args)


def _free_name(name, model):
    """A name for a head, or that and a number where layers of the model have some of its names."""
    names = {layer.name for layer in flatten_layers(model)}
    prefixes = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    own = ("", "_pool", "_conv", "_norm", "_relu")
    return next(prefix for prefix in prefixes if names.isdisjoint(prefix + end for end in own))


def _standard_head(heads, name, feature, shape, model):
    rank, policy = len(feature.shape), model.dtype_policy
    if len(shape) != 2 or not 2 <= rank <= 5:
        raise ValueError(
            "Expected logits (batch, classes), and features of a sequence, an image or a volume, "
            f"for heads={heads!r}. Received: logits of shape {tuple(shape)}, features of "
            f"{tuple(feature.shape)}; pass a function as `heads`."
        )
    dimensions = rank - 2
    if heads == "convolved" and 1 <= dimensions <= 2:
        feature = _convolved(feature, dimensions, name, policy)
    if dimensions:
        pooling = getattr(keras.layers, f"GlobalAveragePooling{dimensions}D")
        feature = pooling("channels_last", name=f"{name}_pool", dtype=policy)(feature)
    return keras.layers.Dense(shape[-1], dtype="float32", name=name)(feature)


def _convolved(feature, dimensions, name, policy):
    sides = [size for size in feature.shape[1:-1] if size is not None]
    strides = 2 if sides and min(sides) >= _SMALLEST_TO_STRIDE else 1
    convolution = getattr(keras.layers, f"SeparableConv{dimensions}D")
    feature = convolution(
        2 * feature.shape[-1],
        3,
        strides,
        "same",
        "channels_last",
        use_bias=False,
        name=f"{name}_conv",
        dtype=policy,
    )(feature)
    feature = keras.layers.BatchNormalization(name=f"{name}_norm", dtype=policy)(feature)
    return keras.layers.ReLU(name=f"{name}_relu", dtype=policy)(feature)
