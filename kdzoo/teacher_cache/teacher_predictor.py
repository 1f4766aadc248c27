"""The outputs of a teacher for some samples of a split: its logits, and those of its layers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.data.augmentation import Augmentation
from kdzoo.data.split import Split
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.outputs import OUTPUT_TYPES, OutputType, output_types
from kdzoo.graph.predictions import look_like_probabilities
from kdzoo.graph.taps import tapping
from kdzoo.utils import check_choice, shown

LOGITS = "logits"
_PROBES = 4  # Samples by whose logits a teacher is recognized.


class TeacherPredictor:
    """Computes a teacher's outputs for some samples of a split, augmented as in one of its views.

    Args:
        teacher: A `keras.Model` that gives logits.
        layers: Paths of the layers whose outputs are wanted too.
        transform: From a batch of images to what the teacher takes; None for the images.

    Raises:
        ValueError: If the transform is no function; when it is called, if there is not one output
            for each image.
    """

    def __init__(
        self,
        teacher: keras.Model,
        layers: Sequence[str] = (),
        transform: Callable[[np.ndarray], Any] | None = None,
    ):
        if transform is not None and not callable(transform):
            raise ValueError(
                "Expected teacher_transform to be a function of a batch of images, or None. "
                f"Received: teacher_transform={shown(transform)}"
            )
        self.transform = transform
        self.model = _tapped(teacher, layers)

    def __call__(
        self,
        data: Split,
        indices: np.ndarray,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        view: int = 0,
    ) -> dict[str, np.ndarray]:
        """Returns name -> array: the logits and, by its path, the output of each layer.

        Args:
            data: The `Split`.
            indices: Positions of the samples in it, integers (k,).
            augmentation: What changes the images, or None.
            seed: The seed of the augmentation.
            view: The number of the view, which the augmentation takes as the epoch.
        """
        images, _ = data.examples(indices)
        if augmentation is not None:
            images = augmentation(images, indices, seed, view)
        images = data.to_float(images)
        if self.transform is not None:
            images = keras.ops.convert_to_numpy(self.transform(images))
            _check_count("an image that teacher_transform gives", images, len(indices))
        outputs = self.model.predict_on_batch(images)
        for name, array in outputs.items():
            _check_count(f"an output in {name!r}", array, len(indices))
        return outputs

    def probe(self, data: Split, output_type: OutputType | None = None) -> list[list[float]]:
        """Returns the logits of the first samples, as an index keeps them.

        Args:
            data: The `Split`.
            output_type: What the outputs mean, where that is known.

        Raises:
            ValueError: If they are probabilities, and not known to be plain numbers.
        """
        logits = self(data, np.arange(min(_PROBES, len(data))))[LOGITS]
        if output_type != "numbers" and look_like_probabilities(logits, "classes"):
            raise ValueError(
                "Expected a teacher that gives logits. Received: probabilities, which sum to 1; "
                "pass `kdzoo.as_logits(teacher)`."
            )
        return logits.tolist()


def _check_count(what: str, array: np.ndarray, count: int) -> None:
    """Raises `ValueError` unless an array has something for each of so many images."""
    if np.shape(array)[:1] != (count,):
        raise ValueError(
            f"Expected {what} for each of {count} images. Received: shape {np.shape(array)}"
        )


def _tapped(teacher: keras.Model, layers: Sequence[str]) -> keras.Model:
    """Returns a model that gives the teacher's logits and, by its path, each layer's output."""

    class TappedTeacher(keras.Model):
        def call(self, images):
            with tapping(teacher, layers) as tapped:
                logits = teacher(images, training=False)
            leaves = keras.tree.flatten(logits)
            logits = leaves[0] if len(leaves) == 1 else logits  # One output may have a name.
            if not hasattr(logits, "shape"):
                raise ValueError(
                    "Expected a teacher with one output, its logits. Received: "
                    f"{teacher.name!r}, which gives a {type(logits).__name__}"
                )
            for path, output in tapped.items():
                if not hasattr(output, "shape"):
                    raise ValueError(
                        f"Expected layers with one output. Received: {path!r}, which gives a "
                        f"{type(output).__name__}"
                    )
            outputs = {LOGITS: logits, **tapped}
            return {name: keras.ops.cast(output, "float32") for name, output in outputs.items()}

    model = TappedTeacher(name="tapped_teacher", autocast=False)  # The teacher casts for itself.
    model.teacher = teacher  # So that its variables are known.
    return model


def check_teacher(teacher: Any) -> None:
    """Raises `ValueError` unless this is a model."""
    if not isinstance(teacher, keras.Model):
        raise ValueError(
            "Expected a keras.Model that gives logits, e.g. what `kdzoo.load(name)` returns. "
            f"Received: teacher={shown(teacher)}"
        )


def check_output_type(
    teacher: keras.Model, given: OutputType | None, top_k: int | None
) -> OutputType | None:
    """Returns what the caller says that a teacher's outputs mean, or raises.

    Args:
        teacher: The teacher.
        given: What the caller says; None for nothing.
        top_k: The number of the largest logits that are to be kept; None for all.

    Raises:
        ValueError: If the caller says something else, the teacher ends in a softmax or sigmoid and
            is not said to give numbers, or of other outputs than classes the largest are to be
            kept.
    """
    if given is not None:
        check_choice("output_type", given, OUTPUT_TYPES)
    found = output_types(teacher, given)[0]
    activation = final_activation(teacher)
    if activation is not None and found != "numbers":
        raise ValueError(
            "Expected a teacher that gives logits. Received: probabilities, as "
            f"{teacher.name!r} ends in a {activation}; pass `kdzoo.as_logits(teacher)`, or say "
            '`output_type="numbers"` if they are none.'
        )
    if top_k is not None and found in ("binary", "numbers"):
        raise ValueError(
            "Expected top_k=None, as the other outputs stand for classes that share a "
            f"probability. Received: top_k={top_k} for outputs of the type {found!r}; keep all, or "
            'say `output_type="classes"`.'
        )
    return found if given is None and found == "numbers" else given


def check_paths(layers: Any) -> list[str]:
    """Returns paths of layers, or one path, as a list, each of them once.

    Args:
        layers: What was given: paths, or one of them.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(layers, str | Iterable) or isinstance(layers, dict | np.ndarray | bytes):
        raise ValueError(f"Expected layers to be paths of layers. Received: layers={shown(layers)}")
    paths = [layers] if isinstance(layers, str) else list(layers)
    for path in paths:
        if not isinstance(path, str):
            raise ValueError(f"Expected layers to be paths of layers. Received: {shown(path)}")
    return list(dict.fromkeys(paths))


def check_image_shape(teacher: keras.Model, data: Split) -> None:
    """Raises `ValueError` if a teacher whose input is known takes images of another shape.

    Args:
        teacher: The teacher.
        data: The `Split`.
    """
    inputs: list = getattr(teacher, "inputs", None) or []
    if len(inputs) != 1:
        return
    wanted, found = tuple(inputs[0].shape[1:]), data.input_shape
    if len(wanted) != len(found):  # Keras adds or drops an axis of 1.
        return
    if any(size not in (None, given) for size, given in zip(wanted, found, strict=True)):
        raise ValueError(
            f"Expected a teacher for images of {found}, or a teacher_transform to what it takes. "
            f"Received: {teacher.name!r}, for {wanted}"
        )
