"""Every shipped file, measured again on its whole test set: its card must come out the same."""

import dataclasses
import functools
import pathlib

import pytest

import kdzoo
from kdzoo import evaluation, export
from kdzoo.compression.monitor import measure_compression
from kdzoo.zoo import cards, manifest

pytestmark = [pytest.mark.large, pytest.mark.tensorflow]
ROWS = manifest.read_manifest()


@functools.cache
def loaded(dataset, held_out):
    """The data as the recipe divided them: its training images calibrate int8 files."""
    return kdzoo.data.load(dataset, validation=None if held_out else 0)


def file_sizes(model, data, folder):
    """Bytes of the `.tflite` files of a model that is shipped as weights."""
    samples, sizes = data.train.arrays()[0][:512], {}
    for kind, quantize in (("float32", None), ("int8", "int8")):
        path = folder / f"{kind}.tflite"
        export.to_litert(model, path, quantize, samples, list(data.class_names))
        sizes[f".tflite {kind}"] = path.stat().st_size
        sizes[f".tflite {kind}, gzipped"] = evaluation.gzipped_bytes(path)
    return sizes


def measured_again(row, data, folder):
    """What the manifest says of a row, measured on the spot.

    But for what only the training knows: other seeds, the network alone, what a compressed model
    was made from; and for latency, which is another one every time.
    """
    model = kdzoo.load(row.name)
    images, labels = data.test.arrays()
    shipped, measured = model, {**row.measured}
    measured["accuracy"] = {
        **row.measured["accuracy"],
        "shipped": evaluation.accuracy(model, images, labels),
    }
    if "tflite" in row.files:
        path = kdzoo.zoo.tflite(row.name)
        shipped = export.LiteRTModel(path)
        measured["sparsity"] = measure_compression(model)["sparsity"]
        measured["tflite_accuracy"] = evaluation.accuracy(shipped, images, labels)
        sizes = {".tflite": pathlib.Path(path).stat().st_size}
        measured["bytes"] = {**sizes, ".tflite, gzipped": evaluation.gzipped_bytes(path)}
    else:
        weights = row.files["weights"].file
        size = (manifest.weights_directory() / weights).stat().st_size
        measured["bytes"] = {"weights": size, **file_sizes(model, data, folder)}
    measured["parameters"] = model.count_params()
    measured["macs"] = evaluation.count_macs(model)
    measured["calibration_error"] = evaluation.calibration_error(shipped, images, labels)
    if "agreement" in row.measured:
        teacher = kdzoo.load(f"{row.training['teacher']}/{row.dataset}")
        measured["agreement"] = evaluation.agreement(teacher, shipped, images)
    return measured


@pytest.mark.parametrize("name", ROWS)
def test_a_card_comes_out_again(name, tmp_path):
    row = ROWS[name]
    data = loaded(row.dataset, bool(row.training["held_out"]))
    again = dataclasses.replace(row, measured=measured_again(row, data, tmp_path))
    assert cards.write_card(again) == cards.write_card(row)
