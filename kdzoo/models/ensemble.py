"""Several models as one that averages their outputs."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from kdzoo.graph.exportable import Exportable, ExportsByGraph, shape_model
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.outputs import (
    OUTPUT_TYPES,
    OutputType,
    is_one_column,
    remember_types,
    told_output_types,
)
from kdzoo.utils import check_choice, check_name, shown
from kdzoo.utils.field_checks import check_fields, is_name
from kdzoo.utils.types import Tensor


@keras.saving.register_keras_serializable("kdzoo")
class Ensemble(ExportsByGraph, Exportable, keras.Model):
    """The average of several models, as a teacher or as a model of its own.

    Args:
        members: At least one built `keras.Model`, all giving logits of the same classes, or numbers
            of the same meaning.
        average: `"logits"` for the mean of the outputs (of logits the members' geometric mean, up
            to a constant), or `"probabilities"` for the logarithm of the mean of the softmaxes
            (their arithmetic mean), which is a valid set of logits; of independent binary
            labels the logarithm of the odds, at the mean of the sigmoids.
        name: Name of the model.
        output_type: `"classes"`, `"binary"` for binary labels with a sigmoid each, or
            `"numbers"`, whose members may end in any activation. `None` to find out: from the
            loss that a member was compiled with, or the activation that `as_logits` took away;
            otherwise several columns are classes.

    Returns:
        When called on inputs `(batch, ...)`, the average `(batch, ...)` in float32: logits, or
        numbers.

    Raises:
        ValueError: If there is no member, one is not a `keras.Model`, ends in a softmax or has
            several outputs, the class counts differ, or `average` is unknown; if probabilities are
            averaged of numbers, or of one column of which nothing is known.

    Example:

    ```python
    teacher = kdzoo.Ensemble([net_1, net_2, net_3], average="probabilities")
    distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(4.0))
    ```

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531: "an arithmetic or geometric mean of
    their individual predictive distributions".
    """

    AVERAGES = ("logits", "probabilities")

    def __init__(
        self,
        members: Sequence[keras.Model],
        average: Literal["logits", "probabilities"] = "logits",
        name: str | None = "ensemble",
        *,
        output_type: OutputType | None = None,
    ):
        super().__init__(name=check_name(name), autocast=False)
        check_choice("average", average, self.AVERAGES)
        if output_type is not None:
            check_choice("output_type", output_type, OUTPUT_TYPES)
        is_list = isinstance(members, list | tuple) and bool(members)
        if not is_list or not all(isinstance(member, keras.Model) for member in members):
            raise ValueError(
                f"Expected a list of one or more `keras.Model`. Received: members={shown(members)}"
            )
        output_type = output_type or _told_type(members)
        for member in members:
            if output_type != "numbers" and (activation := final_activation(member)):
                raise ValueError(
                    f"Expected members that give logits. Received: {member.name!r}, which ends in "
                    f"a {activation}; pass `kdzoo.as_logits(member)`."
                )
            graph = shape_model(member)
            if graph is not None and len(graph.outputs) > 1:
                raise ValueError(
                    f"Expected members of one output. Received: {member.name!r} with "
                    f"{len(graph.outputs)}; make a model of the output to be averaged."
                )
        classes = {
            graph.outputs[0].shape[-1] for graph in map(shape_model, members) if graph is not None
        }
        if len(classes) > 1:
            raise ValueError(
                f"Expected members of the same classes. Received: {sorted(classes)} classes."
            )
        self.members = list(members)
        self.average = average
        self.output_type = output_type
        remember_types(self, [self.output_type])
        if average == "probabilities":
            for graph in filter(None, map(shape_model, members)):
                self._check_has_probabilities(graph.outputs[0].shape)
        self.built = all(member.built for member in members)

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        given = [member(inputs, training=training) for member in self.members]
        logits = [ops.cast(_one_output(outputs), "float32") for outputs in given]
        if self.average == "logits":
            return ops.mean(ops.stack(logits), axis=0)
        self._check_has_probabilities(logits[0].shape)
        if self.output_type == "binary":
            stacked = ops.stack(logits)
            yes, no = (ops.log_sigmoid(part) for part in (stacked, -stacked))
            return ops.logsumexp(yes, axis=0) - ops.logsumexp(no, axis=0)
        log_probs = ops.stack([ops.log_softmax(part, axis=-1) for part in logits])
        return ops.logsumexp(log_probs, axis=0) - ops.log(float(len(logits)))

    def _check_has_probabilities(self, shape):
        """Raises if the members' outputs, of this shape, are none that have probabilities."""
        is_one_class = is_one_column(shape) and self.output_type != "binary"
        if self.output_type == "numbers" or is_one_class:
            raise ValueError(
                "Expected classes, or binary labels, whose probabilities can be averaged. "
                f"Received: outputs of shape {tuple(shape)} with output_type={self.output_type!r}; "
                'say `output_type="binary"` if each value is the logit of a binary label, or take '
                '`average="logits"`, the mean, for numbers.'
            )

    @property
    def graph(self) -> keras.Model | None:
        """A member with a graph, whose inputs and outputs are the ensemble's, or `None`."""
        # Keras saves the weights of what a property gives: of a member, which it saves anyway.
        return next((m for m in self.members if shape_model(m) is not None), None)

    def graph_model(self) -> keras.Model | None:
        return shape_model(self.graph)

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = self.members[0].compute_output_shape(input_shape)
        return next(iter(shape.values())) if isinstance(shape, dict) else shape

    def get_config(self) -> dict[str, Any]:
        members = [keras.saving.serialize_keras_object(member) for member in self.members]
        config = {"name": self.name, "average": self.average, "members": members}
        known = {} if self.output_type is None else {"output_type": self.output_type}
        return {**config, **known}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Ensemble":
        if cls is Ensemble:  # A subclass may have arguments of its own.
            check_fields("Ensemble", config, _FIELDS, optional=_FIELDS.keys() - {"members"})
        members = [keras.saving.deserialize_keras_object(member) for member in config["members"]]
        return cls(**{**config, "members": members})


_FIELDS = {
    "name": is_name,
    "average": is_name,
    "members": lambda value: isinstance(value, list),
    "output_type": is_name,
}
"""Name of a field of a configuration -> whether a value of a file fits it."""


def _one_output(outputs):
    """The output of a member, which may have a name; or raises if there are several."""
    leaves = keras.tree.flatten(outputs)
    if len(leaves) != 1:
        raise ValueError(
            f"Expected members of one output. Received: {len(leaves)}; make a model of the output "
            "to be averaged."
        )
    return leaves[0]


def _told_type(members):
    """What the outputs of models are, by the first that tells, or None."""
    told = [told_output_types(member) for member in members]
    return next((types[0] for types in told if types[0] is not None), None)
