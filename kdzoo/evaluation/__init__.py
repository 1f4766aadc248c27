"""Measures of a model: accuracy, calibration, fidelity to a teacher, size, MACs, latency."""

from kdzoo.evaluation.accuracy import accuracy
from kdzoo.evaluation.calibration import calibration_error
from kdzoo.evaluation.complexity import count_macs, count_parameters, file_bytes, gzipped_bytes
from kdzoo.evaluation.confusable_classes import confusable_classes
from kdzoo.evaluation.fidelity import Fidelity, agreement, fidelity
from kdzoo.evaluation.latency import Latency, latency

__all__ = [
    "Fidelity",
    "Latency",
    "accuracy",
    "agreement",
    "calibration_error",
    "confusable_classes",
    "count_macs",
    "count_parameters",
    "fidelity",
    "file_bytes",
    "gzipped_bytes",
    "latency",
]
