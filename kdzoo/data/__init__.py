"""Real images for training, validation and testing, the same on every backend."""

from kdzoo.data.augmentation import Augmentation
from kdzoo.data.checks import check_images, check_labels
from kdzoo.data.dataset import Dataset, Split, from_arrays
from kdzoo.data.recorded import RecordedSplit, with_recorded_teacher
from kdzoo.data.recording import record_teacher
from kdzoo.data.sources import export, load

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
