"""Real images for training, validation and testing, the same on every backend."""

import importlib
import typing

from kdzoo.data.augmentation import Augmentation
from kdzoo.data.dataset import Dataset, from_arrays
from kdzoo.data.image_checks import check_images, check_labels
from kdzoo.data.image_folder import from_directory
from kdzoo.data.sources import export, load
from kdzoo.data.split import Split
from kdzoo.data.transfer_set import transfer_set

if typing.TYPE_CHECKING:
    from kdzoo.teacher_cache.recorded_split import RecordedSplit, with_recorded_teacher
    from kdzoo.teacher_cache.recording import record_teacher

_MOVED = {  # Name -> the module that has it now.
    "RecordedSplit": "kdzoo.teacher_cache.recorded_split",
    "record_teacher": "kdzoo.teacher_cache.recording",
    "with_recorded_teacher": "kdzoo.teacher_cache.recorded_split",
}

__all__ = [
    "Augmentation",
    "Dataset",
    "RecordedSplit",
    "Split",
    "check_images",
    "check_labels",
    "export",
    "from_arrays",
    "from_directory",
    "load",
    "record_teacher",
    "transfer_set",
    "with_recorded_teacher",
]


if not typing.TYPE_CHECKING:  # A type checker would take every name for one that this returns.

    def __getattr__(name):
        if name not in _MOVED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_MOVED[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
