"""Every shipped file, measured again on its whole test set: its card must come out the same."""

import dataclasses
import functools
import pathlib

import pytest

import kdzoo
from kdzoo import evaluation, export
from kdzoo.compression.tfmot.compression_monitor import measure_compression
from kdzoo.teacher_cache.fingerprints import fingerprint_of_data
from kdzoo.zoo import cards, manifest
from tools import several_costs
from tools.publish_into_zoo_weights import CALIBRATION, logits_of_ramp, signature_of

pytestmark = [pytest.mark.large, pytest.mark.tensorflow]
ROWS = manifest.read_manifest()
# What only the training knows, and what is another every time.
KEPT = {"alone", "float", "latency_ms"}


@functools.cache
def loaded(dataset, held_out):
    """The data as the recipe divided them: its training images calibrate int8 files."""
    return kdzoo.data.load(dataset, validation=None if held_out else 0)


def file_sizes(model, data, folder):
    """Bytes of the `.tflite` files of a model that is shipped as weights."""
    samples, sizes = data.train.arrays()[0][:CALIBRATION], {}
    for form, quantize in (("float32", None), ("int8", "int8")):
        path = folder / f"{form}.tflite"
        converted = several_costs.exportable(model)
        export.to_litert(
            converted, path, quantize, samples, list(data.class_names), samples=CALIBRATION
        )
        sizes[f".tflite {form}"] = path.stat().st_size
        sizes[f".tflite {form}, gzipped"] = evaluation.gzipped_bytes(path)
    return sizes


def measured_again(row, data, folder):
    """What the manifest says of a row, measured on the spot, but for `KEPT` and other seeds."""
    model = kdzoo.load(row.name)
    images, labels = data.test.arrays()
    shipped, measured = (
        several_costs.largest(model),
        {name: row.measured[name] for name in KEPT & row.measured.keys()},
    )
    found = several_costs.accuracies(model, images, labels)
    measured["accuracy"] = {**row.measured["accuracy"], "shipped": found[-1]}
    measured |= several_costs.costs(model, found)
    weights = manifest.weights_directory() / row.files["weights"].file
    sizes = {"weights": weights.stat().st_size}
    if "tflite" in row.files:
        path = kdzoo.zoo.tflite(row.name)
        shipped = export.LiteRTModel(path)
        measured["sparsity"] = measure_compression(model)["sparsity"]
        measured["tflite_accuracy"] = evaluation.accuracy(shipped, images, labels)
        measured["signature"] = signature_of(shipped)
        sizes |= {".tflite": pathlib.Path(path).stat().st_size}
        sizes |= {".tflite, gzipped": evaluation.gzipped_bytes(path)}
    else:
        sizes |= file_sizes(model, data, folder)
    measured["bytes"] = sizes
    measured["test_sha256"] = fingerprint_of_data(data.test)
    measured["parameters"] = model.count_params()
    measured["logits_of_ramp"] = logits_of_ramp(model)
    measured["macs"] = several_costs.macs(model)
    measured["calibration_error"] = evaluation.calibration_error(shipped, images, labels)
    if row.role == "student":
        teacher = kdzoo.load(f"{row.training['teacher']}/{row.dataset}")
        measured["agreement"] = evaluation.agreement(teacher, shipped, images)
    return measured


@pytest.mark.parametrize("name", ROWS)
def test_a_card_comes_out_again(name, tmp_path):
    row = ROWS[name]
    data = loaded(row.dataset, bool(row.training["held_out"]))
    assert row.labels == tuple(data.class_names)
    assert row.input_shape == data.input_shape
    assert row.measured["test_sha256"] == fingerprint_of_data(data.test), "Other test images."
    again = dataclasses.replace(row, measured=measured_again(row, data, tmp_path))
    assert again.measured.keys() == row.measured.keys()
    assert cards.write_card(again) == cards.write_card(row)
