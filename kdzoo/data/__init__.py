"""Real images for training, validation and testing, the same on every backend."""

import importlib

from kdzoo.data.augmentation import Augmentation
from kdzoo.data.dataset import Dataset, Split, from_arrays
from kdzoo.data.image_checks import check_images, check_labels
from kdzoo.data.sources import export, load

_MOVED = {  # Name -> the module that has it now.
    "RecordedSplit": "kdzoo.teacher_cache.reading",
    "record_teacher": "kdzoo.teacher_cache.recording",
    "with_recorded_teacher": "kdzoo.teacher_cache.reading",
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
    "load",
    "record_teacher",
    "with_recorded_teacher",
]


def __getattr__(name):
    if name in _MOVED:
        return getattr(importlib.import_module(_MOVED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
