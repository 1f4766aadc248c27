"""Models built from code: with fresh weights, or with the weights of a file from the start."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import keras

from kdzoo.graph.keras_internals import begin_with, set_waiting_variables, waiting_variables
from kdzoo.zoo.registry import architecture
from kdzoo.zoo.safetensors_weights import load_weights


def create(
    name: str,
    classes: int = 10,
    input_shape: tuple[int, int, int] | None = None,
    **overrides: Any,
) -> keras.Model:
    """Builds the model of this name, with fresh weights.

    Args:
        name: A name in `kdzoo.list_models()`; `"keras.applications.<Name>"` for a network of
            MobileNetV3, EfficientNet, EfficientNetV2 or ConvNeXt; `"branchy_lenet"` or
            `"msdnet_small"`, networks of several exits, which give a list of logits; or
            `"slimmable"`, a `kdzoo.dynamic.Slimmable` of another architecture.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image; None for the architecture's own,
            (32, 32, 3) or (28, 28, 1).
        **overrides: Arguments of the builder to replace or add, e.g. `dropout=0.3`; the functions
            in `kdzoo.models` are the builders and document them.

    Returns:
        A `keras.Model` called `name`, functional but for `"slimmable"`, from float32 images
        (batch, height, width, channels) in [0, 1] to float32 logits (batch, classes), not compiled.

    Raises:
        ValueError: If there is no such model, an argument is outside its range, or a registered
            builder does not return a `keras.Model`.
        TypeError: If the builder has no such argument.

    Example:

    >>> create("separable_050", classes=100).output_shape
    (None, 100)
    """
    chosen = architecture(name)
    arguments = {**chosen.arguments, **overrides, "classes": classes, "name": name}
    if input_shape is not None:
        arguments["input_shape"] = input_shape
    model = chosen.load_builder()(**arguments)
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected the builder of {name!r} to return a keras.Model. Received: a "
            f"{type(model).__name__}"
        )
    return model


def build_with_weights(
    build: Callable[[], keras.Model],
    content: bytes,
    name: str,
    left_out: str | Collection[str] = (),
) -> keras.Model:
    """Builds a model whose variables have the weights of a file as their first values.

    No random values are drawn, which would take longer than the rest of loading; and a model that
    does not fit the file is refused before memory of the model's size is taken.

    Args:
        build: Function without arguments that builds the model.
        content: The bytes of a safetensors file.
        name: What errors call the file.
        left_out: Names of the layers that keep their fresh weights: one, or a collection of them.

    Returns:
        The model.

    Raises:
        ValueError: If it is no safetensors file, a layer that is left out does not exist, or a
            weight is missing, left over, not finite, or of another shape or type.
    """
    return build_and_fill(build, lambda model: load_weights(model, content, name, left_out))


def build_and_fill(
    build: Callable[[], keras.Model], fill: Callable[[keras.Model], None]
) -> keras.Model:
    """Builds a model whose variables have the values that a function assigns as their first ones.

    Args:
        build: Function without arguments that builds the model.
        fill: Function of the model that assigns a value to each of its variables, or raises.

    Returns:
        The model.
    """
    with _deferring() as scope:
        model = build()
        fill(model)
        _start_from_assigned(model, scope)
    return model


@contextlib.contextmanager
def _deferring() -> Iterator[keras.StatelessScope]:
    """A scope at whose end variables get their first values; if it fails, none keep waiting."""
    before = waiting_variables()

    @contextlib.contextmanager
    def forgetting():
        try:
            yield
        except BaseException:
            set_waiting_variables(before)  # Keras would initialize the others in a later scope.
            raise

    # Inside the scope, because its end initializes all that wait; outside, because that may fail.
    with forgetting(), keras.StatelessScope() as scope, forgetting():
        yield scope


def _start_from_assigned(model, scope):
    """Makes variables that a scope defers start from the values assigned within the scope."""
    for variable in model.variables:
        value = scope.get_current_value(variable)
        if value is not None:
            begin_with(variable, value)
    scope.state_mapping.clear()  # Frees each value as soon as its variable holds it.
