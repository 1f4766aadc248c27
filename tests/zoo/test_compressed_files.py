"""`.kdz` files: the same bits come back, every byte is counted, and what is damaged is refused."""

import gzip
import hashlib
import json
import os
import struct
import sys
import time
import tracemalloc
import zlib

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.zoo import compressed_files, file_formats
from kdzoo.zoo.usual_index import USUAL

START = struct.Struct("<8sIQQ")
LAYERS = keras.layers


def sealed(index, codes, version=1):
    """The content of a file of an index, packed, and codes."""
    body = index + codes
    start = START.pack(b"\x89KDZ\r\n\x1a\n", version, START.size + 32 + len(body), len(index))
    return start + hashlib.sha256(start + body).digest() + body


def opened(content):
    """(index, codes) of a file."""
    *_, size = START.unpack(content[: START.size])
    body = content[START.size + 32 :]
    return json.loads(zlib.decompressobj(zdict=USUAL).decompress(body[:size])), body[size:]


def packed(text):
    """An index, as it stands in a file."""
    packer = zlib.compressobj(zdict=USUAL)
    return packer.compress(text) + packer.flush()


def altered(content, change):
    """The content of a file whose index, or codes, a function changes, with the hash that fits."""
    index, codes = opened(content)
    codes = change(index, codes) or codes
    return sealed(packed(json.dumps(index).encode()), codes)


def net():
    inputs = keras.Input((6, 6, 2))
    x = LAYERS.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = LAYERS.BatchNormalization(name="norm")(x)
    x = LAYERS.Flatten(name="flat")(x)
    return keras.Model(inputs, LAYERS.Dense(30, name="logits")(x), name="net")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    made, rng = net(), np.random.default_rng(0)
    values = [np.where(rng.random(w.shape) < 0.1, w, 0) for w in made.get_weights()]
    values[-2] = np.round(8 * values[-2]) / 8 + 0.0  # A codebook of few values.
    made.set_weights(values)
    return made


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("kdz") / "net.kdz"
    return path, kdzoo.save_compressed(model, path), path.read_bytes()


def bits(model):
    return [(w.dtype.name, w.shape, w.tobytes()) for w in model.get_weights()]


def test_the_model_comes_back_bit_for_bit(model, file):
    path, _, content = file
    images = np.random.default_rng(1).random((2, 6, 6, 2), "float32")
    for again in (kdzoo.load_compressed(path), kdzoo.load_model(path)):
        assert bits(again) == bits(model)
        assert again.to_json() == model.to_json()
        np.testing.assert_array_equal(again(images), model(images))
    assert not again.compiled
    assert path.read_bytes() == content


def test_every_byte_is_counted(model, file):
    path, report, content = file
    assert report.bytes == os.path.getsize(path) == len(content)
    assert report.index + sum(row.bytes for row in report.weights) == len(content)
    index, codes = opened(content)
    assert report.index == len(content) - len(codes)
    rows = {row.path: row for row in report.weights}
    assert rows.keys() == index["weights"].keys()
    for name, weight in zip(("kernel", "bias"), model.get_layer("logits").weights, strict=True):
        row, array = rows[f"logits/{name}"], keras.ops.convert_to_numpy(weight)
        assert (row.plain, row.shape, row.dtype) == (array.nbytes, array.shape, "float32")
        assert row.gzipped == len(gzip.compress(array.tobytes(), 6, mtime=0))
    kernel = rows["logits/kernel"]
    assert min(kernel.positions, kernel.codebook, kernel.symbols) > 0
    assert kernel.bytes < kernel.gzipped < kernel.plain
    assert rows["conv/kernel"].codebook == 0
    assert report.plain == 4 * model.count_params()
    assert len(str(report).splitlines()) == len(rows) + 3


def test_the_report_has_the_bytes_of_zstd(model, file, tmp_path, monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    _, report, _ = file
    rows = {row.path: row for row in report.weights}
    for name, weight in zip(("kernel", "bias"), model.get_layer("logits").weights, strict=True):
        content = keras.ops.convert_to_numpy(weight).tobytes()
        row = rows[f"logits/{name}"]
        assert row.zstd == len(zstandard.ZstdCompressor().compress(content)) != row.gzipped
    assert report.zstd == sum(row.zstd for row in report.weights)
    line = next(line for line in str(report).splitlines() if line.startswith("logits/kernel"))
    assert line.split()[3] == f"{rows['logits/kernel'].zstd:,}"
    monkeypatch.setitem(sys.modules, "zstandard", None)  # As where it is not installed.
    without = kdzoo.save_compressed(model, tmp_path / "net.kdz")
    assert (without.zstd, without.bytes) == (None, report.bytes)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_odd_numbers_of_variables_come_back(dtype, tmp_path):
    layer = LAYERS.Dense(8, use_bias=False, dtype=dtype, name="odd")
    model = keras.Sequential([keras.Input((5,)), layer])
    unsigned = "uint32" if dtype == "float32" else "uint16"
    values = np.random.default_rng(0).integers(0, np.iinfo(unsigned).max, (5, 8), unsigned)
    infinity = int(np.array(np.inf, "float32").view("uint32"))
    infinity = {"float32": infinity, "bfloat16": infinity >> 16, "float16": 0x7C00}[dtype]
    values[0] = [0, 1, infinity, infinity + 3, infinity | 0x40, 1 << 15, 2, 0]
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    layer.kernel.assign(values.view(kernel.dtype))
    kdzoo.save_compressed(model, tmp_path / "odd.kdz")
    again = kdzoo.load_compressed(tmp_path / "odd.kdz")
    assert bits(again) == bits(model)
    assert bits(again)[0][2] == values.tobytes()


@keras.saving.register_keras_serializable("kdz_tests")
class Counting(LAYERS.Layer):
    """Has variables of integers and a boolean."""

    def build(self, shape):
        for dtype in ("int8", "uint8", "int32", "bool"):
            self.add_weight(
                shape=(3,), dtype=dtype, name=f"of_{dtype}", trainable=False, initializer="zeros"
            )

    def call(self, x):
        return x


def test_negative_zeros_are_dropped_only_where_they_may_be(tmp_path):
    model = keras.Sequential([keras.Input((40,)), LAYERS.Dense(50, name="wide")])
    rng = np.random.default_rng(0)
    kernel = model.get_weights()[0] * (rng.random((40, 50)) < 0.1)
    model.set_weights([kernel, np.zeros(50, "float32")])
    whole = kdzoo.save_compressed(model, tmp_path / "whole.kdz")
    assert bits(kdzoo.load_compressed(tmp_path / "whole.kdz")) == bits(model)
    count = int(((kernel == 0) & np.signbit(kernel)).sum())
    assert [row.negative_zeros for row in whole.weights] == [count, 0]
    assert f"{count} numbers are -0.0" in str(whole)
    less = kdzoo.save_compressed(model, tmp_path / "less.kdz", keep_negative_zeros=False)
    assert less.bytes < 0.8 * whole.bytes
    assert "-0.0" not in str(less)
    again = kdzoo.load_compressed(tmp_path / "less.kdz").get_weights()[0]
    assert again.tobytes() == (kernel + 0.0).tobytes() != kernel.tobytes()


def test_integers_come_back(tmp_path):
    model = keras.Sequential([keras.Input((2,)), Counting(name="counting")])
    values = [[-128, 0, 127], [0, 255, 1], [-(1 << 31), 5, 0], [True, False, True]]
    model.set_weights(
        [np.array(v, w.dtype) for v, w in zip(values, model.get_weights(), strict=True)]
    )
    kdzoo.save_compressed(model, tmp_path / "net.kdz")
    assert bits(kdzoo.load_compressed(tmp_path / "net.kdz")) == bits(model)


def flipped(content, place):
    changed = bytearray(content)
    changed[place] ^= 16
    return bytes(changed)


DAMAGE = {
    "empty": lambda content: b"",
    "another format": lambda content: b"PK\x03\x04" + content[4:],
    "cut by a byte": lambda content: content[:-1],
    "cut in half": lambda content: content[: len(content) // 2],
    "cut in its start": lambda content: content[:20],
    "a byte more": lambda content: content + b"\0",
    "twice": lambda content: content + content,
    "another version": lambda content: flipped(content, 8),
    "another size": lambda content: flipped(content, 12),
    "another size of the index": lambda content: flipped(content, 20),
    "another hash": lambda content: flipped(content, START.size + 3),
    "a bit of the index": lambda content: flipped(content, START.size + 60),
    "a bit of the codes": lambda content: flipped(content, len(content) - 100),
    "the last bit": lambda content: flipped(content, len(content) - 1),
    "zeros": lambda content: content[:-200] + bytes(100) + content[-100:],
    "swapped": lambda content: content[:-200] + content[-100:] + content[-200:-100],
    "as text": lambda content: content.replace(b"\r\n", b"\n"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_refused_before_anything_is_built(damage, file, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("something was built, or looked at")

    monkeypatch.setattr(keras.saving, "deserialize_keras_object", fail)
    monkeypatch.setattr(json, "loads", fail)
    monkeypatch.setattr(zlib, "decompressobj", fail)
    path = tmp_path / "damaged.kdz"
    path.write_bytes(DAMAGE[damage](file[2]))
    assert path.read_bytes() != file[2]
    with pytest.raises(ValueError, match=r"Expected a \.kdz file of a model. Received: .*damaged"):
        kdzoo.load_compressed(path)


def weight(name="logits/kernel", **changes):
    return lambda index, codes: index["weights"][name].update(changes)


def stream(name, part, number, value):
    def change(index, codes):
        index["weights"][name][part][0][number] = value

    return change


def renamed(index, codes):
    names = {"logits/kernel": "other/kernel"}
    index["weights"] = {names.get(name, name): code for name, code in index["weights"].items()}


def gone(index, codes):
    kept = _before(index, codes, "logits/bias")
    del index["weights"]["logits/bias"]
    return kept


def with_lambda(index, codes):
    index["model"]["config"]["layers"][1]["class_name"] = "Lambda"


def of_another_class(index, codes):
    index["model"]["config"]["layers"][1].update(class_name="Popen", module="subprocess")


def wide(index, codes):
    index["model"]["config"]["layers"][-1]["config"]["units"] = 1 << 40


def far(index, codes):
    """A gap after the last number's, so that there is one beyond the end."""
    code = index["weights"]["logits/bias"] = {"dtype": "float32", "shape": [30]}
    code |= {"positions": [[0, 2, 2]], "symbols": [[0, 8, 8]]}
    return b"".join([_before(index, codes, "logits/bias"), b"\x14\x0f", bytes(8)])


def beyond(index, codes):
    """An index beyond a codebook of one value."""
    code = index["weights"]["logits/bias"] = {"dtype": "float32", "shape": [30]}
    code |= {"codebook": [[0, 4, 4]], "symbols": [[0, 30, 30]]}
    return b"".join([_before(index, codes, "logits/bias"), bytes(4), b"\x01" * 30])


def _before(index, codes, name):
    """The codes of the weights before one, which must be the last."""
    parts = ("positions", "codebook", "symbols")
    others = [code for key, code in index["weights"].items() if key != name]
    return codes[: sum(s[1] for code in others for part in parts for s in code.get(part, []))]


LIES = {
    "a huge shape": (weight(shape=[1 << 40, 1 << 10]), "weights of [0-9,]* bytes in"),
    "a shape below 0": (weight(shape=[-1]), "weights of shape"),
    "another shape": (weight(shape=[30, 64]), "of shape .* where a layer has"),
    "a smaller shape": (weight(shape=[2]), "more bytes than the weights need|beyond the end"),
    "a type that is none": (weight(dtype="object"), "weights of type 'object'"),
    "another type": (weight("norm/gamma", dtype="int32"), "type int32, where a layer has"),
    "a field of others": (weight(call="os.system"), "in the place of a code"),
    "no symbols": (lambda i, c: i["weights"]["logits/kernel"].pop("symbols") and None, "of a code"),
    "a longer stream": (stream("logits/kernel", "symbols", 2, 90), "stream"),
    "a stored length": (stream("logits/kernel", "symbols", 1, 3), "stream"),
    "a negative length": (stream("logits/kernel", "symbols", 1, -3), "in the place of symbols"),
    "numbers beyond the end": (far, "numbers beyond the end"),
    "an index beyond the codebook": (beyond, "an index beyond the codebook"),
    "a weight of another name": (renamed, "among the (weights|layers) alone"),
    "a weight less": (gone, "among the layers alone"),
    "a lambda": (with_lambda, "Lambda, which runs code"),
    "another class": (of_another_class, "a Popen of 'subprocess'"),
    "a huge layer": (wide, "where a layer has|cannot|build"),
    "bytes over": (lambda index, codes: codes + b"more", "4 bytes that belong to no weight"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_with_the_hash_that_fits_are_refused(lie, file, tmp_path):
    change, message = LIES[lie]
    path = tmp_path / "lie.kdz"
    path.write_bytes(altered(file[2], change))
    with pytest.raises(ValueError, match=message) as caught:
        kdzoo.load_compressed(path)
    assert "lie.kdz" in str(caught.value)


def nested(index):
    return b'{"class_name": "kdz", "model": ' + b"[" * 3000 + b"]" * 3000 + b"}"


INDICES = {
    "no JSON": lambda index: b"nonsense",
    "a list": lambda index: b"[1, 2]",
    "no model": lambda index: b'{"class_name": "kdz", "weights": {}}',
    "lists without end": nested,
    "no end of zeros": lambda index: bytes((32 << 20) + 1),
}


@pytest.mark.parametrize("kind", INDICES)
def test_an_index_that_is_none_is_refused(kind, file, tmp_path):
    index, codes = opened(file[2])
    path = tmp_path / "file.kdz"
    path.write_bytes(sealed(packed(INDICES[kind](index)), codes))
    with pytest.raises(ValueError, match=r"Expected a \.kdz file of a model. Received: .*index"):
        kdzoo.load_compressed(path)


def test_sizes_that_lie_take_no_memory(file, tmp_path):
    """Claims below what any file may decode to, of streams that hold nothing of the kind."""

    def claim(index, codes):
        number = 14 << 20
        index["weights"] = {
            "logits/kernel": {
                "dtype": "float32",
                "shape": [number],
                "positions": [[1, 10, number]],
                "symbols": [[1, len(codes) - 10, 4 * number]],
            }
        }

    path = tmp_path / "lie.kdz"
    path.write_bytes(altered(file[2], claim))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="stream"):
            kdzoo.load_compressed(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_commands_take_it_by_its_name(file):
    assert file_formats.leads_to_model("missing.kdz")
    assert file_formats.format_of(file[0]) == "compressed"


def test_another_version_names_the_remedy(file, tmp_path):
    path = tmp_path / "new.kdz"
    index, codes = opened(file[2])
    path.write_bytes(sealed(packed(json.dumps(index).encode()), codes, version=2))
    with pytest.raises(ValueError, match="version 2, which another kdzoo wrote; update kdzoo"):
        kdzoo.load_compressed(path)


def test_what_cannot_be_saved_leaves_no_file(model, tmp_path):
    class Own(keras.Model):
        def call(self, x):
            return x

    with_lambda = keras.Sequential([keras.Input((2,)), LAYERS.Lambda(lambda x: x + 1)])
    for wrong in (Own(), with_lambda, "net", keras.Sequential([LAYERS.Dense(2)])):
        with pytest.raises(ValueError, match="Expected"):
            kdzoo.save_compressed(wrong, tmp_path / "net.kdz")
    with pytest.raises(ValueError, match="a directory"):
        kdzoo.save_compressed(model, tmp_path)
    with pytest.raises(FileNotFoundError):
        kdzoo.load_compressed(tmp_path / "missing.kdz")
    assert list(tmp_path.iterdir()) == []


def separable():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            LAYERS.SeparableConv2D(6, 3, depth_multiplier=2),
            LAYERS.GroupNormalization(2),
            LAYERS.Conv2DTranspose(4, 2, strides=2, use_bias=False),
            LAYERS.GlobalMaxPooling2D(),
            LAYERS.Dense(5, dtype="float16"),
        ]
    )


def nested():
    inputs = keras.Input((6, 6, 2))
    features = keras.Sequential([keras.Input((6, 6, 2)), LAYERS.Flatten(), LAYERS.Dense(7)])
    x = features(inputs)
    again = features(LAYERS.DepthwiseConv2D(3, padding="same")(inputs))
    return keras.Model(inputs, [LAYERS.Dense(3)(x), LAYERS.Add()([x, again])])


def recurrent():
    inputs = keras.Input((9,), dtype="int32")
    x = LAYERS.Embedding(20, 6)(inputs)
    x = LAYERS.Bidirectional(LAYERS.GRU(4, return_sequences=True))(x)
    x = LAYERS.MultiHeadAttention(2, 3)(x, x)
    return keras.Model(inputs, LAYERS.LayerNormalization()(LAYERS.LSTM(5)(x)))


ARCHITECTURES = (
    net,
    separable,
    nested,
    recurrent,
    lambda: kdzoo.create("separable_025", 3, (8, 8, 1)),
)


@pytest.mark.large
def test_fifty_models_of_random_sparsity_and_codebooks_come_back(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(50):
        model, values = ARCHITECTURES[number % len(ARCHITECTURES)](), []
        for array in model.get_weights():
            kept = np.where(rng.random(array.shape) >= rng.random(), array, 0)
            book = rng.normal(size=rng.integers(1, 400)).astype("float32")
            nearest = np.abs(kept[..., None] - book).argmin(-1)
            shared = np.where(kept, book[nearest], 0) if rng.random() < 0.5 else kept
            values.append(shared.astype(array.dtype))
        model.set_weights(values)
        path = tmp_path / f"{number}.kdz"
        report = kdzoo.save_compressed(model, path)
        assert report.bytes == os.path.getsize(path)
        assert bits(kdzoo.load_compressed(path)) == bits(model)


@pytest.mark.large
@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_a_file_loads_a_hundred_megabytes_a_second(zeros, tmp_path):
    model = keras.Sequential([keras.Input((3500,)), LAYERS.Dense(4000, name="wide")])
    rng = np.random.default_rng(0)
    kernel = np.where(rng.random((3500, 4000)) < zeros, 0, rng.normal(0, 0.05, (3500, 4000)))
    model.set_weights([kernel.astype("float32"), np.zeros(4000, "float32")])
    report = kdzoo.save_compressed(model, tmp_path / "wide.kdz")
    times = []
    for _ in range(3):
        start = time.perf_counter()
        again = kdzoo.load_compressed(tmp_path / "wide.kdz")
        times.append(time.perf_counter() - start)
    assert bits(again) == bits(model)
    rate = report.plain / min(times) / 1e6
    print(f"{rate:.0f} MB/s at {zeros:.0%} zeros, whole file; {report.plain / report.bytes:.2f}x")
    assert report.plain >= 50e6
    assert rate >= 100


def test_weights_emptier_than_a_reader_believes_are_saved_so_that_it_does(tmp_path, monkeypatch):
    """A million zeros are no bytes at all as gaps, from which no reader would decode 4 MB."""
    monkeypatch.setattr(compressed_files, "SMALL", 1 << 20)
    model = keras.Sequential([keras.Input((1000,)), LAYERS.Dense(1000, name="wide")])
    model.set_weights([np.zeros((1000, 1000), "float32"), np.zeros(1000, "float32")])
    report = kdzoo.save_compressed(model, tmp_path / "zeros.kdz")
    assert report.weights[0].symbols > 10_000
    assert bits(kdzoo.load_compressed(tmp_path / "zeros.kdz")) == bits(model)
