"""Export to LiteRT: convert a Keras model, verify the file against Keras, and run the file."""

from kdzoo.export.agreement import OutputAgreement
from kdzoo.export.dynamic_runner import DynamicPredictions, DynamicRunner
from kdzoo.export.litert import ExportReport, to_litert
from kdzoo.export.runner import LiteRTModel, TensorInfo

__all__ = [
    "DynamicPredictions",
    "DynamicRunner",
    "ExportReport",
    "LiteRTModel",
    "OutputAgreement",
    "TensorInfo",
    "to_litert",
]
