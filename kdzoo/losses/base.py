"""What every distillation loss has in common: the layers it taps and one value per sample."""

import re

import keras
from keras import ops


@keras.saving.register_keras_serializable("kdzoo")
class DistillationLoss(keras.layers.Layer):
    """A loss between what the teacher says and what the student says.

    A subclass implements `call` and nothing else. It may own trainable parts, such as the
    regressor of a hint: it makes them in `build(teacher_shape, student_shape)`, the student's
    optimizer trains them, and the distiller's checkpoint keeps them. The delivered student never
    contains them.

    The arithmetic is float32 whatever the models compute in.

    Args:
        teacher_layer: Name of the teacher's layer whose output is taken, or `None` for the
            teacher's own output. A layer of a nested functional model has a path, such as
            `"backbone/stage2"`.
        student_layer: The same for the student.
        name: Name of the loss, shown in the metrics. Defaults to the class's name in snake case.

    Example:

    ```python
    class MeanAbsolute(kdzoo.losses.DistillationLoss):
        def call(self, teacher, student, labels=None):
            return keras.ops.mean(keras.ops.abs(teacher - student), axis=-1)
    ```
    """

    # Whether the tensors are read as logits: a model that ends in a softmax is then refused.
    expects_logits = False
    # Whether `call` takes all outputs of a model at once; otherwise it is called for each output.
    takes_structures = False

    def __init__(self, teacher_layer=None, student_layer=None, name=None):
        super().__init__(name=name or _snake_case(type(self).__name__), dtype="float32")
        self.teacher_layer = teacher_layer
        self.student_layer = student_layer
        self.supports_masking = True
        # Nothing is left to build unless a subclass makes weights.
        self.built = type(self).build is DistillationLoss.build

    def build(self, teacher_shape, student_shape):
        """Makes the loss's own weights, if it has any.

        Args:
            teacher_shape: Static shape of what `teacher_layer` gives, `(None, ...)`.
            student_shape: The same for `student_layer`.
        """

    def call(self, teacher, student, labels=None):
        """Returns the loss of each sample.

        Args:
            teacher: Output of `teacher_layer`, float, `(batch, ...)`.
            student: Output of `student_layer`, float, `(batch, ...)`.
            labels: The labels of the batch, integer `(batch,)` or one-hot `(batch, classes)`, or
                `None` where the data carry none.

        Returns:
            Float32 tensor of shape `(batch,)`.
        """
        raise TypeError(
            f"Expected `{type(self).__name__}` to implement "
            "`call(self, teacher, student, labels=None)` and return one value per sample."
        )

    def compute_output_shape(self, teacher_shape, student_shape=None, labels_shape=None):
        return (teacher_shape[0],)

    def get_config(self):
        return {
            "name": self.name,
            "teacher_layer": self.teacher_layer,
            "student_layer": self.student_layer,
        }


def mean_over_positions(values):
    """Averages `(batch, ...)` over everything but the batch, giving `(batch,)`."""
    axes = tuple(range(1, len(values.shape)))
    return ops.mean(values, axis=axes) if axes else values


def check_positive(name, value):
    """Returns `value` as a float, or raises unless it is a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"Expected `{name}` to be a positive number. Received: {name}={value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"Expected `{name}` to be above 0 and finite. Received: {name}={value}")
    return float(value)


def _snake_case(name):
    """`SoftTargets` -> `soft_targets`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
