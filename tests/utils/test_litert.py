"""LiteRT files that are damaged or made to do harm: opened in one way, refused in one sentence."""

import hashlib
import io
import json
import os
import pathlib
import re
import struct
import zipfile

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from safetensors.numpy import load_file

from kdzoo.evaluation import latency
from kdzoo.export import LiteRTModel
from kdzoo.export.runner import costs_of
from kdzoo.utils.litert import safe_interpreter
from kdzoo.utils.litert.network_costs import network_costs

FILES = pathlib.Path(__file__).parents[1] / "compatibility" / "files"
WHOLE = (FILES / "shared.tflite").read_bytes()
with zipfile.ZipFile(io.BytesIO(WHOLE)) as _archive:
    END = min(entry.header_offset for entry in _archive.infolist())
    LABELS = _archive.read("labels.txt")
(_weights,) = (FILES / "shared").glob("*.safetensors")
KERNEL = load_file(_weights)["logits/kernel"].T.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


def zipped(network=WHOLE[:END], kind=zipfile.ZIP_STORED, **files):
    """A network with an archive behind it."""
    content = io.BytesIO(network)
    with zipfile.ZipFile(content, "a", kind) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name.replace("_", ".")), text, kind)
    return content.getvalue()


def with_hash(**changes):
    """As kdzoo writes them since files have the hash of their network."""
    content = {
        "labels": LABELS.decode().splitlines(),
        "quantize": "float32",
        "sha256": hashlib.sha256(WHOLE[:END]).hexdigest(),
    }
    return zipped(metadata_json=json.dumps({**content, **changes}), labels_txt=LABELS)


def flipped(content, at, bit=0):
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    return bytes(changed)


def lying(content, offset, value):
    """An archive in whose list a number of the first member is another."""
    at = content.index(b"PK\x01\x02") + offset
    return content[:at] + value.to_bytes(4, "little") + content[at + 4 :]


DAMAGED = {
    "nothing": b"",
    "text": b"no flatbuffer at all, but long enough to look at",
    "a network that is cut": WHOLE[: END // 8 * 4],
    "an archive that begins": WHOLE[: END + 3],
    "half an archive": WHOLE[: END + (len(WHOLE) - END) // 2],
    "an archive without its last byte": WHOLE[:-1],
    "a label with another bit": flipped(WHOLE, WHOLE.rindex(LABELS[:3])),
    "a name with another bit": flipped(WHOLE, WHOLE.rindex(b"labels.txt")),
    "a first name with another bit": flipped(WHOLE, WHOLE.index(b"labels.txt")),
    "an end with another bit": flipped(WHOLE, WHOLE.rindex(b"PK\x05\x06")),
    "a member that begins elsewhere": lying(WHOLE, 42, 1 << 30),
    "a size that lies": lying(WHOLE, 24, 1 << 31),
    "an unknown compression": lying(WHOLE, 10, 77),
    "a member that inflates": zipped(kind=zipfile.ZIP_DEFLATED, labels_txt=bytes(30 << 20)),
    "labels that are no text": zipped(labels_txt=b"\xff\xfe\n" * 3),
    "metadata that are no JSON": zipped(metadata_json=b"{", labels_txt=LABELS),
    "metadata that are a list": zipped(metadata_json=b"[]", labels_txt=LABELS),
    "metadata without end": zipped(metadata_json=b"[" * 100_000, labels_txt=LABELS),
    "a hash that is none": with_hash(sha256=5),
    "another hash": with_hash(sha256="0" * 64),
    "other labels than those in the metadata": with_hash(labels=["a"]),
    "weights that are no numbers": WHOLE[:END].replace(KERNEL, b"\xff" * len(KERNEL)),
    "a weight with another bit": flipped(with_hash(), END // 2, 6),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=list(DAMAGED))
def test_what_is_damaged_is_refused(content, path):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected .*model\.tflite"):
        LiteRTModel(path)


@pytest.mark.parametrize("labels", [LABELS + b"more\n", b""])
def test_labels_of_others_that_count_something_else_are_left_out(labels, path):
    """As those of detectors, whose outputs have another last axis."""
    path.write_bytes(zipped(labels_txt=labels))
    assert LiteRTModel(path).labels is None


@pytest.mark.parametrize("open_", [LiteRTModel, latency])
@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_what_is_no_file_is_refused_at_once(kind, open_, path):
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=rf"model\.tflite to be a regular file.*a {kind}"):
        open_(path)


@pytest.mark.parametrize("content", [WHOLE, WHOLE[:END], with_hash()])
def test_what_is_whole_is_opened(content, path):
    path.write_bytes(content)
    model = LiteRTModel(path)
    assert model.labels == (None if content == WHOLE[:END] else LABELS.decode().splitlines())
    assert model.inputs[0].dtype == "float32"


def test_a_labelless_file_of_today_says_so(path):
    sha256 = hashlib.sha256(WHOLE[:END]).hexdigest()
    path.write_bytes(zipped(metadata_json=json.dumps({"labels": None, "sha256": sha256})))
    assert LiteRTModel(path).labels is None


@pytest.mark.parametrize(
    ("ending", "complaint"),
    [
        ("os.kill(os.getpid(), 11)", r"it ended the process that tried it \(SIGSEGV\)"),
        ("os.abort()", r"\(SIGABRT\)"),
        ("os._exit(9)", r"\(exit status 9\)"),
        ("held = bytearray(1 << 33)", "MemoryError, perhaps since it needs more than 1,024 MB; if"),
        ("raise RuntimeError('failed to reshape 3.')", "to reshape 3, perhaps since it needs more"),
        ("raise ValueError('a tensor of 0 scales')", "refused: a tensor of 0 scales"),
    ],
)
def test_a_file_that_would_end_the_process_is_refused(ending, complaint, path, monkeypatch):
    """What the interpreter may do to its process is done by a stand-in for it."""
    script = path.parent / "trial_process.py"
    trial = pathlib.Path(safe_interpreter.trial_process.__file__).read_text()
    script.write_text(re.sub(r"    _run\(content.*\n", f"    {ending}\n", trial))
    monkeypatch.setattr(safe_interpreter.trial_process, "__file__", str(script))
    path.write_bytes(WHOLE)
    monkeypatch.setattr(safe_interpreter, "_tried", set())
    for use in (LiteRTModel, latency):
        with pytest.raises(ValueError, match=rf"model\.tflite.*{complaint}"):
            use(path)


def converted(path, function, *shape):
    """A LiteRT file of a function, as others make them: without a hash."""
    import tensorflow as tf

    traced = tf.function(function).get_concrete_function(tf.TensorSpec(shape, "float32"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    path.write_bytes(converter.convert())


@pytest.mark.tensorflow
def test_a_network_whose_outputs_are_nan_is_opened(path):
    import tensorflow as tf

    converted(path, lambda x: tf.math.log(x - 0.5), 1, 8)
    assert LiteRTModel(path).inputs[0].dtype == "float32"


@pytest.mark.parametrize("kept", [0, 1])
def test_infinity_beside_zeros_is_a_mask_and_beside_others_damage(kept, path):
    kernel = np.frombuffer(KERNEL, "float32") * kept
    kernel[0] = -np.inf
    path.write_bytes(WHOLE[:END].replace(KERNEL, kernel.tobytes()))
    if kept:
        with pytest.raises(ValueError, match=r"its weights are not finite"):
            LiteRTModel(path)
    else:
        LiteRTModel(path)


@pytest.mark.parametrize("weight", [-2.7e38, float(np.finfo("float32").min)])
def test_weights_that_overflow_are_damage_but_for_the_lowest_number_of_a_mask(weight, path):
    kernel = np.frombuffer(KERNEL, "float32").copy()
    kernel[:] = weight
    path.write_bytes(WHOLE[:END].replace(KERNEL, kernel.tobytes()))
    if weight == np.finfo("float32").min:
        LiteRTModel(path)
    else:
        with pytest.raises(ValueError, match="so large that its outputs are not finite"):
            LiteRTModel(path)


@pytest.mark.tensorflow
def test_a_small_network_on_large_images_is_opened(path):
    """Of a few weights; what it computes takes 300 MB."""
    import tensorflow as tf

    kernels = [tf.fill((3, 3, 3, 48), 0.1), tf.fill((1, 1, 48, 48), 0.01)]

    def network(x):
        for kernel in kernels:
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))
        return tf.reduce_mean(x, (1, 2))

    converted(path, network, 1, 800, 800, 3)
    assert path.stat().st_size < 100_000
    LiteRTModel(path)


def test_a_file_is_tried_once(path, monkeypatch):
    path.write_bytes(WHOLE)
    monkeypatch.setattr(safe_interpreter, "_tried", set())
    tried, usual = [], safe_interpreter._try
    monkeypatch.setattr(safe_interpreter, "_try", lambda *given: (tried.append(1), usual(*given)))
    for _ in range(2):
        LiteRTModel(path)
        latency(path, runs=1, warmup=0)
    assert len(tried) == 1


def test_without_litert_the_file_is_not_to_blame(path, monkeypatch):
    path.write_bytes(WHOLE)
    monkeypatch.setattr(safe_interpreter, "_tried", set())
    monkeypatch.setattr(safe_interpreter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install ai-edge-litert"):
        LiteRTModel(path)


def with_half_a_number(network):
    """A network with a constant that no operator takes, of five bytes for integers of four."""
    model = schema.ModelT.InitFromPackedBuf(network, 0)
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data, tensor.name, tensor.shape = [1, 2, 3, 4, 5], b"odd", [2]
    tensor.type, tensor.buffer = schema.TensorType.INT32, len(model.buffers)
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]
    # The interpreter takes the bytes of a sparse constant as they are.
    tensor.sparsity, axis = schema.SparsityParametersT(), schema.DimensionMetadataT()
    axis.format, axis.denseSize = schema.DimensionType.DENSE, 2
    tensor.sparsity.traversalOrder, tensor.sparsity.dimMetadata = [0], [axis]
    model.buffers.append(buffer)
    model.subgraphs[0].tensors.append(tensor)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_tables_that_only_costs_are_read_from_are_damaged_in_one_sentence(path):
    path.write_bytes(with_half_a_number(WHOLE[:END]))
    file = LiteRTModel(path)
    with pytest.raises(ValueError, match=rf"path='{re.escape(str(path))}', whose tables are damag"):
        costs_of(file)


def test_costs_are_of_the_bytes_that_were_checked(path):
    path.write_bytes(WHOLE)
    file = LiteRTModel(path)
    path.write_bytes(b"another file")
    assert costs_of(file) == network_costs(WHOLE[:END])


def test_ranges_that_cannot_be_read_are_one_sentence(path, monkeypatch):
    def read(content):
        raise struct.error("unpack_from requires a buffer of at least 4 bytes")

    path.write_bytes(WHOLE)
    monkeypatch.setattr(safe_interpreter, "ranges_inside", read)
    with pytest.raises(ValueError, match=r"whose tables are damaged \(unpack_from"):
        LiteRTModel(path)
