"""What taps, export and the zoo need to know of models that compute in a way of their own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from kdzoo.graph.keras_internals import functional_of
from kdzoo.utils.types import PathLike


@dataclasses.dataclass(frozen=True)
class Exits:
    """A network of several exits in parts, which a file has as signatures.

    Attributes:
        parts: A model for each exit. The first takes the network's inputs, each other one what the
            part before gives after its logits. Each but the last gives a list, its logits first.
        confidence: How sure a prediction is, a name of `kdzoo.graph.confidence`.
        thresholds: The least confidence with which each exit but the last stops, or None.
        costs: The cost of a sample up to each exit.
    """

    parts: list[keras.Model]
    confidence: str
    thresholds: list[float] | None
    costs: list[float]


class Exportable:
    """Beside `keras.Model` or a layer: what one that computes in a way of its own says of itself.

    What a subclass does not say is as of a plain Keras model.
    """

    @property
    def is_being_compressed(self) -> bool:
        """Whether it must be stripped before it is compressed in another way."""
        return False

    @property
    def is_quantization_aware(self) -> bool:
        """Whether it knows the ranges of its activations, so that an export needs no data."""
        return False

    @property
    def has_seen_data(self) -> bool:
        """Whether it learned those ranges from data."""
        return True

    @property
    def layers_in_float(self) -> list[str]:
        """Paths of the layers whose kernels stay in float32 in an int8 file."""
        return []

    # A method, as Keras saves the weights of whatever it finds in a property.
    def graph_model(self) -> keras.Model | None:
        """Returns a functional model with the inputs and outputs of this one, or None."""
        return None

    def exits(self) -> Exits | None:
        """Returns the parts of a network of which an export makes a signature each, or None."""
        return None

    def alternatives(self) -> dict[str, keras.Model] | None:
        """Returns models of the same inputs of which an export makes a signature each, or None.

        By the names of the signatures. The first one is what runs where nobody names one.
        """
        return None

    def tapped_layer(self, path: str) -> Any | None:
        """Returns the layer whose `call` gives what a path names; None to look by names."""
        return None


class ExportsByGraph:
    """Beside `keras.Model`: one whose `export` finds the inputs in the graph, called or not."""

    def export(
        self,
        filepath: PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Writes an artifact for inference, as `keras.Model.export` does.

        Args:
            filepath: Where it is written.
            format: Such as `"tf_saved_model"`.
            verbose: Whether a message is printed.
            input_signature: Shapes and dtypes of the inputs; the model's own when None.
            **kwargs: Further arguments of `keras.Model.export`.
        """
        graph = shape_model(self)
        if input_signature is None and graph is not None:
            input_signature = [keras.tree.map_structure(_any_batch, graph.input)]
        super().export(  # type: ignore[misc]
            filepath, format, verbose, input_signature, **kwargs
        )


def _any_batch(tensor: keras.KerasTensor) -> keras.InputSpec:
    return keras.InputSpec(dtype=tensor.dtype, shape=(None, *tensor.shape[1:]))


class HasGraph(ExportsByGraph, Exportable):
    """Beside `keras.Model`: one that takes and gives what its `graph_model()` takes and gives."""

    graph_model: Callable[[], Any]

    @property
    def input(self) -> Any:
        """The symbolic inputs, in their structure."""
        return self.graph_model().input

    @property
    def output(self) -> Any:
        """The symbolic outputs, in their structure."""
        return self.graph_model().output

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """The symbolic inputs, a list."""
        return keras.tree.flatten(self.input)

    @property
    def outputs(self) -> list[keras.KerasTensor]:
        """The symbolic outputs, a list."""
        return keras.tree.flatten(self.output)

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, for `compile(loss={...})`."""
        return self.graph_model().output_names

    @property
    def input_shape(self) -> Any:
        """The shape of the input, with None for unknown sizes; a list for several inputs."""
        return self.graph_model().input_shape

    @property
    def output_shape(self) -> Any:
        """The shape of the output, with None for unknown sizes; a list for several outputs."""
        return self.graph_model().output_shape

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.graph_model().compute_output_shape(input_shape)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        return self.graph_model().compute_output_spec(inputs)


class TrainsStudent(ExportsByGraph):
    """Beside `keras.Model`: one that trains another, its `student`."""

    student: keras.Model

    def prepare(self, data: Any, y: Any = None) -> None:
        """Makes weights that only the data tell of, before a checkpoint is loaded; none here.

        Args:
            data: What `fit` takes as `x`.
            y: What `fit` takes as `y`, if the data are arrays.
        """


_PLAIN = Exportable()


def exportable(model: Any) -> Exportable:
    """Returns what a model or layer says of itself."""
    return model if isinstance(model, Exportable) else _PLAIN


def student_of(model: Any) -> keras.Model | None:
    """Returns the model that one trains, or None if it trains no other.

    Args:
        model: Any model; one that trains another is a `keras.Model` with a `keras.Model` as its
            `student`, such as kdzoo's `Distiller`, Keras's, or a user's own.
    """
    student = getattr(model, "student", None) if isinstance(model, keras.Model) else None
    return student if isinstance(student, keras.Model) else None


def shape_model(model: Any) -> keras.Model | None:
    """Returns a functional or sequential model with the inputs and outputs of one, or None.

    Args:
        model: A `keras.Model`; of one that trains another, that counts.
    """
    student = student_of(model)
    model = model if student is None else student
    if isinstance(model, Exportable):
        return model.graph_model()
    is_graph = isinstance(model, keras.Model) and functional_of(model) is not None
    return model if is_graph else None
