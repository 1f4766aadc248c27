"""A teacher from a file: a trained model of the user's, which teaches as it is."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import Built, Stage, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.graph import as_logits as logits
from kdzoo.graph import input_scale
from kdzoo.utils import check_choice, check_text, digest_of_file
from kdzoo.utils.hashed_json import digest as digest_of_bytes
from kdzoo.utils.types import PathLike
from kdzoo.zoo import file_formats, model_loading, shared_directory

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext

_REMEDY = "by `--teacher-scale`, or `scale=` of a `TeacherFile`"


@register
@dataclasses.dataclass(frozen=True)
class TeacherFile(Stage):
    """Takes a trained model from a file or directory, for images in [0, 1] of the data set's size.

    A softmax or sigmoid at its end is taken away, images are resized to its own size, and scaled as
    it takes them. It may have seen the images that are held out.

    Attributes:
        sha256: Of the file, or of all files of the directory, which identifies the teacher;
            `teacher_file` finds it out.
        scale: What it takes for pixels, one of `kdzoo.graph.input_scale.SCALES`; None to find it in
            its first layers.
        model: Where the file or the directory is; this is no part of the stage's identity.
    """

    sha256: str
    scale: str | None = None
    model: str = dataclasses.field(kw_only=True, metadata={"identifies": False})

    trains: ClassVar[bool] = False
    has_architecture: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return pathlib.Path(self.model).name or self.model

    def built_from(self, sources: Mapping[str, Built]) -> Built:
        return self.title, {}

    def check(self) -> None:
        super().check()
        check_text("sha256", self.sha256)
        check_text("model", self.model)
        if self.scale is not None:
            check_choice("scale", self.scale, input_scale.SCALES)

    def own_model(self, data: "Dataset") -> "keras.Model":
        if digest(self.model) != self.sha256:
            raise ValueError(
                f"Expected {self.model} with the SHA-256 {self.sha256[:12]}.... Received: another "
                "file there"
            )
        model = load(self.model)
        scale = self.scale or input_scale.found_scale(model)
        if scale is None:
            raise ValueError(
                f"Expected to know what {self.model} takes for pixels, one of "
                f"{', '.join(input_scale.SCALES)}; say it {_REMEDY}. Received: none, and a model "
                "whose first layers do not tell"
            )
        teacher = input_scale.for_images(logits.as_logits(model), data.input_shape, scale)
        classes = teacher.output_shape[-1]
        if len(teacher.output_shape) != 2 or classes != data.classes:
            raise ValueError(
                f"Expected a teacher of the {data.classes} classes of {data.name!r}. Received: "
                f"{self.model}, which gives outputs of shape {tuple(model.output_shape)}"
            )
        return teacher

    def run(self, context: "StageContext") -> Outcome:
        model = self.own_model(context.data)
        return Outcome({"model": model}, measure(model, context.data), seconds=0.0)


def teacher_file(name: str, path: PathLike, scale: str | None = None) -> TeacherFile:
    """Returns the stage of a teacher from a file, with one seed.

    Args:
        name: Names the stage.
        path: The file of the model, or the directory that `save_pretrained` wrote.
        scale: What it takes for pixels; None to find it in its first layers.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    return TeacherFile(name, digest(path), scale, model=os.fspath(path), seeds=(0,))


def load(path: PathLike) -> "keras.Model":
    """Returns the model of a file, not compiled; this is the only place that opens a teacher's.

    Raises:
        ValueError: If it is no file of a model, or of one that has no graph.
    """
    model = model_loading.load_model(path)
    if not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a functional or sequential model as a teacher. Received: "
            f"{os.fspath(path)}, of a {type(model).__name__}"
        )
    return model


def digest(path: PathLike) -> str:
    """Returns the SHA-256 of a teacher's file, in hexadecimal; of a directory that of a list.

    The list has the name and the SHA-256 of each file in the directory and below, in order.

    Raises:
        FileNotFoundError: If there is none, or a directory without a configuration.
        ValueError: If it is none of a model.
    """
    if file_formats.format_of(path) != "pretrained":
        return digest_of_file(path)
    directory = pathlib.Path(path)
    shared_directory.read_config(directory)
    names = (
        file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file()
    )
    listed = [(name, digest_of_file(directory / name)) for name in sorted(names)]
    return digest_of_bytes(json.dumps(listed).encode())
