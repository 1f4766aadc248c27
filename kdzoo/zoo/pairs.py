"""Ready-made pairs: a trained teacher, a fresh student, and a Distiller of both in one line."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from kdzoo import data, losses
from kdzoo.distillation.distiller import Distiller
from kdzoo.zoo.building import create
from kdzoo.zoo.manifest import read_manifest
from kdzoo.zoo.pair_definitions import APPLICATIONS, PairDefinition, pair_definition
from kdzoo.zoo.pretrained import load


@dataclasses.dataclass(frozen=True)
class Pair(PairDefinition):
    """A teacher, a student, and how the student learns; `kdzoo.pair(name)` returns one.

    Attributes:
        name: `"<data set>_<student>"`, e.g. `"cifar10_separable_050"`.
        teacher: A name in `kdzoo.list_pretrained()`, or `"keras.applications.<Name>"`.
        student: A name in `kdzoo.list_models()`.
        dataset: Name of the data set in tensorflow-datasets.
        classes: Number of classes.
        input_shape: (height, width, channels) of the student's images.
        losses: For each distillation loss (name of a class in `kdzoo.losses`, its arguments, its
            weight).
        student_loss_weight: Weight of the loss on labels, in [0, 1].
        arguments: Further arguments of the student's builder.
        teacher_module: Module of `keras.applications` with the teacher's preprocessing; None if
            the teacher takes the student's images.
    """

    @property
    def taps(self) -> list[tuple[Any, Any]]:
        """(teacher layer, student layer) of each loss on layers, a list."""
        return [
            tap
            for loss in self.make_losses()
            for tap in zip(loss.teacher_layers, loss.student_layers, strict=True)
        ]

    def load_teacher(self) -> keras.Model:
        """Returns the trained teacher, whose outputs are logits.

        Keras downloads the weights of a teacher from `keras.applications` on the first call.

        Returns:
            A `keras.Model` from images (batch, height, width, channels), as `teacher_transform()`
            returns them, to logits (batch, classes).

        Raises:
            ValueError: If kdzoo does not ship the teacher yet.
            Exception: Keras's own, if a download fails.
        """
        if self.teacher.startswith(APPLICATIONS):
            build = getattr(keras.applications, self.teacher.removeprefix(APPLICATIONS))
            return build(classifier_activation=None)
        if self.teacher not in read_manifest():
            raise ValueError(
                f"Expected the pretrained teacher {self.teacher!r}. Received: a kdzoo that "
                "does not ship it yet; pass `teacher=` a model of your own."
            )
        return load(self.teacher)

    def create_student(self) -> keras.Model:
        """Returns the student with fresh weights, a `keras.Model` that ends in logits."""
        return create(self.student, self.classes, self.input_shape, **self.arguments)

    def make_losses(self) -> list[Any]:
        """Returns a list of new `kdzoo.losses.DistillationLoss` objects, one for each loss."""
        return [getattr(losses, name)(**arguments) for name, arguments, _ in self.losses]

    def distiller(
        self,
        teacher: keras.Model | None = None,
        student: keras.Model | None = None,
        **arguments: Any,
    ) -> Distiller:
        """Returns a `kdzoo.Distiller` of the pair, to be compiled and fitted.

        Args:
            teacher: A model in place of the pair's teacher; None for the pair's teacher. If that
                one has a preprocessing (`teacher_module`), pass `teacher_transform=` with the
                preprocessing of the model: None, or `teacher_transform()` for the pair's own.
            student: A model in place of a fresh student; None for a fresh one.
            **arguments: Further arguments of `kdzoo.Distiller`, in place of the pair's.

        Returns:
            A `kdzoo.Distiller`, not compiled, whose inputs are the student's images: float32
            (batch, height, width, channels) in [0, 1].

        Raises:
            ValueError: If kdzoo does not ship the teacher yet and none is passed, if another
                teacher is passed without `teacher_transform` where it is needed, or if
                `kdzoo.Distiller` refuses an argument.

        Example:

        ```python
        distiller = kdzoo.pair("mnist_mlp_2x800").distiller()
        distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        distiller.fit(x_train, y_train, epochs=10)
        distiller.student.save("student.keras")
        ```
        """
        if teacher is not None and self.teacher_module and "teacher_transform" not in arguments:
            raise ValueError(
                f"Expected `teacher_transform` beside `teacher`, as {self.teacher} has a "
                f"preprocessing of its own. Received: {teacher!r} alone; pass None, or "
                f"`kdzoo.pair({self.name!r}).teacher_transform()` for that preprocessing."
            )
        settings = {
            **({} if "distillation_losses" in arguments else self._weighted_losses()),
            "student_loss_weight": self.student_loss_weight,
            "teacher_transform": self.teacher_transform(),
            **arguments,
        }
        teacher = self.load_teacher() if teacher is None else teacher
        student = self.create_student() if student is None else student
        return Distiller(teacher, student, **settings)

    def _weighted_losses(self):
        return {
            "distillation_losses": self.make_losses(),
            "distillation_loss_weights": [weight for _, _, weight in self.losses],
        }

    def teacher_transform(self) -> Callable[[Any], Any] | None:
        """Returns the function from the student's images to the teacher's; None if none is needed.

        Networks of `keras.applications` take pixels in [0, 255], after a preprocessing of their
        own; the student's images are in [0, 1].
        """
        if self.teacher_module is None:
            return None
        preprocess = getattr(keras.applications, self.teacher_module).preprocess_input
        return lambda images: preprocess(255.0 * images)

    def load_data(self, **arguments: Any) -> data.Dataset:
        """Returns the pair's data set, loaded by `kdzoo.data.load`.

        The pairs for ImageNet have images of many sizes that fit into no memory: read those with
        tensorflow-datasets, resize them to `input_shape`, and pass the batches to `fit`.

        Args:
            **arguments: Further arguments of `kdzoo.data.load`, such as `data_dir`.

        Raises:
            ValueError: If the images are not of one size.
        """
        return data.load(self.dataset, **arguments)


def pair(name: str) -> Pair:
    """Returns the ready-made pair of teacher and student of this name.

    A pair trains in one `fit`. The recipe of the shipped student may do more: annealed weights,
    recorded augmentations, or a first stage of hint training (`fitnet_mnist`). The student's card
    (`kdzoo.card`) names the recipe.

    Args:
        name: A name in `kdzoo.list_pairs()`, e.g. `"cifar10_separable_050"`.

    Returns:
        A `kdzoo.zoo.Pair`.

    Raises:
        ValueError: If there is no such pair; the nearest is suggested.

    Example:

    >>> pair("cifar10_separable_050").student
    'separable_050'
    """
    return Pair(**vars(pair_definition(name)))
