"""Files for phones: convert to LiteRT, verify against Keras, name the classes, run."""

from kdzoo.export.litert import ExportReport, to_litert
from kdzoo.export.runner import LiteRTModel, TensorInfo

__all__ = ["ExportReport", "LiteRTModel", "TensorInfo", "to_litert"]
