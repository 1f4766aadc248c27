"""The file of a compressed model, what it is worth, and what it weighs."""

from typing import Any

import keras

from kdzoo import evaluation
from kdzoo.compression.tfmot.compression_monitor import measure_compression
from kdzoo.compression.tfmot.unwrapping import plain_copy
from kdzoo.data import Dataset
from kdzoo.experiments.compression_settings import Compression
from kdzoo.experiments.measure_model import test_arrays
from kdzoo.export import ExportReport, LiteRTModel, to_litert
from kdzoo.graph.outputs import OutputType, is_one_column
from kdzoo.graph.predictions import ends_in_probabilities
from kdzoo.utils.types import PathLike


def export(
    model: keras.Model,
    path: PathLike,
    compression: Compression,
    data: Dataset,
    min_agreement: float = 0.9,
) -> ExportReport:
    """Writes a compressed model as a verified LiteRT file.

    Args:
        model: What `compress` made.
        path: The file, `.tflite`.
        compression: What was done to the model.
        data: The data set, whose training images the file is verified on.
        min_agreement: On what fraction of them both have to agree.

    Raises:
        ValueError: If the model cannot be exported, or the file does not agree with it.
    """
    is_one = is_one_column(model.output_shape)
    return to_litert(
        model,
        path,
        compression.quantize_file,
        data.train.arrays()[0],
        list(data.class_names)[is_one:],  # One column is a yes to the second.
        min_agreement=min_agreement,
        output_type="binary" if is_one else None,
        sparse=compression.sparse,
    )


def measure_file(path: PathLike, model: keras.Model, data: Dataset) -> dict[str, float | int]:
    """Returns what a LiteRT file is worth on the test images, and what it weighs.

    Returns:
        A dictionary: accuracy of the file and of the model, fraction of the test images on which
        both have the same argmax, bytes, bytes after gzip.
    """
    images, labels = test_arrays(data)
    file = LiteRTModel(path)
    # One column whose accuracy can be measured is binary.
    known: OutputType | None = "binary" if is_one_column(model.output_shape) else None
    # Its file does not tell logits from probabilities.
    is_logit = known is not None and not any(ends_in_probabilities(model))
    are_logits = True if is_logit else None
    return {
        "test_accuracy": evaluation.accuracy(file, images, labels, from_logits=are_logits),
        "keras_accuracy": evaluation.accuracy(model, images, labels, from_logits=are_logits),
        "agreement": evaluation.agreement(
            model, file, images, output_type=known, from_logits=are_logits
        ),
        "bytes": evaluation.file_bytes(path),
        "gzipped_bytes": evaluation.gzipped_bytes(path),
    }


def measure_saved(path: PathLike, model: keras.Model, data: Dataset) -> dict[str, Any]:
    """Returns what a `.keras` or `.kdz` file is worth, and how many weights are zero or alike.

    Returns:
        A dictionary: accuracy of the model on the test images, bytes of the file, those after gzip
        and those of all weights as they are, and what `measure_compression` returns.
    """
    images, labels = test_arrays(data)
    known = True if is_one_column(model.output_shape) else None
    plain = plain_copy(model) or model
    return {
        "keras_accuracy": evaluation.accuracy(model, images, labels, from_logits=known),
        "bytes": evaluation.file_bytes(path),
        "gzipped_bytes": evaluation.gzipped_bytes(path),
        "plain_bytes": sum(weight.nbytes for weight in plain.get_weights()),
        **measure_compression(plain),
    }


def measure(path: PathLike, model: keras.Model, data: Dataset) -> dict[str, Any]:
    """Returns what `measure_file` does, and how many weights of the model are zero or alike."""
    weights = measure_compression(plain_copy(model) or model)
    return {**measure_file(path, model, data), **weights}
