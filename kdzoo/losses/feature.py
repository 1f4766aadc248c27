"""Losses on features: the outputs of hidden layers."""

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers, ops

from kdzoo.losses.base import (
    DistillationLoss,
    LayerPaths,
    as_float32,
    check_positive,
    flat_rows,
    float32_pair,
    shrink_images,
    unit_rows,
)
from kdzoo.utils import shown
from kdzoo.utils.types import Shape, Tensor, TensorLike

Reduction = Literal["sum", "mean"]


def hint(
    teacher_features: TensorLike, student_features: TensorLike, reduction: Reduction = "sum"
) -> Tensor:
    """Half the squared distance between the teacher's features and the student's.

    `½ Σ (T − S)²` over everything but the batch; the student's features have been through the
    regressor.

    Args:
        teacher_features: Float tensor `(batch, ...)`.
        student_features: Float tensor of the teacher's shape.
        reduction: `"sum"`, the paper's formula, or `"mean"`: divided by the number of features of
            a sample, half of what RepDistiller's code computes (`MSELoss`).

    Returns:
        Float32 tensor `(batch,)`.

    Raises:
        ValueError: If the shapes differ or the reduction is unknown.

    Example:

    >>> import numpy as np
    >>> float(hint(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))[0])
    2.5

    Reference: Romero et al., "FitNets: Hints for Thin Deep Nets", 2015, arXiv:1412.6550,
    equation 3.
    """
    check_reduction(reduction)
    teacher, student = float32_pair(teacher_features, student_features, least_rank=1)
    if teacher.shape[1:] != student.shape[1:]:
        raise ValueError(
            "Expected features of the same shape. Received: teacher "
            f"{tuple(teacher.shape)}, student {tuple(student.shape)}; use the class `Hint`, which "
            "fits the student's with a regressor."
        )
    reduce = ops.sum if reduction == "sum" else ops.mean
    return 0.5 * reduce(flat_rows(ops.square(teacher - student)), axis=-1)


def attention_transfer(
    teacher_features: TensorLike, student_features: TensorLike, power: float = 2.0
) -> Tensor:
    """Mean squared difference of the attention maps of two networks.

    `mean (a(T) − a(S))²` over the positions, where `a(A)` is the map `mean_c |A_c|^p`, flattened
    and divided by its L2 norm. Where the maps differ in size, the larger features are averaged
    down to the smaller first, in bins as even as they can be.

    Args:
        teacher_features: Float tensor `(batch, height, width, channels)`.
        student_features: Float tensor `(batch, height, width, channels)`; height, width and
            channels may differ from the teacher's.
        power: The exponent p, at least 1.

    Returns:
        Float32 tensor `(batch,)`. Its mean equals the authors' `at_loss`. They add the sum over
        the layer pairs, times 1000 on CIFAR, to the loss on the labels.

    Raises:
        ValueError: If the features have no height and width, or these are not known before the
            step runs, or `power` is below 1.

    Reference: Zagoruyko & Komodakis, "Paying More Attention to Attention", 2017,
    arXiv:1612.03928, equation 2, and the authors' code (attention-transfer, `utils.py`).
    """
    _check_power(power)
    teacher, student = float32_pair(teacher_features, student_features)
    for role, features in (("teacher", teacher), ("student", student)):
        if len(features.shape) != 4:
            raise ValueError(
                "Expected features of shape (batch, height, width, channels). Received: "
                f"{role} {tuple(features.shape)}; tap a layer before the pooling."
            )
    sizes = tuple(teacher.shape[1:3]), tuple(student.shape[1:3])
    if None in (*sizes[0], *sizes[1]):
        raise ValueError(
            "Expected features of known height and width. Received: teacher "
            f"{tuple(teacher.shape)}, student {tuple(student.shape)}; build the models with a "
            "fixed input size."
        )
    size = tuple(min(pair) for pair in zip(*sizes, strict=True))
    maps = [_attention_map(shrink_images(features, size), power) for features in (teacher, student)]
    return ops.mean(ops.square(maps[0] - maps[1]), axis=-1)


@keras.saving.register_keras_serializable("kdzoo")
class Hint(DistillationLoss):
    """FitNets' hints: the student's guided layer learns to predict the teacher's hint layer.

    `½ ‖T − r(S)‖²`, T the output of the teacher's hint layer, S that of the student's guided layer.
    The shapes of both decide on the regressor r. For images it is the paper's convolution without
    padding whose kernel maps the guided layer's size to the hint's, `guided − hint + 1`: 1×1 where
    they agree; where the guided layer is smaller, it is a transposed convolution of kernel
    `hint − guided + 1`. For vectors it is a dense layer. It is trained with the student, saved with
    the distiller, and no part of the student. `kdzoo.schemes.hint_training` runs the paper's two
    stages.

    Args:
        teacher_layer: The hint layer: one path, as the loss has weights for one pair of layers.
        student_layer: The guided layer: one path.
        activation: The activation of the regressor: the name of one of Keras, a function, or
            `None`. The paper takes the hint layer's own.
        reduction: `"sum"`, the paper's formula, or `"mean"`: divided by the number of features.
        name: Name of the loss.

    Raises:
        ValueError: If a layer is neither an image nor a vector, one is an image and the other
            not, there is a list of layers, or the reduction is unknown.

    Example:

    ```python
    loss = kdzoo.losses.Hint("stage2", "stage2", reduction="mean")
    kdzoo.Distiller(teacher, student, [kdzoo.losses.SoftTargets(4.0), loss])
    ```

    Reference: Romero et al., 2015, arXiv:1412.6550, section 2.2.
    """

    def __init__(
        self,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        activation: str | Callable[[Any], Any] | None = None,
        reduction: Reduction = "sum",
        name: str | None = None,
    ):
        super().__init__(teacher_layer, student_layer, name)
        self.activation = _activation(activation)
        self.reduction = check_reduction(reduction)
        self.regressor: Any = None  # A layer, once it is built.

    def build(self, teacher_shape: Shape, student_shape: Shape) -> None:
        hint_shape, guided_shape = tuple(teacher_shape)[1:], tuple(student_shape)[1:]
        ranks = len(hint_shape), len(guided_shape)
        if ranks not in ((1, 1), (3, 3)) or None in (*hint_shape, *guided_shape):
            raise ValueError(
                "Expected hint and guided layer to be both images (height, width, channels) or "
                f"both vectors, of fixed size. Received: hint {hint_shape}, guided {guided_shape}; "
                "choose other layers."
            )
        self.regressor = self._make_regressor(hint_shape, guided_shape)
        self.regressor.build((None, *guided_shape))
        self.built = True

    def _make_regressor(self, hint_shape, guided_shape):
        channels = hint_shape[-1]
        options = {"activation": self.activation, "name": "regressor", "dtype": "float32"}
        if len(hint_shape) == 1:
            return layers.Dense(channels, **options)
        growth = [h - g for h, g in zip(hint_shape[:2], guided_shape[:2], strict=True)]
        kernel_size = [abs(pixels) + 1 for pixels in growth]
        options["data_format"] = "channels_last"
        if max(growth) <= 0:
            return layers.Conv2D(channels, kernel_size, **options)
        if min(growth) >= 0:
            return layers.Conv2DTranspose(channels, kernel_size, **options)
        raise ValueError(
            "Expected the guided layer to be larger than the hint in both directions, or smaller "
            f"in both. Received: hint {hint_shape}, guided {guided_shape}; choose other layers."
        )

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        return hint(teacher, self.regressor(as_float32("student", student)), self.reduction)

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation, "reduction": self.reduction}


@keras.saving.register_keras_serializable("kdzoo")
class AttentionTransfer(DistillationLoss):
    """Attention transfer of Zagoruyko & Komodakis: the student looks where the teacher looks.

    `mean (a(T) − a(S))²` over the positions, where `a(A)` is the map `mean_c |A_c|^p`, flattened
    and divided by its L2 norm; see `attention_transfer`. With several pairs of layers the loss is
    the sum over the pairs.

    Args:
        teacher_layer: Layer of the teacher that gives images, or a list of such layers.
        student_layer: Layer of the student that gives images, or a list of as many.
        power: The exponent p, at least 1.
        name: Name of the loss.

    Raises:
        ValueError: If the numbers of layers differ or `power` is below 1.

    Example:

    ```python
    stages = ["stage1", "stage2", "stage3"]
    attention = kdzoo.losses.AttentionTransfer(stages, stages)
    kdzoo.Distiller(teacher, student, [soft_targets, attention], [1.0, 1000.0])
    ```

    Reference: Zagoruyko & Komodakis, 2017, arXiv:1612.03928.
    """

    takes_structures = True

    def __init__(
        self,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        power: float = 2.0,
        name: str | None = None,
    ):
        super().__init__(teacher_layer, student_layer, name)
        self.power = _check_power(power)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        pairs = zip(keras.tree.flatten(teacher), keras.tree.flatten(student), strict=True)
        return sum(attention_transfer(*pair, self.power) for pair in pairs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}


def _activation(activation):
    """Returns the function of an activation that Keras knows by this name, or a function."""
    try:
        return keras.activations.get(activation)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Expected `activation` to be the name of an activation of Keras, a function, or None. "
            f"Received: activation={shown(activation)}"
        ) from error


def check_reduction(reduction: Reduction) -> Reduction:
    """Returns the reduction, or raises unless it is `"sum"` or `"mean"`."""
    if not isinstance(reduction, str) or reduction not in ("sum", "mean"):
        raise ValueError(
            f'Expected `reduction` to be "sum" or "mean". Received: reduction={shown(reduction)}'
        )
    return reduction


def _check_power(power):
    """Returns the exponent as a float, or raises if |A|^p has no slope at 0."""
    if check_positive("power", power) < 1:
        raise ValueError(f"Expected `power` to be at least 1. Received: power={power}")
    return float(power)


def _attention_map(features, power):
    """Flat map `(batch, positions)` of norm 1 of where the features are large."""
    energy = ops.square(features) if power == 2 else ops.power(ops.abs(features), power)
    return unit_rows(flat_rows(ops.mean(energy, axis=-1)))
