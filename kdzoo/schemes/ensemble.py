"""Several trained models as one teacher, recorded one after another, in the memory of one."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import keras

from kdzoo.data import Augmentation, Split
from kdzoo.teacher_cache.averaged_records import AVERAGES, Average
from kdzoo.teacher_cache.recorded_split import RecordedSplit, with_recorded_teacher
from kdzoo.teacher_cache.recording import record_teacher
from kdzoo.utils import check_choice, check_directory, shown
from kdzoo.utils.types import PathLike

Member: TypeAlias = keras.Model | Callable[[], keras.Model]


def ensemble(
    members: Sequence[Member],
    data: Split,
    directory: PathLike,
    *,
    average: Average = "logits",
    views: int = 1,
    augmentation: Augmentation | Literal["default"] | None = None,
    **options: Any,
) -> RecordedSplit:
    """Records the members of an ensemble one after another, for students that learn from all.

    The outputs are averaged as they are read, so that ten teachers take no more memory than one,
    and predict once for all students. The same call goes on with what was broken off, and predicts
    nothing again of members that are recorded.

    Args:
        members: Models that give logits of the same classes, or functions without arguments that
            return one, such as `lambda: kdzoo.load_model(path)`: it is let go before the next.
        data: A `kdzoo.data.Split`, usually `dataset.train`.
        directory: Where each member has a directory for its record, `member-1` and so on.
        average: `"logits"` for the mean of the logits, the geometric mean of the distributions, or
            `"probabilities"` for the logarithm of the mean of the softmaxes, the arithmetic mean.
        views: How many times each image is seen, each time augmented anew; 1 without augmentation.
        augmentation: A `kdzoo.data.Augmentation`, `"default"` for the usual one of the data set, or
            None.
        **options: Further arguments of `kdzoo.data.record_teacher`: `seed`, `dtype`, `batch_size`,
            `top_k`, `teacher_transform`, `output_type`.

    Returns:
        The split with the ensemble's outputs beside its samples, for a `kdzoo.Distiller` of
        `teacher=None`.

    Raises:
        ValueError: If there is no member, one is neither a model nor a function that returns one,
            they differ in classes, an argument is out of range, or a directory holds the record of
            another model or data set.

    Example:

    ```python
    recorded = kdzoo.schemes.ensemble(
        members, data.train, "runs/ensemble", views=30, augmentation="default"
    )
    distiller = kdzoo.Distiller(None, student, kdzoo.losses.SoftTargets(4.0))
    distiller.compile("adam", loss)
    distiller.fit(recorded.batches(128, shuffle=True), epochs=30)
    ```

    Reference: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015,
    arXiv:1503.02531, section 4.
    """
    if not isinstance(members, list | tuple) or not members:
        raise ValueError(
            "Expected a list of models, or of functions that return one. Received: "
            f"members={shown(members)}"
        )
    check_choice("average", average, AVERAGES)
    directory = check_directory(directory)
    directories = [directory / f"member-{number}" for number in range(1, len(members) + 1)]
    for number, path in enumerate(directories):
        model = _made(members[number], number)
        record_teacher(model, data, path, views, augmentation=augmentation, **options)
        del model
    return with_recorded_teacher(data, directories, average=average)


def _made(member: Any, number: int) -> keras.Model:
    """The model of a member."""
    model = member if isinstance(member, keras.Model) or not callable(member) else member()
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected a keras.Model, or a function that returns one. Received: "
            f"members[{number}]={shown(model)}"
        )
    return model
