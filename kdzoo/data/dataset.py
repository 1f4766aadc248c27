"""Labelled images in memory, split into what is trained on, chosen by and tested on."""

import dataclasses

import numpy as np

from kdzoo.data import augmentation as augmentations
from kdzoo.data import image_checks, randomness
from kdzoo.utils import (
    check_flag,
    check_fraction,
    check_integer,
    check_numeric_array,
    check_positive_integer,
    check_text,
    is_number,
    shown,
)

VALIDATION_FRACTION = 0.1
_VALIDATION_SEED = 20150309
_MOST_CLASSES = 1 << 24
_LARGEST_FACTOR = 64
_LARGEST_SCALE = 1 << 16


class Split:
    """One part of a data set: images in memory as they were stored, float32 in [0, 1] when they
    leave.

    Args:
        images: Array (n, height, width, channels), uint8 or float32.
        labels: int32 array (n,).
        scale: Value that stands for white; images are divided by it. 1 for float32 images.
        indices: Which examples of the arrays belong to the split, or None for all. Two splits may
            share their arrays.
        name: Name of the data set, which decides what `augmentation="default"` means.
    """

    def __init__(self, images, labels, scale=255, indices=None, name="arrays"):
        self.images = images
        self.labels = labels
        self.scale = scale
        self.indices = indices
        self.name = name

    def __len__(self):
        return len(self.labels) if self.indices is None else len(self.indices)

    def __repr__(self):
        return f"<Split of {self.name}: {len(self)} images of {self.input_shape}>"

    @property
    def input_shape(self):
        """Shape (height, width, channels) of one image."""
        return tuple(self.images.shape[1:])

    def arrays(self):
        """Returns float32 images (n, height, width, channels) in [0, 1] and int32 labels (n,)."""
        images, labels = self.examples(np.arange(len(self)))
        return self.to_float(images), labels

    def examples(self, indices):
        """Returns some images as they are stored, and their labels.

        Args:
            indices: Positions in this split, integers (k,).

        Returns:
            Images (k, height, width, channels) of the stored type, and labels int32 (k,).

        Raises:
            ValueError: If they are no positions.
        """
        indices = image_checks.check_positions(indices, len(self))
        if self.indices is not None:
            indices = self.indices[indices]
        return self.images[indices], self.labels[indices]

    def to_float(self, images):
        """Returns stored images as float32 in [0, 1]."""
        if images.dtype == np.float32:
            return images
        return np.divide(images, np.float32(self.scale), dtype=np.float32)

    def subset(self, indices):
        """Returns the split that consists of some examples of this one, without copying images.

        Args:
            indices: Positions in this split, integers (k,).

        Raises:
            ValueError: If there is none, or they are no positions.
        """
        indices = image_checks.check_positions(indices, len(self))
        if not indices.size:
            raise ValueError("Expected the position of at least one example. Received: indices=[]")
        if self.indices is not None:
            indices = self.indices[indices]
        return Split(self.images, self.labels, self.scale, indices, self.name)

    def batches(
        self,
        batch_size=128,
        shuffle=False,
        augmentation=None,
        seed=0,
        initial_epoch=0,
        drop_remainder=False,
        indices=False,
        answers=None,
    ):
        """Returns batches to give to `fit`, `evaluate` or `predict`.

        Every pass is one epoch. The first is number `initial_epoch`; each `fit` that is given the
        same object goes on with the next, so give each training its own `batches(...)`. Order and
        augmentation follow from (seed, epoch, example) alone: a training that stops after epoch k
        and goes on with `initial_epoch=k`, here and in `fit`, sees what it would have seen
        undisturbed, and every backend sees the same.

        Args:
            batch_size: Number of images in a batch.
            shuffle: Whether every epoch has a random order of its own.
            augmentation: An `Augmentation`, "default" for the usual one of this data set, or None.
            seed: Integer that decides order and augmentation.
            initial_epoch: Number of the first epoch.
            drop_remainder: Whether the last batch is left out when it is not full.
            indices: Whether the labels come as `{"label": labels, "index": positions}`, with the
                position of each example in this split, as a Distiller hands it to losses that
                keep something for each example.
            answers: A teacher's logits for each example of this split, array (n, classes), as
                `teacher.predict(split.arrays()[0])` gives them, or, for losses that tap layers,
                `{"logits": logits, "<layer>": features}`. The labels then come as `{"label":
                labels, "teacher": answers}`, for a Distiller with `teacher=None`. They are answers
                to the images as they are: leave them out where images are augmented.

        Returns:
            (images, labels) batch by batch, float32 (batch, height, width, channels) in [0, 1] and
            int32 (batch,): a `tf.data.Dataset` on the TensorFlow backend, a
            `keras.utils.PyDataset` of NumPy arrays on others.

        Raises:
            ValueError: An argument is not as described.

        Example (Keras warns when `fit` is not told that the batches are shuffled already):

        ```python
        data = kdzoo.data.load("fashion_mnist")
        batches = data.train.batches(128, shuffle=True, augmentation="default")
        validation = data.validation.batches(500)
        model.fit(batches, epochs=10, validation_data=validation, shuffle=False)
        ```
        """
        from kdzoo.data import batches

        batch_size = check_positive_integer("batch_size", batch_size)
        initial_epoch = check_integer("initial_epoch", initial_epoch, 0)
        seed = check_integer("seed", seed, 0)
        shuffle, indices = check_flag("shuffle", shuffle), check_flag("indices", indices)
        drop_remainder = check_flag("drop_remainder", drop_remainder)
        augmentation = augmentations.resolve(augmentation, self.name)
        if answers is not None:
            answers = self._check_answers(answers, augmentation)
        maker = batches.BatchMaker(
            self, batch_size, shuffle, augmentation, seed, drop_remainder, indices, answers
        )
        return batches.make(maker, initial_epoch)

    def _check_answers(self, answers, augmentation):
        """Returns the answers as arrays, or raises unless there is one for each plain image."""
        from kdzoo.teacher_cache.reading import Record

        if isinstance(answers, Record):  # It brings the augmentation with it.
            return answers
        structured = isinstance(answers, dict)
        named = answers if structured else {"": answers}
        parts = {key: check_numeric_array("answers", value) for key, value in named.items()}
        if not parts:
            raise ValueError("Expected the teacher's logits as answers. Received: answers={}")
        for name, part in parts.items():
            if part.ndim < 2 or len(part) != len(self):
                raise ValueError(
                    f"Expected an answer for each of the {len(self)} examples. Received: "
                    f"{len(part) if part.ndim > 1 else 'no'} answers{name and f' under {name!r}'}"
                )
        if augmentation is not None:
            raise ValueError(
                "Expected no augmentation beside `answers`, which the teacher gave to the images "
                f"as they are. Received: augmentation={augmentation}"
            )
        return parts if structured else parts[""]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Labelled images in splits.

    Attributes:
        name: Name of the data set.
        class_names: What each class is called, tuple of `classes` strings.
        train: The `Split` to train on.
        validation: The `Split` to choose hyperparameters and epochs by, or None.
        test: The `Split` to report on, or None.
        version: Version of the data set, as its source numbers them, or None.
    """

    name: str
    class_names: tuple
    train: Split
    validation: Split | None
    test: Split | None
    version: str | None = None

    @property
    def classes(self):
        """Number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self):
        """Shape (height, width, channels) of one image."""
        return self.train.input_shape

    def enlarged(self, factor):
        """Returns the data set with every pixel as a square of pixels.

        Args:
            factor: Side of the square, from 1 to 64.

        Raises:
            ValueError: If it is another number.

        Example:

        >>> data = from_arrays(np.zeros((20, 8, 8, 1), "uint8"), np.arange(20) % 2)
        >>> data.enlarged(2).input_shape
        (16, 16, 1)
        """
        factor, splits = check_positive_integer("factor", factor, _LARGEST_FACTOR), {}
        for part in ("train", "validation", "test"):
            split = getattr(self, part)
            if split is not None:
                images, labels = split.examples(np.arange(len(split)))
                images = images.repeat(factor, axis=1).repeat(factor, axis=2)
                split = Split(images, labels, split.scale, None, split.name)
            splits[part] = split
        return Dataset(self.name, self.class_names, **splits, version=self.version)


def from_arrays(
    x, y, classes=None, validation=None, test=None, class_names=None, name="arrays", scale=255
):
    """Makes a data set of arrays that are already in memory.

    Args:
        x: Images to train on, (n, height, width, channels) or (n, height, width), uint8 or floating
            point in [0, 1].
        y: Their classes, integers (n,).
        classes: Number of classes. None: as many as there are `class_names`, or else the largest
            label plus one.
        validation: What to choose by: (images, labels), or the fraction of `x` to hold out, each
            class in proportion; None is a tenth, 0 holds nothing out. The choice depends only on
            the labels and is the same at every call.
        test: What to test on, (images, labels), or None.
        class_names: What each class is called. None: "0", "1", ….
        name: Name of the data set.
        scale: Value that stands for white in uint8 images.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: Images or labels are not as described; the error says which, and the remedy.

    Example:

    >>> images = np.zeros((20, 8, 8, 1), "uint8")
    >>> data = from_arrays(images, np.arange(20) % 2)
    >>> data.classes, len(data.train), len(data.validation)
    (2, 18, 2)
    """
    name, scale = check_text("name", name), _check_scale(scale)
    images = image_checks.check_images(x, "x")
    labels = image_checks.check_labels(y, count=len(images), name="y")
    if classes is not None:
        classes = check_positive_integer("classes", classes, _MOST_CLASSES)
    if class_names is None:
        classes = labels.max() + 1 if classes is None else classes
        class_names = tuple(str(label) for label in range(classes))
    if classes not in (None, len(class_names) if hasattr(class_names, "__len__") else None):
        raise ValueError(
            f"Expected one name for each of {classes} classes. Received: "
            f"class_names={shown(class_names)}"
        )
    _check_names(class_names)
    names = tuple(class_names)
    train = _split(images, labels, "x", "y", len(names), None, scale, name)
    if test is not None:
        test = _split(*_pair("test", test), len(names), train, scale, name)
    if isinstance(validation, tuple | list):
        held_out = _split(*_pair("validation", validation), len(names), train, scale, name)
    else:
        train, held_out = hold_out(train, validation)
    return Dataset(name, names, train, held_out, test)


def hold_out(train, fraction=None):
    """Splits off validation examples, each class in proportion, always the same ones.

    Args:
        train: A `Split`.
        fraction: Part of the examples to hold out, from 0 to below 1. None: a tenth.

    Returns:
        What is left to train on and what was held out, two `Split`s on the same arrays; the second
        is None when the fraction holds out nothing.

    Raises:
        ValueError: The fraction is out of range.
    """
    fraction = VALIDATION_FRACTION if fraction is None else fraction
    fraction = check_fraction("validation", fraction)
    count = min(round(len(train) * fraction), len(train) - 1)
    if not count:
        return train, None
    labels = train.labels if train.indices is None else train.labels[train.indices]
    chosen = randomness.stratified_choice(labels, count, _VALIDATION_SEED)
    rest = np.setdiff1d(np.arange(len(train)), chosen)
    return train.subset(rest), train.subset(chosen)


def _check_names(names):
    """Raises unless there are names of classes, strings."""
    if not isinstance(names, list | tuple | np.ndarray) or not all(
        isinstance(name, str) for name in names
    ):
        raise ValueError(
            f"Expected class_names to be a list of strings. Received: class_names={shown(names)}"
        )


def _check_scale(scale):
    """Returns the value that stands for white, or raises unless pixels can be divided by it."""
    if not is_number(scale) or not 0 < scale <= _LARGEST_SCALE:
        raise ValueError(
            f"Expected scale to be the value of white, above 0 and at most {_LARGEST_SCALE}. "
            f"Received: scale={shown(scale)}"
        )
    return scale


def _pair(name, given):
    """Returns images and labels that were given together, and the names of each."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(
            f"Expected {name} to be a pair (images, labels). Received: {name} of type "
            f"{type(given).__name__}"
        )
    return *given, f"{name}[0]", f"{name}[1]"


def _split(images, labels, images_name, labels_name, classes, like, scale, name):
    """Checks arrays and makes a `Split` of them, whose images are shaped like those of `like`."""
    images = image_checks.check_images(images, images_name)
    labels = image_checks.check_labels(labels, classes, len(images), labels_name)
    if like is not None and images.shape[1:] != like.input_shape:
        raise ValueError(
            f"Expected images of one shape, {like.input_shape}, in every split. Received: "
            f"{images_name} of shape {images.shape}."
        )
    if images.dtype == np.uint8 and images.max() > scale:
        raise ValueError(
            f"Expected images in [0, {scale}], the scale of this data set. Received: {images_name} "
            f"with a pixel of {images.max()}."
        )
    return Split(images, labels, 1 if images.dtype == np.float32 else scale, None, name)
