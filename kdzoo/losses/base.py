"""What every distillation loss has in common: the layers it taps and one value per sample."""

import math
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kdzoo.graph.keras_internals import compiles_by_xla
from kdzoo.utils import check_name, check_numeric_array, heavy_libraries, is_number, shown
from kdzoo.utils.adjustable_number import Adjustable
from kdzoo.utils.types import Shape, Tensor, TensorLike

# Numbers whose squares float32 can hold.
_SMALLEST, _LARGEST = 1e-18, 1e18

LayerPaths = str | Sequence[str] | None
"""The argument by which a loss taps layers: a path, several paths, or None for the outputs."""


@keras.saving.register_keras_serializable("kdzoo")
class DistillationLoss(keras.layers.Layer):
    """A loss between outputs of the teacher and outputs of the student.

    A subclass implements `call`, and nothing else unless it has weights of its own, such as those
    of a projection: it makes them in `build(teacher_shape, student_shape)`, the student's optimizer
    trains them, and the distiller's checkpoint keeps them. The student never contains them.

    The arithmetic is float32 whatever the models compute in.

    Args:
        teacher_layer: Name of the teacher's layer whose output is taken, or `None` for the
            teacher's own output. A layer of a nested functional model has a path, such as
            `"backbone/stage2"`. A list of layers makes the loss the sum over the pairs; a loss with
            weights of its own takes one layer, so that there is one loss for each pair.
        student_layer: Name or path of the student's layer whose output is taken, a list of layers,
            or `None` for the student's own output.
        name: Name of the loss, shown in the metrics. Defaults to the class's name in snake case.

    Raises:
        ValueError: If the numbers of layers differ, or a loss with weights is given a list.

    Example:

    ```python
    class MeanAbsolute(kdzoo.losses.DistillationLoss):
        def call(self, teacher, student, labels=None):
            return keras.ops.mean(keras.ops.abs(teacher - student), axis=-1)
    ```
    """

    # Whether the tensors are read as logits: a model that ends in a softmax is then refused.
    expects_logits = False
    # Whether `call` takes all outputs or layers at once; otherwise it is called for each pair.
    takes_structures = False
    # Whether `call` also takes `indices`, the positions of the batch's examples in the training
    # set.
    takes_indices = False
    # The number of training examples, where the loss knows it: indices are below it.
    examples: int | None = None

    def __init__(
        self,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
    ):
        name = check_name(name) or _snake_case(type(self).__name__)
        super().__init__(name=name, dtype="float32")
        _check_paths("teacher_layer", teacher_layer)
        _check_paths("student_layer", student_layer)
        self.teacher_layer = teacher_layer
        self.student_layer = student_layer
        # Nothing is left to build unless a subclass makes weights.
        self.built = type(self).build is DistillationLoss.build
        self._check_layers()
        self.supports_masking = True

    def _check_layers(self):
        """Raises if there are lists of layers of different lengths, or where one is expected."""
        received = (
            f"Received: teacher_layer={self.teacher_layer!r}, student_layer={self.student_layer!r}"
        )
        if {type(self.teacher_layer), type(self.student_layer)} <= {str, type(None)}:
            return
        if len(self.teacher_layers) != len(self.student_layers):
            raise ValueError(
                f"Expected as many layers of the student as of the teacher. {received}"
            )
        if not self.built and not self.takes_structures:
            raise ValueError(
                f"Expected one layer of each model, as `{type(self).__name__}` has weights for "
                f"one pair. {received}; pass one loss for each pair."
            )

    @property
    def teacher_layers(self) -> list[str]:
        """The paths of the layers that are tapped in the teacher, a list."""
        return _as_list(self.teacher_layer)

    @property
    def student_layers(self) -> list[str]:
        """The paths of the layers that are tapped in the student, a list."""
        return _as_list(self.student_layer)

    def build(self, teacher_shape: Shape, student_shape: Shape) -> None:
        """Makes the loss's own weights, if it has any.

        Args:
            teacher_shape: Static shape of the output of `teacher_layer`, `(None, ...)`.
            student_shape: Static shape of the output of `student_layer`, `(None, ...)`.
        """

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        """Returns the loss of each sample.

        Args:
            teacher: Output of `teacher_layer`, float, `(batch, ...)`.
            student: Output of `student_layer`, float, `(batch, ...)`.
            labels: The labels of the batch, integer `(batch,)` or one-hot `(batch, classes)`, or
                `None` where the data carry none.

        Returns:
            Float32 tensor of shape `(batch,)`; or `(batch, ...)` with a value for each position of
            a sample, which are then averaged, by `sample_weight` if it is given for positions.
        """
        raise TypeError(
            f"Expected `{type(self).__name__}` to implement "
            "`call(self, teacher, student, labels=None)` and return one value per sample."
        )

    def compute_output_shape(
        self, teacher_shape: Any, student_shape: Any = None, labels_shape: Any = None
    ) -> tuple[int | None]:
        return (teacher_shape[0],)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "teacher_layer": _as_config(self.teacher_layer),
            "student_layer": _as_config(self.student_layer),
        }


class Softened(DistillationLoss):
    """A loss on logits divided by a temperature, which may change while the loss is in use.

    Args:
        temperature: The number by which logits are divided, above 0.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss; `None` for the class's name in snake case.
    """

    expects_logits = True

    def __init__(
        self,
        temperature: float,
        teacher_layer: LayerPaths,
        student_layer: LayerPaths,
        name: str | None,
    ):
        super().__init__(teacher_layer, student_layer, name)
        self._temperature = Adjustable(check_positive("temperature", temperature))

    @property
    def temperature(self) -> float:
        """The divisor of the logits. Set it to train with another; nothing is compiled again."""
        return self._temperature.value

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        self._temperature.set(check_positive("temperature", temperature))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


def mean_over_positions(values: Tensor) -> Tensor:
    """Returns the mean of values `(batch, ...)` over all axes but the first, `(batch,)`."""
    axes = tuple(range(1, len(values.shape)))
    return ops.mean(values, axis=axes) if axes else values


def as_float32(name: str, values: TensorLike, least_rank: int = 2) -> Tensor:
    """Returns numbers as a float32 tensor, whatever they were computed in.

    Type and shape are checked as far as they are known before a step runs, so that a compiled step
    computes nothing for the checks.

    Args:
        name: What the caller calls the numbers.
        values: Tensor `(batch, ...)`, array, or what Keras makes a tensor of.
        least_rank: The fewest axes that are right.

    Raises:
        ValueError: If they are no numbers, of fewer axes, or an axis is empty.
    """
    if not (ops.is_tensor(values) or isinstance(values, keras.Variable | keras.KerasTensor)):
        values = check_numeric_array(name, values)
    values = ops.convert_to_tensor(values)
    kind, shape = keras.backend.standardize_dtype(values.dtype), tuple(values.shape)
    if kind in ("string", "complex64", "complex128"):
        raise ValueError(f"Expected {name} to be real numbers. Received: {name} of type {kind}")
    if len(shape) < least_rank or 0 in shape:
        raise ValueError(
            f"Expected {name} of at least {least_rank} axes, batch first, none of them empty. "
            f"Received: {name} of shape {shape}"
        )
    return ops.cast(values, "float32")


def float32_pair(
    teacher: TensorLike, student: TensorLike, what: str = "features", least_rank: int = 2
) -> tuple[Tensor, Tensor]:
    """Returns outputs of both models for the same samples as float32 tensors.

    Args:
        teacher: Tensor `(batch, ...)` of the teacher, array, or what Keras makes a tensor of.
        student: Tensor `(batch, ...)` of the student, array, or what Keras makes a tensor of.
        what: `"features"` or `"logits"`, for the error.
        least_rank: The fewest axes that are right.

    Raises:
        ValueError: If one of them is no numbers, is empty, or is of other samples.
    """
    teacher = as_float32(f"the teacher's {what}", teacher, least_rank)
    student = as_float32(f"the student's {what}", student, least_rank)
    return teacher, of_same_samples(teacher, student, what)


def of_same_samples(
    known: Tensor, tensor: Tensor, what: str, names: tuple[str, str] = ("teacher", "student")
) -> Tensor:
    """Returns a tensor, which cannot be made where it is of other samples than a known one.

    A batch of one would otherwise meet a larger batch in silence, and count for each of its
    samples. A step that does not know the sizes before it runs fails when it runs.

    Args:
        known: Tensor `(batch, ...)`.
        tensor: Tensor `(batch, ...)`.
        what: What they are, for the error.
        names: What the two are called, for the error.

    Raises:
        ValueError: If the batches are known to differ.
    """
    counts = known.shape[0], tensor.shape[0]
    received = (
        f"Expected {what} of the same samples from {names[0]} and {names[1]}. Received: "
        f"{names[0]} {tuple(known.shape)}, {names[1]} {tuple(tensor.shape)}"
    )
    if None not in counts and counts[0] != counts[1]:
        raise ValueError(received)
    if None not in counts or keras.backend.backend() != "tensorflow":
        return tensor
    if compiles_by_xla():  # It leaves assertions out, and TensorFlow's optimizer such a reshape.
        return ops.reshape(tensor, (ops.shape(known)[0], *ops.shape(tensor)[1:]))
    sizes = ops.shape(known)[0], ops.shape(tensor)[0]
    heavy_libraries.tensorflow().debugging.assert_equal(*sizes, message=received)
    return tensor


def is_symbolic(values: Any) -> bool:
    """Whether these are tensors of a step that is being traced, whose values are not known."""
    if not (ops.is_tensor(values) or isinstance(values, keras.Variable)):
        return False
    try:
        np.asarray(values)
    except (TypeError, RuntimeError):
        return True
    return False


def flat_rows(features: Tensor) -> Tensor:
    """Returns a float32 tensor `(batch, ...)` as a matrix `(batch, features)`."""
    sizes = features.shape[1:]
    if None in sizes:
        return ops.reshape(features, (ops.shape(features)[0], -1))
    return ops.reshape(features, (-1, math.prod(sizes)))


def shrink_images(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns features `(batch, height, width, channels)` averaged over bins, as even as can be.

    Args:
        features: Float32 tensor of known height and width.
        size: Height and width to reach, at most those of the features.
    """
    if tuple(features.shape[1:3]) == size:
        return features
    return ops.adaptive_average_pool(features, size, data_format="channels_last")


def positive_or_one(values: Tensor) -> Tensor:
    """Returns the values, with 1 for those up to 0, so that roots and quotients have slopes.

    NaN stays: no comparison with it is true, so that it must not be what a comparison leaves out.
    """
    return ops.where(values <= 0, 1.0, values)


def unit_rows(rows: Tensor) -> Tensor:
    """Returns a tensor over the L2 norms along its last axis; zeros stay, with a slope of 0."""
    # Brought to size 1 first: the slope of the root of a tiny square is out of float32's range.
    size = ops.stop_gradient(ops.max(ops.abs(rows), axis=-1, keepdims=True))
    rows = rows / positive_or_one(size)
    squares = ops.sum(ops.square(rows), axis=-1, keepdims=True)
    return rows * ops.where(squares <= 0, 0.0, ops.rsqrt(positive_or_one(squares)))


def check_positive(name: str, value: Any) -> float:
    """Returns `value` as a float, or raises unless it is a number whose square float32 can hold."""
    if not is_number(value):
        raise ValueError(
            f"Expected `{name}` to be a positive number. Received: {name}={shown(value)}"
        )
    if not _SMALLEST <= value <= _LARGEST:
        raise ValueError(
            f"Expected `{name}` to be above 0 and finite, from {_SMALLEST:g} to {_LARGEST:g}. "
            f"Received: {name}={value:g}"
        )
    return float(value)


def check_weight(name: str, value: Any) -> float:
    """Returns the weight of a part of a loss as a float, or raises unless it is at least 0."""
    if not is_number(value) or not 0 <= value <= _LARGEST:
        raise ValueError(
            f"Expected `{name}` to be a number of at least 0. Received: {name}={shown(value)}"
        )
    return float(value)


def check_temperature(temperature: Any) -> Any:
    """Returns a number as a float, or raises unless it is above 0; a `keras.Variable` as it is."""
    if isinstance(temperature, keras.Variable):
        return temperature
    return check_positive("temperature", temperature)


def _check_paths(argument, layer):
    """Raises unless an argument is the path of a layer, a list of them, or `None`."""
    paths = layer if isinstance(layer, list | tuple) else [layer]
    if layer is not None and not all(isinstance(path, str) and path for path in paths):
        raise ValueError(
            f"Expected {argument} to be the name of a layer, a list of names, or None. Received: "
            f"{argument}={shown(layer)}"
        )


def _as_list(layer):
    """The layers that a loss taps, as a list."""
    if layer is None:
        return []
    return [layer] if isinstance(layer, str) else list(layer)


def _as_config(layer):
    return layer if layer is None or isinstance(layer, str) else list(layer)


def _snake_case(name):
    """`SoftTargets` -> `soft_targets`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
