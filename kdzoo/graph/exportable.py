"""What taps, export and the zoo need to know of models that compute in a way of their own."""

from typing import Any

import keras

from kdzoo.graph.keras_internals import functional_of


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

    def tapped_layer(self, path: str) -> Any | None:
        """Returns the layer whose `call` gives what a path names; None to look by names."""
        return None


class TrainsStudent:
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
