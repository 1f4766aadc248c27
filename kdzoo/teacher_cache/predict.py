"""Asking a teacher about examples of a split, and telling teachers apart by what they answer."""

import hashlib
from collections.abc import Iterable

import numpy as np

from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.graph.outputs import are_probabilities
from kdzoo.utils import shown

LOGITS = "logits"
_PROBES = 4  # Examples by whose answers a teacher is recognized.


class Asking:
    """Asks a teacher about some examples of a split in one of its views.

    Args:
        teacher: A `keras.Model` that gives logits.
        layers: Paths of the layers whose outputs are wanted too.
        transform: From a batch of images to what the teacher takes; None for the images.

    Raises:
        ValueError: If the transform is no function; when it is called, if there is not one answer
            for each image.
    """

    def __init__(self, teacher, layers=(), transform=None):
        if transform is not None and not callable(transform):
            raise ValueError(
                "Expected teacher_transform to be a function of a batch of images, or None. "
                f"Received: teacher_transform={shown(transform)}"
            )
        self.transform = transform
        self.model = _asked(teacher, layers)

    def __call__(self, data, indices, augmentation=None, seed=0, view=0):
        """Returns name -> array: the logits and, by its path, the output of each layer."""
        images, _ = data.examples(indices)
        if augmentation is not None:
            images = augmentation(images, indices, seed, view)
        images = data.to_float(images)
        if self.transform is not None:
            import keras

            images = keras.ops.convert_to_numpy(self.transform(images))
            _check_count("an image that teacher_transform gives", images, len(indices))
        answer = self.model.predict_on_batch(images)
        for name, each in answer.items():
            _check_count(f"an answer in {name!r}", each, len(indices))
        return answer

    def probe(self, data):
        """Returns the logits of the first examples, a list, as an index keeps them.

        Raises:
            ValueError: If they are probabilities.
        """
        logits = self(data, np.arange(min(_PROBES, len(data))))[LOGITS]
        if are_probabilities(logits):
            raise ValueError(
                "Expected a teacher that gives logits. Received: probabilities, which sum to 1; "
                "pass `kdzoo.as_logits(teacher)`."
            )
        return logits.tolist()


def _check_count(what, array, count):
    """Raises `ValueError` unless an array has something for each of so many images."""
    if np.shape(array)[:1] != (count,):
        raise ValueError(
            f"Expected {what} for each of {count} images. Received: shape {np.shape(array)}"
        )


def check_teacher(teacher):
    """Raises `ValueError` unless this is a model."""
    import keras

    if not isinstance(teacher, keras.Model):
        raise ValueError(
            "Expected a keras.Model that gives logits, e.g. what `kdzoo.load(name)` returns. "
            f"Received: teacher={shown(teacher)}"
        )


def checked_paths(layers):
    """Returns paths of layers, or one path, as a list, each of them once."""
    if not isinstance(layers, str | Iterable) or isinstance(layers, dict | np.ndarray | bytes):
        raise ValueError(f"Expected layers to be paths of layers. Received: layers={shown(layers)}")
    layers = [layers] if isinstance(layers, str) else list(layers)
    for layer in layers:
        if not isinstance(layer, str):
            raise ValueError(f"Expected layers to be paths of layers. Received: {shown(layer)}")
    return list(dict.fromkeys(layers))


def check_images(teacher, data):
    """Raises `ValueError` if a teacher whose input is known takes images of another shape."""
    inputs = getattr(teacher, "inputs", None) or ()
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


def _asked(teacher, layers):
    """Returns a model that gives the teacher's logits and, by its path, each layer's output."""
    import keras

    from kdzoo.graph import taps

    class Asked(keras.Model):
        def call(self, images):
            with taps.tapping(teacher, layers) as tapped:
                logits = teacher(images, training=False)
            if not hasattr(logits, "shape"):
                raise ValueError(
                    "Expected a teacher with one output, its logits. Received: "
                    f"{teacher.name!r}, which gives a {type(logits).__name__}"
                )
            for path, each in tapped.items():
                if not hasattr(each, "shape"):
                    raise ValueError(
                        f"Expected layers with one output. Received: {path!r}, which gives a "
                        f"{type(each).__name__}"
                    )
            answer = {LOGITS: logits, **tapped}
            return {name: keras.ops.cast(each, "float32") for name, each in answer.items()}

    model = Asked(name="asked", autocast=False)  # The teacher casts for itself.
    model.teacher = teacher  # So that its variables are known.
    return model


def is_alike(probe, other):
    """Whether two probes are of one teacher: equal up to roundings, also in half precision."""
    probe, other = np.asarray(probe, "float64"), np.asarray(other, "float64")
    if probe.shape != other.shape:
        return False
    return bool(np.abs(probe - other).max(initial=0) <= 0.02 * np.abs(probe).max(initial=0))


def precision_of_model(model):
    """Returns the types that the layers of a model compute in, e.g. `["bfloat16", "float32"]`."""
    return sorted(
        {
            layer.compute_dtype
            for layer in flatten_layers(model)
            if not flatten_layers(layer, include_self=False, recursive=False)
        }
    )


def fingerprint_of_model(model, dtype=None):
    """Returns the SHA-256 of a model's weights in their order.

    Args:
        model: The `keras.Model`.
        dtype: What its floating-point weights are rounded to first; None for as they are.
    """
    found = hashlib.sha256()
    for weight in model.get_weights():
        if dtype is not None and weight.dtype.kind == "f":
            with np.errstate(over="ignore"):
                weight = weight.astype(dtype)
        found.update(repr((weight.shape, str(weight.dtype))).encode())
        found.update(np.ascontiguousarray(weight).tobytes())
    return found.hexdigest()
