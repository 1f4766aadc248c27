"""The loss objects of `keras.distillation`, wrapped for kdzoo's Distiller."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.graph.outputs import OutputType
from kdzoo.losses.base import DistillationLoss, mean_over_positions
from kdzoo.losses.output_types import check_output_type, config_of_type, type_of_logits
from kdzoo.utils import check_name, shown
from kdzoo.utils.field_checks import check_fields, is_dictionary, is_name
from kdzoo.utils.types import Tensor

_EXPECT_PROBABILITIES = ("kl_divergence", "categorical_crossentropy")
_ACCEPTED: tuple[OutputType, ...] = ("classes",)


@keras.saving.register_keras_serializable("kdzoo")
class KerasDistillation(DistillationLoss):
    """Wraps a loss object of `keras.distillation`; `Distiller` does this by itself.

    The mean over the batch is the value of the wrapped object; the wrapper gives one value per
    sample, so that sample weights count. A subclass with a `compute_loss` of its own gives one
    number for the whole batch, which is then every sample's value: sample weights scale it as a
    whole.

    Args:
        loss: A `keras.distillation.DistillationLoss`.
        name: Name of the loss. Defaults to that of the wrapped class in snake case.
        output_type: `"classes"` where the loss that a `Distiller` compiles says that outputs are
            independent binary labels, and exclusive classes are meant; otherwise `None`.

    Raises:
        ValueError: If `loss` is no `keras.distillation.DistillationLoss`; when it is called, if it
            takes the softmax of independent binary labels.

    Warns:
        UserWarning: If `loss` applies a loss of probabilities to logits, as
            `LogitsDistillation`'s default does.
    """

    takes_structures = True

    def __init__(
        self, loss: Any, name: str | None = None, *, output_type: OutputType | None = None
    ):
        if not isinstance(loss, keras.distillation.DistillationLoss):
            raise ValueError(
                "Expected a loss of `kdzoo.losses` or of `keras.distillation`. "
                f"Received: {shown(loss)} of type {type(loss).__name__}"
            )
        teacher_layer = getattr(loss, "teacher_layer_name", None)
        # keras.distillation taps either both models or neither.
        student_layer = None if teacher_layer is None else loss.student_layer_name
        super().__init__(teacher_layer, student_layer, check_name(name) or type(loss).__name__)
        self.loss = loss
        self.output_type = check_output_type(type(loss).__name__, output_type, _ACCEPTED)
        _warn_if_not_on_probabilities(loss)

    @property
    def expects_logits(self) -> bool:  # type: ignore[override]
        return isinstance(self.loss, keras.distillation.LogitsDistillation)

    def call(
        self,
        teacher: Any,
        student: Any,
        labels: Any = None,
        output_type: Sequence[OutputType | None] | None = None,
    ) -> Tensor:
        self.loss.validate_outputs(teacher, student)
        self._check_classes(student, output_type)
        per_sample = _per_sample_values(self.loss, teacher, student)
        if per_sample is None:
            value = self.loss.compute_loss(teacher, student)
            if len(value.shape):
                raise ValueError(
                    f"Expected `{type(self.loss).__name__}.compute_loss` to return one number. "
                    f"Received: shape {tuple(value.shape)}; average it."
                )
            batch = ops.shape(keras.tree.flatten(student)[0])[0]
            per_sample = ops.broadcast_to(value, (batch,))
        return per_sample

    def _check_classes(self, student, output_type):
        """Raises if the softmax of an output is taken that is not of exclusive classes."""
        leaves = keras.tree.flatten(student)
        told = [None] * len(leaves) if output_type is None else output_type
        parts = keras.tree.flatten(self.loss.loss) if self.expects_logits else []
        for part, leaf, known in zip(parts, leaves, told, strict=False):
            name = getattr(part, "name", None) or getattr(part, "__name__", "")
            if isinstance(part, keras.losses.KLDivergence) or name in _EXPECT_PROBABILITIES:
                types = self.output_type, known, _ACCEPTED
                type_of_logits(type(self.loss).__name__, leaf.shape, *types)

    def compute_output_shape(
        self, teacher_shape: Any, student_shape: Any = None, labels_shape: Any = None
    ) -> tuple[int | None]:
        return (keras.tree.flatten(teacher_shape)[0],)

    def get_config(self) -> dict[str, Any]:
        loss = keras.saving.serialize_keras_object(self.loss)
        return {"name": self.name, "loss": loss, **config_of_type(self.output_type)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "KerasDistillation":
        checks = {"name": is_name, "loss": is_dictionary, "output_type": is_name}
        given = {name: config[name] for name in checks if name in config}
        check_fields("KerasDistillation", given, checks, optional=("name", "output_type"))
        given["loss"] = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**given)


def _per_sample_values(loss, teacher, student):
    """The values that the loss would average, `(batch,)`; `None` if they are not known."""
    base = keras.distillation
    parts = keras.tree.flatten(loss.loss) if hasattr(loss, "loss") else []
    known = (base.LogitsDistillation.compute_loss, base.FeatureDistillation.compute_loss)
    averaged = all(
        getattr(p, "reduction", "mean") in ("sum_over_batch_size", "mean") for p in parts
    )
    if type(loss).compute_loss not in known or not averaged:
        return None
    temperature = getattr(loss, "temperature", 1.0)

    def part_values(part, teacher, student):
        teacher, student = teacher / temperature, student / temperature
        if isinstance(part, keras.losses.KLDivergence) and hasattr(loss, "temperature"):
            teacher, student = ops.softmax(teacher), ops.softmax(student)
            return temperature**2 * mean_over_positions(part.call(teacher, student))
        compute = part.call if isinstance(part, keras.losses.Loss) else part
        return mean_over_positions(compute(teacher, student))

    leaves = zip(parts, keras.tree.flatten(teacher), keras.tree.flatten(student), strict=True)
    values = [part_values(*leaf) for leaf in leaves if leaf[0] is not None]
    return sum(values[1:], values[0])


def _warn_if_not_on_probabilities(loss):
    """Points out the parts of a `LogitsDistillation` that need probabilities and get logits."""
    if not isinstance(loss, keras.distillation.LogitsDistillation):
        return
    for part in keras.tree.flatten(loss.loss):
        name = getattr(part, "name", None) or getattr(part, "__name__", "")
        if name in _EXPECT_PROBABILITIES and not isinstance(part, keras.losses.KLDivergence):
            warnings.warn(
                f"`keras.distillation.LogitsDistillation` applies `{name}`, which is defined on "
                "probabilities, to raw logits (its default does so too): the value is not the "
                "distillation loss. Use `kdzoo.losses.SoftTargets(temperature="
                f"{loss.temperature})` or pass `loss=keras.losses.KLDivergence()`.",
                stacklevel=4,
            )
            return
