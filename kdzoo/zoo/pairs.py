"""Ready-made pairs: which student learns what from which teacher, and a Distiller in one line."""

import copy
import dataclasses

from kdzoo.utils import check_choice
from kdzoo.zoo.manifest import read_manifest
from kdzoo.zoo.pretrained import load
from kdzoo.zoo.registry import create

_APPLICATIONS = "keras.applications."


@dataclasses.dataclass(frozen=True)
class Pair:
    """A teacher, a student, and how the one teaches the other; `kdzoo.pair(name)` returns it.

    Attributes:
        name: `"<data set>_<student>"`, e.g. `"cifar10_separable_050"`; as `list_pairs()` has it.
        teacher: A name that `kdzoo.load` knows, or `"keras.applications.<Name>"`.
        student: A name that `kdzoo.create` knows.
        dataset: Name of the data set, as tensorflow-datasets knows it.
        classes: Number of classes.
        input_shape: (height, width, channels) of the student's images.
        losses: The distillation losses, each as (name of a class in `kdzoo.losses`, its arguments,
            its weight).
        student_loss_weight: Share of the loss on labels, in [0, 1].
        arguments: Further arguments of the student's builder.
        teacher_module: Module of `keras.applications` with the teacher's preprocessing.
    """

    name: str
    teacher: str
    student: str
    dataset: str
    classes: int
    input_shape: tuple
    losses: tuple = (("SoftTargets", {"temperature": 4.0}, 1.0),)
    student_loss_weight: float = 0.1
    arguments: dict = dataclasses.field(default_factory=dict)
    teacher_module: str | None = None

    @property
    def taps(self):
        """(teacher layer, student layer) for each loss on layers, a list."""
        made = self.make_losses()
        return [
            pair
            for loss in made
            for pair in zip(loss.teacher_layers, loss.student_layers, strict=True)
        ]

    def load_teacher(self):
        """Returns the trained teacher, which gives logits.

        Those of `keras.applications` are downloaded by Keras when they are first asked for.

        Returns:
            A `keras.Model` from images (batch, height, width, channels), as `teacher_transform()`
            gives them, to logits (batch, classes).

        Raises:
            ValueError: If kdzoo does not ship the teacher yet.
            Exception: Keras's own, if a download fails.
        """
        if not self.teacher.startswith(_APPLICATIONS):
            if self.teacher not in read_manifest():
                raise ValueError(
                    f"Expected the pretrained teacher {self.teacher!r}. Received: a kdzoo that "
                    "does not ship it yet; pass `teacher=` a model of your own."
                )
            return load(self.teacher)
        import keras

        build = getattr(keras.applications, self.teacher.removeprefix(_APPLICATIONS))
        return build(classifier_activation=None)

    def create_student(self):
        """Returns the student with fresh weights."""
        return create(self.student, self.classes, self.input_shape, **self.arguments)

    def make_losses(self):
        """Returns the loss objects, a list."""
        from kdzoo import losses

        return [getattr(losses, name)(**arguments) for name, arguments, _ in self.losses]

    def distiller(self, teacher=None, student=None, **arguments):
        """Returns a `kdzoo.Distiller` of the pair, to be compiled and fitted.

        Args:
            teacher: A model in place of the pair's teacher; the pair's own when None. Where that
                one has a preprocessing, say by `teacher_transform=` what this one needs: None, or
                `teacher_transform()` for the same.
            student: A model in place of a fresh student; a fresh one when None.
            **arguments: Further arguments of `kdzoo.Distiller`.

        Returns:
            A `kdzoo.Distiller`, not compiled, whose inputs are the student's images: float32
            (batch, height, width, channels) in [0, 1].

        Raises:
            ValueError: If kdzoo does not ship the teacher yet and none is given, it is not said
                which preprocessing another teacher needs, or as in `kdzoo.Distiller`.

        Example:

        ```python
        distiller = kdzoo.pair("mnist_mlp_2x800").distiller()
        distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        distiller.fit(x_train, y_train, epochs=10)
        ```
        """
        from kdzoo.distillation.distiller import Distiller

        if teacher is not None and self.teacher_module and "teacher_transform" not in arguments:
            raise ValueError(
                f"Expected `teacher_transform` beside `teacher`, as {self.teacher} has a "
                f"preprocessing of its own. Received: {teacher!r} alone; pass None, or "
                f"`kdzoo.pair({self.name!r}).teacher_transform()` for the same."
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

    def teacher_transform(self):
        """Returns the function from the student's images to the teacher's; None if none is needed.

        Networks of `keras.applications` have a preprocessing of their own, of pixels up to 255.
        """
        if self.teacher_module is None:
            return None
        import keras

        preprocess = getattr(keras.applications, self.teacher_module).preprocess_input
        return lambda images: preprocess(255.0 * images)

    def load_data(self, **arguments):
        """Returns the data set, as `kdzoo.data.load` does, with the same further arguments.

        Not of the pairs for ImageNet, whose images are of many sizes and fit into no memory: read
        them with tensorflow-datasets, resize them to `input_shape`, and pass the batches to `fit`.

        Raises:
            ValueError: If the images are not of one size.
        """
        from kdzoo import data

        return data.load(self.dataset, **arguments)


_PAIRS = {}


def pair(name):
    """Returns the ready-made pair of teacher and student of this name.

    A pair trains in one `fit`. The recipe that trained the shipped student may do more: annealed
    weights, recorded views, for `fitnet_mnist` a first stage of hints; its card names the recipe.

    Args:
        name: A name in `list_pairs()`, e.g. `"cifar10_separable_050"`.

    Returns:
        A `kdzoo.zoo.Pair`.

    Raises:
        ValueError: If there is no such pair; the nearest is suggested.

    Example:

    >>> pair("cifar10_separable_050").student
    'separable_050'
    """
    check_choice("pair", name, _PAIRS)
    return copy.deepcopy(_PAIRS[name])  # It holds dictionaries, which may be changed.


def list_pairs(dataset=None):
    """Returns the names that `pair` knows.

    Args:
        dataset: Only pairs for this data set; all when None.

    Returns:
        A list of names.

    Raises:
        ValueError: If there is no pair for the data set; the nearest is suggested.
    """
    known = {each.dataset for each in _PAIRS.values()}
    if dataset is not None:
        check_choice("data set with pairs", dataset, known)
    return [name for name, each in _PAIRS.items() if dataset in (None, each.dataset)]


def _add(dataset, student, teacher, classes, input_shape, **settings):
    name = f"{dataset}_{student.removesuffix(f'_{dataset}')}"
    _PAIRS[name] = Pair(name, teacher, student, dataset, classes, input_shape, **settings)


def _soft_targets(temperature):
    return (("SoftTargets", {"temperature": temperature}, 1.0),)


def _add_all():
    digits = (10, (28, 28, 1))
    _add("mnist", "mlp_2x800", "mlp_2x1200/mnist", *digits, losses=_soft_targets(20.0))
    _add("mnist", "fitnet_mnist", "maxout_mnist/mnist", *digits, losses=_soft_targets(3.0))
    for student in ("lenet_300_100", "lenet_5", "separable_025"):
        arguments = {"halvings": 1} if student == "separable_025" else {}
        _add("mnist", student, "wide_resnet_16_1/mnist", *digits, arguments=arguments)
    for hundredths in (25, 50, 100):
        student = f"separable_{hundredths:03d}"
        teacher = "wide_resnet_16_2/fashion_mnist"
        _add("fashion_mnist", student, teacher, *digits, arguments={"halvings": 1})
    separable = ("separable_025", "separable_050", "separable_100")
    for student in (*separable, "fitnet_1", "wide_resnet_16_1"):
        _add("cifar10", student, "wide_resnet_16_4/cifar10", 10, (32, 32, 3))
    _add(
        "cifar100",
        "resnet_20",
        "wide_resnet_16_2/cifar100",
        100,
        (32, 32, 3),
        student_loss_weight=0.5,
    )
    for hundredths, teacher, module in (
        (50, "EfficientNetB0", "efficientnet"),
        (100, "ResNet50", "resnet"),
    ):
        _add(
            "imagenet2012",
            f"separable_{hundredths:03d}",
            f"{_APPLICATIONS}{teacher}",
            1000,
            (224, 224, 3),
            teacher_module=module,
        )


_add_all()
