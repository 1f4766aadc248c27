"""Variational information distillation: the teacher's features as a Gaussian that is learnt."""

import itertools
import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kdzoo.losses.base import (
    DistillationLoss,
    LayerPaths,
    as_float32,
    check_positive,
    flat_rows,
    float32_pair,
    is_symbolic,
    of_same_samples,
    shrink_images,
)
from kdzoo.utils import check_positive_integer, shown
from kdzoo.utils.types import Shape, Tensor, TensorLike

_EPSILON = 1e-5  # The authors': the smallest variance.
_WIDEST = 1 << 24


def variational_information(
    teacher_features: TensorLike, predicted_features: TensorLike, variance: TensorLike = 1.0
) -> Tensor:
    """Negative log-likelihood of the teacher's features under a Gaussian that the student predicts.

    `mean ½ ((t − μ)² / σ² + log σ²)` over the features of a sample, which is the negative
    log-likelihood of one feature without the constant ½ log 2π. It is smallest where the
    prediction is right, at `mean ½ log σ²`, which may be below 0.

    Args:
        teacher_features: Float tensor `(batch, ...)`.
        predicted_features: Float tensor μ of the teacher's shape: the student's features after a
            regressor, such as that of `VariationalInformation`.
        variance: Number, or tensor `(channels,)` over the last axis: σ², above 0.

    Returns:
        Float32 tensor `(batch,)` in nats, averaged over everything but the batch as in the code
        of RepDistiller, which is after the authors' own. The paper sums.

    Raises:
        ValueError: If the shapes differ, or a variance is not above 0 or of other channels.

    Example:

    >>> import numpy as np
    >>> float(variational_information(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))[0])
    1.25

    Reference: Ahn et al., "Variational Information Distillation for Knowledge Transfer", 2019,
    arXiv:1904.05835, equations 4 to 6, and the code in RepDistiller (`distiller_zoo/VID.py`).
    """
    teacher, predicted = float32_pair(teacher_features, predicted_features)
    if teacher.shape[1:] != predicted.shape[1:]:
        raise ValueError(
            "Expected features of the same shape. Received: teacher "
            f"{tuple(teacher.shape)}, predicted {tuple(predicted.shape)}; use the class "
            "`VariationalInformation`, which fits the student's with a regressor."
        )
    return _information(teacher, predicted, _checked_variance(variance, teacher.shape[-1]))


def _information(teacher, predicted, variance):
    """The loss of `variational_information` on float32 tensors."""
    values = ops.square(teacher - predicted) / variance + ops.log(variance)
    return 0.5 * ops.mean(flat_rows(values), axis=-1)


def _checked_variance(variance, channels):
    """The variance as float32, checked as far as its values are known."""
    variance = as_float32("variance", variance, least_rank=0)
    if tuple(variance.shape) not in ((), (1,), (channels,)):
        raise ValueError(
            f"Expected `variance` to hold one number, or one for each of {channels} channels. "
            f"Received: shape {tuple(variance.shape)}"
        )
    if not is_symbolic(variance):
        values = ops.convert_to_numpy(variance)
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(
                f"Expected `variance` to be above 0 and finite. Received: variance={shown(values)}"
            )
    return variance


@keras.saving.register_keras_serializable("kdzoo")
class VariationalInformation(DistillationLoss):
    """Variational information distillation (VID) of Ahn et al.

    `mean ½ ((t − μ(s))² / σ² + log σ²)` over the teacher's features t, where the regressor μ
    predicts them from the student's features s: three linear maps of the channels with ReLU between
    them and without biases. The variance σ² of each channel is `softplus(ρ) + 1e-5`: what the
    student cannot predict counts less. Regressor and ρ are trained with the student, saved with
    the distiller, and no part of the student.

    Both layers give images `(height, width, channels)`, the larger of which is averaged down to
    the other's size, or both give vectors. The authors tap the ends of the groups of blocks, with
    one loss for each pair of layers.

    Args:
        teacher_layer: Layer that gives the teacher's features: one path, as the loss has weights
            for one pair of layers.
        student_layer: Layer that gives the student's features: one path.
        hidden_channels: Channels between the maps of the regressor, at least 1; `None` for the
            teacher's.
        initial_variance: The variance before the training, above 1e-5.
        name: Name of the loss.

    Raises:
        ValueError: If an argument is out of range, a layer is neither an image nor a vector, one
            is an image and the other not, or there is a list of layers.

    Example:

    ```python
    stages = ["stage1", "stage2", "stage3"]
    losses = [kdzoo.losses.VariationalInformation(stage, stage) for stage in stages]
    kdzoo.Distiller(teacher, student, losses, student_loss_weight=0.5)
    ```

    Reference: Ahn et al., 2019, arXiv:1904.05835; regressor, variance and mean are those of the
    code in RepDistiller, which is after the authors' own.
    """

    def __init__(
        self,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        hidden_channels: int | None = None,
        initial_variance: float = 5.0,
        name: str | None = None,
    ):
        super().__init__(teacher_layer, student_layer, name)
        if hidden_channels is not None:
            hidden_channels = check_positive_integer("hidden_channels", hidden_channels, _WIDEST)
        self.hidden_channels = hidden_channels
        self.initial_variance = check_positive("initial_variance", initial_variance)
        if self.initial_variance <= _EPSILON:
            raise ValueError(
                f"Expected `initial_variance` to be above {_EPSILON:g}, the smallest variance. "
                f"Received: initial_variance={initial_variance:g}"
            )
        self.regressor: list[keras.layers.Layer] = []

    def build(self, teacher_shape: Shape, student_shape: Shape) -> None:
        theirs, ours = tuple(teacher_shape)[1:], tuple(student_shape)[1:]
        if (len(theirs), len(ours)) not in ((1, 1), (3, 3)) or None in (*theirs, *ours):
            raise ValueError(
                "Expected layers that are both images (height, width, channels) or both vectors, "
                f"of fixed size. Received: teacher {theirs}, student {ours}; choose other layers."
            )
        channels = theirs[-1]
        hidden = self.hidden_channels or channels
        sizes = (ours[-1], hidden, hidden, channels)
        for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=1):
            # On images a dense layer is a 1x1 convolution.
            layer = layers.Dense(
                outputs,
                activation=None if number == 3 else "relu",
                use_bias=False,
                dtype="float32",
                name=f"regressor_{number}",
            )
            layer.build((None, *theirs[:-1], inputs))
            self.regressor.append(layer)
        # Of softplus the inverse, in a form that does not overflow.
        variance = self.initial_variance - _EPSILON
        self.raw_variance = self.add_weight(
            shape=(channels,),
            initializer=keras.initializers.Constant(variance + math.log(-math.expm1(-variance))),
            name="raw_variance",
        )
        self.built = True

    @property
    def variance(self) -> Tensor:
        """The variance σ² of each channel, float32 `(channels,)`."""
        return ops.softplus(self.raw_variance) + _EPSILON

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        teacher, student = as_float32("teacher", teacher), as_float32("student", student)
        if len(teacher.shape) == 4:
            sizes = zip(teacher.shape[1:3], student.shape[1:3], strict=True)
            height, width = (min(pair) for pair in sizes)
            teacher = shrink_images(teacher, (height, width))
            student = shrink_images(student, (height, width))
        for layer in self.regressor:
            student = layer(student)
        return _information(teacher, of_same_samples(teacher, student, "features"), self.variance)

    def get_config(self) -> dict[str, Any]:
        config = {
            "hidden_channels": self.hidden_channels,
            "initial_variance": self.initial_variance,
        }
        return {**super().get_config(), **config}
