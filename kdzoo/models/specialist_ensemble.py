"""A generalist and its specialists as one model: Hinton et al. 2015, section 5."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.graph.exportable import Exportable, ExportsByGraph, shape_model
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.outputs import remember_types
from kdzoo.models.specialist_distribution import agreed_on, check_classes
from kdzoo.utils import check_name, check_positive_integer, is_integer, shown
from kdzoo.utils.field_checks import check_fields, is_name
from kdzoo.utils.types import Tensor

_TINY = 1e-30


@keras.saving.register_keras_serializable("kdzoo")
class SpecialistEnsemble(ExportsByGraph, Exportable, keras.Model):
    """A generalist and specialists for classes that it confuses, as one classifier or teacher.

    Args:
        generalist: A built `keras.Model` that gives logits of all classes.
        specialists: At least one built `keras.Model`, each giving logits of its own classes and, in
            the last place, of all others, the dustbin. `kdzoo.schemes.specialists` trains them.
        classes: The classes of each specialist in the order of its outputs, lists of integers.
        most_probable: By how many of the generalist's most probable classes specialists are chosen
            for a sample.
        name: Name of the model.

    Returns:
        When called on inputs `(batch, ...)`, the logarithms of the probabilities that
        `specialist_distribution` gives, `(batch, classes)` in float32, which are logits.

    Raises:
        ValueError: If there is no specialist, a model is none or ends in a softmax, or its outputs
            and its classes do not fit.

    Example:

    ```python
    teacher = kdzoo.schemes.SpecialistEnsemble(generalist, [cats, cars], [[3, 5], [1, 9]])
    distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(4.0))
    ```

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531, section 5.
    """

    def __init__(
        self,
        generalist: keras.Model,
        specialists: Sequence[keras.Model],
        classes: Sequence[Sequence[int]],
        most_probable: int = 1,
        name: str | None = "specialist_ensemble",
    ):
        super().__init__(name=check_name(name), autocast=False)
        if not isinstance(specialists, list | tuple) or not specialists:
            raise ValueError(
                "Expected a list of one or more specialists. Received: "
                f"specialists={shown(specialists)}"
            )
        for model in (generalist, *specialists):
            _check_gives_logits(model)
        count = _outputs_of(generalist)
        check_classes(classes, count)
        for model, its_classes in zip(specialists, classes, strict=False):
            if len(classes) != len(specialists) or _outputs_of(model) != len(its_classes) + 1:
                raise ValueError(
                    "Expected a list of classes for each specialist, one fewer than it has "
                    f"outputs. Received: {len(specialists)} specialists and {len(classes)} lists; "
                    f"{model.name!r} with {_outputs_of(model)} outputs for {len(its_classes)}"
                )
        self.most_probable = check_positive_integer("most_probable", most_probable, count)
        self.generalist = generalist
        self.specialists = list(specialists)
        self.classes = [[int(label) for label in part] for part in classes]
        remember_types(self, ["classes"])
        self.built = all(model.built for model in (generalist, *specialists))

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        def probabilities(model: keras.Model) -> Tensor:
            return ops.softmax(ops.cast(model(inputs, training=training), "float32"), axis=-1)

        found = agreed_on(
            probabilities(self.generalist),
            [probabilities(model) for model in self.specialists],
            self.classes,
            self.most_probable,
        )
        return ops.log(ops.maximum(found, _TINY))

    @property
    def graph(self) -> keras.Model | None:
        """The generalist, whose inputs and outputs are the ensemble's, if it has a graph."""
        return self.generalist if shape_model(self.generalist) is not None else None

    def graph_model(self) -> keras.Model | None:
        return shape_model(self.generalist)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.generalist.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        save = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "generalist": save(self.generalist),
            "specialists": [save(model) for model in self.specialists],
            "classes": self.classes,
            "most_probable": self.most_probable,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SpecialistEnsemble":
        if cls is SpecialistEnsemble:  # A subclass may have arguments of its own.
            check_fields(cls.__name__, config, _FIELDS, optional=("name", "most_probable"))
        restore = keras.saving.deserialize_keras_object
        models = {
            "generalist": restore(config["generalist"]),
            "specialists": [restore(part) for part in config["specialists"]],
        }
        return cls(**{**config, **models})


_FIELDS = {
    "name": is_name,
    "generalist": lambda value: isinstance(value, dict),
    "specialists": lambda value: isinstance(value, list),
    "classes": lambda value: isinstance(value, list),
    "most_probable": lambda value: is_integer(value, least=1),
}
"""Name of a field of a configuration -> whether a value of a file fits it."""


def _check_gives_logits(model: Any) -> None:
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"Expected a built keras.Model. Received: {shown(model)}")
    if activation := final_activation(model):
        raise ValueError(
            f"Expected models that give logits. Received: {model.name!r}, which ends in a "
            f"{activation}; pass `kdzoo.as_logits(model)`."
        )
    graph = shape_model(model)
    if graph is None or len(graph.outputs) != 1 or len(graph.outputs[0].shape) != 2:
        raise ValueError(
            "Expected models with a graph and one output of logits, (batch, classes). Received: "
            f"{model.name!r}"
        )


def _outputs_of(model: keras.Model) -> int:
    graph: Any = shape_model(model)
    return graph.outputs[0].shape[-1]
