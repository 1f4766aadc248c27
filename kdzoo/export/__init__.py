"""Export to LiteRT: convert a Keras model, verify the file against Keras, and run the file."""

from kdzoo.export.agreement import OutputAgreement
from kdzoo.export.dynamic_runner import DynamicPredictions, DynamicRunner
from kdzoo.export.litert import to_litert
from kdzoo.export.report import ExportReport
from kdzoo.export.runner import LiteRTModel
from kdzoo.export.tensors import TensorInfo

__all__ = [
    "DynamicPredictions",
    "DynamicRunner",
    "ExportReport",
    "LiteRTModel",
    "OutputAgreement",
    "TensorInfo",
    "to_litert",
]
