"""Where `kdzoo compress` works: a directory for each model, and each way to compress it."""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdzoo.cli import data as data_command
from kdzoo.cli import model_files
from kdzoo.utils import digest_of_file, write_text

if TYPE_CHECKING:
    from kdzoo.experiments import Compression

_IDENTITY = "compressed_from.txt"  # In the directory: a hash of what is compressed, and how.


def identity_of(
    files: Sequence[pathlib.Path],
    compression: "Compression",
    data: str,
    image_size: str | None,
    crop: bool,
    seed: int,
    scale: str | None = None,
) -> str:
    """Returns a hash of what is compressed, and how; without starting Keras.

    Args:
        files: Of the model and, if there is one, the teacher.
        compression: What is done to it.
        data: What the user calls the data; every spelling of a path is one.
        image_size: What was given as `--image-size`.
        crop: Whether a folder's images are cropped.
        seed: Of order and augmentation.
        scale: What was given as `--scale`.
    """
    from kdzoo.experiments.stage_settings import settings_of

    # What earlier versions did not know is in it only where it is given.
    name, rest = data_command.plain_name(data), filter(None, [scale])
    how = [settings_of(compression), name, image_size, crop, seed, *rest]
    content = json.dumps([*map(digest_of_file, files), how])
    return hashlib.sha256(content.encode()).hexdigest()


def work_directory(
    given: pathlib.Path | None, stem: str, identity: str, compression: "Compression"
) -> pathlib.Path:
    """Returns where checkpoints and the model go, which holds nothing of another model or way.

    Args:
        given: What was given as `--directory`.
        stem: What the names of files that belong to the model begin with.
        identity: What `identity_of` returns.
        compression: What is done to the model.

    Raises:
        ValueError: If the directory that was given holds something else.
    """
    usual = pathlib.Path("runs") / f"compress-{stem}"
    work = model_files.check_run_directory(given or usual)
    if not _is_of_another(work, identity, compression):
        return work
    if given is None:
        return model_files.check_run_directory(usual.with_name(f"{usual.name}-{identity[:8]}"))
    raise ValueError(
        "Expected a --directory without what was made of another model, or in another way. "
        f"Received: {work}, which has some"
    )


def mark(work: pathlib.Path, identity: str, is_done: bool = False) -> None:
    """Writes down what a directory is of.

    Args:
        work: The directory.
        identity: What `identity_of` returns.
        is_done: Whether all was made. Before, what an earlier version left may be of another model.
    """
    if is_done or not _is_in_use(work) or (work / _IDENTITY).is_file():
        write_text(work / _IDENTITY, identity)


def _is_in_use(work: pathlib.Path) -> bool:
    """Whether there are checkpoints or a model."""
    return any(path.is_dir() or path.suffix == ".keras" for path in work.iterdir())


def _is_of_another(work: pathlib.Path, identity: str, compression: "Compression") -> bool:
    """Whether a directory has checkpoints or a model of something else that was compressed."""
    known = work / _IDENTITY
    if known.is_file():
        return _is_in_use(work) and known.read_text() != identity
    # Of an earlier version; where something is trained, its checkpoints will tell.
    return not compression.steps and (work / "model.keras").exists()
