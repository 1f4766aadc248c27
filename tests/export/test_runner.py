"""LiteRT files as models: values, batches, labels, and files that are none."""

import hashlib
import json
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from kdzoo.export import LiteRTModel, TensorInfo, to_litert

LABELS = ["Füchse", "dog", "a cat", "42", "Vögel"]


def test_quantization_by_hand():
    info = TensorInfo("x", (1, 4), "int8", scale=0.5, zero_point=-2)
    values = np.array([0.0, 1.0, -0.74, 1000.0], "float32")
    np.testing.assert_array_equal(info.quantize(values), np.array([-2, 0, -3, 127], "int8"))
    np.testing.assert_array_equal(
        info.dequantize(np.array([-2, 0, -3, 127], "int8")), [0.0, 1.0, -0.5, 64.5]
    )


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a file"):
        LiteRTModel(tmp_path / "missing.tflite")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no flatbuffer at all, but long enough to look at")
    with pytest.raises(ValueError, match="which the interpreter refused"):
        LiteRTModel(broken)


@pytest.mark.tensorflow
class TestOnFiles:
    def test_labels_are_a_zip_behind_the_model(self, student, images, tmp_path):
        path = tmp_path / "student.tflite"
        plain = to_litert(student, tmp_path / "plain.tflite", "int8", images)
        report = to_litert(student, path, "int8", images, labels=LABELS)

        assert report.bytes == path.stat().st_size > plain.bytes
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert archive.read("labels.txt").decode() == "\n".join(LABELS) + "\n"
            metadata = json.loads(archive.read("metadata.json"))
            assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
            network = path.read_bytes()[: min(entry.header_offset for entry in archive.infolist())]
        sha256 = hashlib.sha256(network).hexdigest()
        told = {"labels": LABELS, "quantize": "int8", "io": "float32", "sha256": sha256}
        assert metadata == told
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        assert LiteRTModel(path).labels == LABELS
        assert LiteRTModel(plain.path).labels is None

    def test_equal_exports_are_equal_bytes_behind_the_model(self, student, images, tmp_path):
        ends = []
        for name in "ab":
            report = to_litert(student, tmp_path / f"{name}.tflite", None, images, LABELS)
            ends.append(report.path.read_bytes()[-300:])
        assert ends[0] == ends[1]

    def test_integers_are_handled_inside(self, student, images, tmp_path):
        model = LiteRTModel(
            to_litert(student, tmp_path / "s.tflite", "int8", images, io="int8").path, threads=2
        )
        interpreter = Interpreter(str(model.path))
        interpreter.allocate_tensors()
        (image,), (logits,) = model.inputs, model.outputs
        pixels = np.rint(images[:1] * 255).astype("uint8")
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"],
            (pixels.astype("int16") - 128).astype("int8"),
        )
        interpreter.invoke()
        raw = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        expected = (raw.astype("float32") - logits.zero_point) * logits.scale
        np.testing.assert_allclose(model.predict(pixels / 255), expected, rtol=1e-6)
        assert image.dtype == "int8"
        assert model.threads == 2

    def test_values_outside_of_what_integers_hold(self, tmp_path):
        inputs = keras.Input((2,))
        model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
        decibels = -80 + 80.1 * np.random.default_rng(0).random((200, 2)).astype("float32")
        file = LiteRTModel(to_litert(model, tmp_path / "d.tflite", "int8", decibels).path)
        near = file.predict(np.full((1, 2), 0.01, "float32"))
        np.testing.assert_array_equal(near, file.predict(np.full((1, 2), 0.4, "float32")))  # Cut.
        for wrong in (3000.0, -3000.0):
            with pytest.raises(ValueError, match=r"from about -80.* to 0.*representative_data"):
                file.predict(np.full((1, 2), wrong, "float32"))
        for odd in (100.0, -200.0):
            with pytest.warns(UserWarning, match=r"which are cut off.*numpy\.clip") as caught:
                file.predict(np.full((1, 2), odd, "float32"))
            assert caught[0].filename == __file__
        for wrong in (np.nan, np.inf):
            with pytest.raises(ValueError, match="finite values for input 'input'"):
                file.predict(np.array([[0.0, wrong]], "float32"))
        floats = LiteRTModel(to_litert(model, tmp_path / "f.tflite", None, decibels).path)
        assert np.isnan(floats.predict(np.full((1, 2), np.nan, "float32"))).all()

    def test_wrong_arrays(self, student, images, tmp_path):
        model = LiteRTModel(to_litert(student, tmp_path / "s.tflite", "int8", images).path)
        for wrong, message in (
            (images[..., :1], r"shape \(samples, 8, 8, 3\)"),
            (images[0], r"shape \(samples, 8, 8, 3\)"),
            (images[:0], "at least one sample"),
            (images * 255, "by 255"),
            ({"image": images}, r"named \['input'\]"),
        ):
            with pytest.raises(ValueError, match=message):
                model.predict(wrong)
        assert model.predict({"input": images[:3]}).shape == (3, 5)
