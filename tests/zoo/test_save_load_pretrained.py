"""Directories to share: the same model comes back, and nothing in them runs or is trusted."""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.utils import write_bytes
from kdzoo.zoo.allowed_layers import check_parts

pytestmark = pytest.mark.large_on_jax

# Deeper than Python follows, but not than its reader of JSON does.
NESTED = functools.reduce(lambda inner, _: [inner], range(700), [])


def predict(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def weights_in(directory):
    """The one file of weights in a directory."""
    (path,) = directory.glob("*.safetensors")
    return path


@pytest.fixture
def images():
    return np.random.default_rng(0).random((5, 12, 12, 1), "float32")


def residual():
    """A model of nested parts, a shared layer and operations such as `+`."""
    inputs = keras.Input((12, 12, 1), name="image")
    conv = keras.layers.Conv2D(3, 3, padding="same", name="conv")
    x = keras.layers.BatchNormalization(name="norm")(keras.ops.relu(conv(inputs)))
    inner = keras.Input((12, 12, 3))
    nested = keras.Model(inner, keras.layers.Conv2D(3, 1, name="inner")(inner), name="nested")
    x = 2.0 * nested(x) + x
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(4, name="logits")(x), name="residual")


def normalized():
    """A model with statistics that it has adapted to, a scalar among its weights."""
    layer = keras.layers.Normalization(name="adapted")
    layer.adapt(np.random.default_rng(2).normal(3, 5, (40, 12, 12, 1)).astype("float32"))
    inputs = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(layer(inputs))
    return keras.Model(inputs, keras.layers.Dense(4, name="logits")(x))


def in_bins():
    """A model with boundaries that it has adapted to, which are no weights."""
    layer = keras.layers.Discretization(num_bins=4, name="bins")
    layer.adapt(np.random.default_rng(2).random((400, 12, 12, 1), "float32"))
    inputs = keras.Input((12, 12, 1))
    x = keras.layers.Embedding(5, 2)(keras.layers.Flatten()(layer(inputs)))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))


MODELS = {
    "normalized": normalized,
    "in_bins": in_bins,
    "separable": lambda: kdzoo.create("separable_025", 4, (12, 12, 1)),
    "maxout": lambda: kdzoo.create("fitnet_mnist", 4, (28, 28, 1)),
    "residual": residual,
    "sequential": lambda: keras.Sequential(
        [keras.Input((12, 12, 1)), keras.layers.Flatten(), keras.layers.Dense(4, name="logits")]
    ),
}


@pytest.mark.large
@pytest.mark.tensorflow  # Once is enough.
def test_the_same_models_in_a_fresh_process(tmp_path):
    expected = {}
    for name, make in MODELS.items():
        model = make()
        for weight in model.weights if name != "normalized" else ():  # Statistics too.
            weight.assign(np.random.default_rng(1).random(weight.shape).astype("float32"))
        x = np.random.default_rng(0).random((3, *model.input_shape[1:]), "float32")
        kdzoo.save_pretrained(model, tmp_path / name)
        np.save(tmp_path / f"{name}-x.npy", x)
        expected[name] = predict(model, x)
        card, config, weights = sorted(os.listdir(tmp_path / name))
        assert (card, config) == ("README.md", "config.json")
        assert re.fullmatch(r"model-[0-9a-f]{8}\.safetensors", weights)
    script = (
        "import sys, kdzoo, keras, numpy as np\n"
        "for name in sys.argv[1:]:\n"
        "    model = kdzoo.load_pretrained(name)\n"
        "    y = model(np.load(f'{name}-x.npy'), training=False)\n"
        "    np.save(f'{name}-y.npy', keras.ops.convert_to_numpy(y))"
    )
    command = [sys.executable, "-c", script, *MODELS]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    for name, y in expected.items():
        found = np.load(tmp_path / f"{name}-y.npy")
        np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-5, err_msg=name)


def test_what_could_not_be_loaded_or_is_not_ours_is_not_saved_over(tmp_path):
    model = MODELS["sequential"]()
    (tmp_path / "README.md").write_text("my project")
    with pytest.raises(ValueError, match=r"whose README.md would be replaced"):
        kdzoo.save_pretrained(model, tmp_path)
    for config in ('{"architectures": ["Other"]}', "not JSON", "[]"):
        (tmp_path / "config.json").write_text(config)
        for file in (tmp_path / "README.md", tmp_path / "config.json"):
            with pytest.raises(ValueError, match=f"whose {file.name} would be replaced"):
                kdzoo.save_pretrained(model, tmp_path)
            file.unlink()
        (tmp_path / "README.md").write_text("my project")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    weights = model.get_weights()
    weights[0][0] = np.inf
    model.set_weights(weights)
    with pytest.raises(ValueError, match="Expected finite weights"):
        kdzoo.save_pretrained(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_save_that_fails_leaves_what_was_there(tmp_path, images, monkeypatch):
    model = MODELS["sequential"]()
    kdzoo.save_pretrained(model, tmp_path)
    other = MODELS["separable"]()
    with pytest.raises(ValueError, match="card to be a string"):
        kdzoo.save_pretrained(other, tmp_path, card=7)
    # Broken off after any file but the last.
    for broken in range(3):
        calls = []

        def write(path, content, calls=calls, broken=broken):
            calls.append(path)
            if len(calls) > broken:
                raise KeyboardInterrupt
            write_bytes(path, content)

        with monkeypatch.context() as patched:
            patched.setattr("kdzoo.zoo.shared_directory.write_bytes", write)
            with pytest.raises(KeyboardInterrupt):
                kdzoo.save_pretrained(other, tmp_path)
        again = kdzoo.load_pretrained(tmp_path)
        left = model if broken < 2 else other  # The card alone was missing.
        np.testing.assert_array_equal(predict(again, images), predict(left, images))
    kdzoo.save_pretrained(other, tmp_path)
    weights_in(tmp_path)
    again = kdzoo.load_pretrained(tmp_path)
    np.testing.assert_array_equal(predict(again, images), predict(other, images))


def test_bfloat16_comes_back_exactly(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="bfloat16")(inputs))
    kdzoo.save_pretrained(model, tmp_path)
    again = kdzoo.load_pretrained(tmp_path)
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        assert ours.dtype == theirs.dtype == "bfloat16"
        np.testing.assert_array_equal(np.asarray(ours.value), np.asarray(theirs.value))


class Holding(keras.layers.Layer):
    """A layer whose inner layer has another name each time."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(3)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)


def test_inner_layers_that_change_their_names(tmp_path):
    keras.saving.register_keras_serializable("test_sharing")(Holding)
    inputs = keras.Input((3,))
    with pytest.raises(ValueError, match="names of their own"):
        kdzoo.save_pretrained(keras.Model(inputs, Holding(name="it")(inputs)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.tensorflow
def test_models_that_are_being_compressed(tmp_path):
    pruned = kdzoo.compression.prune_low_magnitude(MODELS["sequential"]())
    with pytest.raises(ValueError, match="strip_pruning"):
        kdzoo.save_pretrained(pruned, tmp_path)


def test_half_precision_and_a_card(tmp_path, images):
    model = MODELS["separable"]()
    kdzoo.save_pretrained(model, tmp_path, card="# Mine\n", dtype="float16")
    assert (tmp_path / "README.md").read_text() == "# Mine\n"
    assert weights_in(tmp_path).stat().st_size < 0.65 * 4 * model.count_params()
    again = kdzoo.load_pretrained(tmp_path)
    np.testing.assert_allclose(predict(again, images), predict(model, images), atol=1e-2)
    kdzoo.save_pretrained(model, tmp_path)
    said = (tmp_path / "README.md").read_text()
    assert f"| parameters | {model.count_params():,} |" in said
    again = kdzoo.load_pretrained(tmp_path)
    np.testing.assert_array_equal(predict(again, images), predict(model, images))


def test_a_card_that_no_save_speaks_of_stays(tmp_path):
    model, readme, config = MODELS["sequential"](), tmp_path / "README.md", tmp_path / "config.json"
    kdzoo.save_pretrained(model, tmp_path)
    described = json.loads(config.read_text())
    del described["cards"]
    config.write_text(json.dumps(described))
    readme.write_text("# Mine\n")
    kdzoo.save_pretrained(model, tmp_path)
    assert readme.read_text() == "# Mine\n"


def test_a_card_that_was_edited_stays(tmp_path, monkeypatch):
    model, other = MODELS["sequential"](), MODELS["separable"]()
    readme = tmp_path / "README.md"
    kdzoo.save_pretrained(model, tmp_path)
    kdzoo.save_pretrained(other, tmp_path)
    assert f"# {other.name}" in readme.read_text()  # Nobody had edited the first.
    for _ in range(2):
        readme.write_text("# Mine\n")
        for saved in (model, other, other):
            kdzoo.save_pretrained(saved, tmp_path)
            assert readme.read_text() == "# Mine\n"
        kdzoo.save_pretrained(model, tmp_path, card="# Theirs\n")
        assert readme.read_text() == "# Theirs\n"
    calls = []

    def write(path, content):
        calls.append(path)
        if path == readme:
            raise KeyboardInterrupt
        write_bytes(path, content)

    with monkeypatch.context() as patched:  # The card of a save that was broken off is no edit.
        patched.setattr("kdzoo.zoo.shared_directory.write_bytes", write)
        for saved in (other, model, other):
            with pytest.raises(KeyboardInterrupt):
                kdzoo.save_pretrained(saved, tmp_path)
    assert readme.read_text() == "# Theirs\n"
    kdzoo.save_pretrained(other, tmp_path)
    assert f"# {other.name}" in readme.read_text()


def test_files_of_others_stay(tmp_path):
    foreign = tmp_path / "model-12345678.safetensors"
    foreign.write_bytes(b"of somebody else")
    for make in (MODELS["sequential"], MODELS["separable"]):
        kdzoo.save_pretrained(make(), tmp_path)
    assert foreign.read_bytes() == b"of somebody else"
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_constants_of_numpy(tmp_path, images):
    inputs = keras.Input((12, 12, 1))
    x = (inputs - np.array([0.5], "float32")) / np.array([0.25], "float32")
    x = keras.layers.Rescaling(np.array(3.0, "float32"))(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    kdzoo.save_pretrained(model, tmp_path)
    again = kdzoo.load_pretrained(tmp_path)
    np.testing.assert_array_equal(predict(again, images), predict(model, images))


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_an_activation_that_is_a_lambda(tmp_path):
    layers = [keras.Input((3,)), keras.layers.Dense(2, activation=lambda x: x)]
    with pytest.raises(ValueError, match=r"where an argument is a lambda .*: 'plain'") as e:
        kdzoo.save_pretrained(keras.Sequential(layers, name="plain"), tmp_path / "new")
    assert len(str(e.value)) < 500
    assert "\n" not in str(e.value)
    assert not (tmp_path / "new").exists()


def test_a_configuration_that_keras_cannot_build_says_why(tmp_path):
    kdzoo.save_pretrained(MODELS["sequential"](), tmp_path)
    kernel = next(
        number
        for number, layer in enumerate(
            json.loads((tmp_path / "config.json").read_text())["model"]["config"]["layers"]
        )
        if "units" in layer["config"]
    )
    edit(tmp_path, lambda c: layer(c, kernel)["config"].update(units="4"))
    with pytest.raises(ValueError, match=r"Received: .*units.*'?4'?$"):
        kdzoo.load_pretrained(tmp_path)


def test_a_configuration_that_was_altered_is_refused(tmp_path):
    """Another activation changes no shape: nothing but its hash tells it from the one saved."""
    kdzoo.save_pretrained(kdzoo.create("mlp_2x64", 3, (4, 4, 1)), tmp_path)
    path = tmp_path / "config.json"
    text = path.read_text()
    path.write_text(text.replace('"relu"', '"tanh"'))
    assert path.read_text() != text
    with pytest.raises(ValueError, match="one that was altered; fetch the file again"):
        kdzoo.load_pretrained(tmp_path)
    content = json.loads(text)
    path.write_text(json.dumps(content))  # Set otherwise, it is the same.
    kdzoo.load_pretrained(tmp_path)
    del content["model_sha256"]  # Without it nobody would see what was altered.
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no 'model_sha256' in it; fetch the file again"):
        kdzoo.load_pretrained(tmp_path)


@pytest.mark.parametrize("recurrent", ["LSTM", "GRU", "SimpleRNN"])
def test_a_layer_that_makes_weights_late_is_refused_when_it_is_saved(recurrent, tmp_path):
    layers = [keras.Input((5, 3), 2), getattr(keras.layers, recurrent)(4, stateful=True)]
    with pytest.raises(ValueError, match="only when it is called"):
        kdzoo.save_pretrained(keras.Sequential(layers), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    layers[1] = getattr(keras.layers, recurrent)(4)
    kdzoo.save_pretrained(keras.Sequential(layers), tmp_path)
    assert isinstance(kdzoo.load_pretrained(tmp_path), keras.Sequential)


@pytest.mark.parametrize("method", ["save_own_variables", "save_assets"])
def test_a_layer_that_keeps_more_than_weights_is_refused(tmp_path, method):
    def keep(self, *_):
        """Keras's files would hold it, these would not."""

    name = f"Keeper_{method}"
    keeper = type(name, (keras.layers.Dense,), {method: keep})
    keras.saving.register_keras_serializable("tests")(keeper)
    model = keras.Sequential([keras.Input((3,)), keeper(2, name="keeper")])
    with pytest.raises(ValueError, match=f"'keeper', a {name}, which has a {method} of its own"):
        kdzoo.save_pretrained(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_keras_registers_nowhere_is_refused_with_a_way_out(tmp_path):
    from keras.src.applications.convnext import LayerScale

    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, LayerScale(0.5, 2)(inputs))
    with pytest.raises(ValueError, match="share the model as a"):
        kdzoo.save_pretrained(model, tmp_path / "new")


def test_compiled_models_come_back_plain(tmp_path, images):
    model = MODELS["sequential"]()
    model.compile("adam", "mse", metrics=["mae"])
    kdzoo.save_pretrained(model, tmp_path)
    again = kdzoo.load_pretrained(tmp_path)
    assert not again.compiled
    np.testing.assert_array_equal(predict(again, images), predict(model, images))


def test_how_a_model_was_compiled_does_not_matter(tmp_path, images):
    """Neither an own schedule without a configuration nor a loss without source is serialized."""

    class Falling(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 / (1.0 + keras.ops.cast(step, "float32"))

    inner = MODELS["sequential"]()
    inner.compile(
        keras.optimizers.SGD(Falling()), functools.partial(keras.losses.mean_squared_error)
    )
    inputs = keras.Input(inner.input_shape[1:])
    outer = keras.Model(inputs, inner(inputs))
    outer.compile("adam", eval("lambda y, z: keras.ops.mean((y - z) ** 2)"))
    for name, model in {"inner": inner, "outer": outer}.items():
        kdzoo.save_pretrained(model, tmp_path / name)
        assert model.compiled
        again = kdzoo.load_pretrained(tmp_path / name)
        assert not again.compiled
        np.testing.assert_array_equal(predict(again, images), predict(model, images))


def test_what_runs_code_is_neither_saved_nor_loaded(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1, name="mine")(inputs))
    with pytest.raises(ValueError, match="'mine', a Lambda, which runs code"):
        kdzoo.save_pretrained(model, tmp_path)
    assert not list(tmp_path.iterdir())


class Custom(keras.layers.Layer):
    def call(self, x):
        return x


def test_layers_that_nobody_registered(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Custom(name="mine")(inputs))
    remedy = r"import what registers it, or decorate .* `keras.saving.register_keras_serializable"
    with pytest.raises(ValueError, match=remedy):
        kdzoo.save_pretrained(model, tmp_path)
    registered = keras.saving.register_keras_serializable("test_sharing")(Custom)
    model = keras.Model(inputs, keras.layers.Dense(2)(registered(name="mine")(inputs)))
    kdzoo.save_pretrained(model, tmp_path)
    assert isinstance(kdzoo.load_pretrained(tmp_path).get_layer("mine"), Custom)


def test_what_keras_has_quantized_is_not_shared(tmp_path):
    model = MODELS["sequential"]()
    model.layers[-1].quantize("int8")
    with pytest.raises(ValueError, match="that Keras has not quantized"):
        kdzoo.save_pretrained(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_functions_are_not_shared(tmp_path):
    @keras.saving.register_keras_serializable("test_sharing")
    def doubled(x):
        return 2 * x

    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation=doubled)(inputs))
    with pytest.raises(ValueError, match=r"a Dense, with activation= the function .*make it a reg"):
        kdzoo.save_pretrained(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_things_than_models(tmp_path):
    class Subclassed(keras.Model):
        pass

    for wrong in (Subclassed(), keras.layers.Dense(2), "model", keras.Sequential([])):
        with pytest.raises(ValueError, match="functional"):
            kdzoo.save_pretrained(wrong, tmp_path)
    with pytest.raises(ValueError, match="Unknown dtype: 'int8'"):
        kdzoo.save_pretrained(MODELS["sequential"](), tmp_path, dtype="int8")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"Expected a directory\. Received: .*, a file"):
        kdzoo.save_pretrained(MODELS["sequential"](), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(ValueError, match=r"Expected a directory\. Received: .*file, a file, for"):
        kdzoo.save_pretrained(MODELS["sequential"](), tmp_path / "file" / "model")


@pytest.mark.parametrize("directory", [None, 5, b"model", ""])
def test_a_directory_is_a_path(directory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = f"Expected directory to be a path. Received: directory={directory!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kdzoo.save_pretrained(MODELS["sequential"](), directory)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kdzoo.load_pretrained(directory)
    assert not list(tmp_path.iterdir())


def test_the_name_of_a_pretrained_model_is_no_directory():
    with pytest.raises(FileNotFoundError, match=r"kdzoo\.load\('lenet_5/mnist'\) is the pretra"):
        kdzoo.load_pretrained("lenet_5/mnist")


@pytest.fixture
def shared(tmp_path):
    kdzoo.save_pretrained(MODELS["sequential"](), tmp_path)
    return tmp_path


def edit(shared, change):
    """Changes a configuration as somebody would who also makes its hash fit."""
    config = json.loads((shared / "config.json").read_text())
    change(config)
    if {"model", "model_sha256"} <= config.keys():
        text = json.dumps(config["model"], sort_keys=True)
        config["model_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (shared / "config.json").write_text(json.dumps(config))


def array(value, dtype):
    return {"class_name": "__numpy__", "config": {"value": value, "dtype": dtype}}


def layer(config, number=1):
    return config["model"]["config"]["layers"][number]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(version=2), "version=2, which another kdzoo wrote; update kdzoo"),
        (lambda c: c.update(version=2, weights=c.pop("model")), "version=2, .* update kdzoo"),
        (lambda c: c.update(version=True), "version=True"),
        (lambda c: (c.update(model_sha256=5), c.update(model="x")), "where a dict belongs"),
        (lambda c: c.pop("version"), "version=None, which another kdzoo wrote"),
        (lambda c: c.update(format="other"), "another format"),
        (lambda c: c.clear(), "another format"),
        (lambda c: c.pop("weights"), "no 'weights' in it"),
        (lambda c: c.update(weights=[1]), "where a dict belongs"),
        (lambda c: c.update(model="x"), "where a dict belongs"),
        (lambda c: c["weights"].update(bytes="many"), "where a int belongs"),
        (lambda c: c["weights"].pop("sha256"), "no 'sha256' in it"),
        (lambda c: c["weights"].update(bytes=5), "bytes"),
        (lambda c: c["weights"].update(sha256="0" * 64), "SHA-256"),
        (lambda c: c["weights"].update(file="../w"), "Expected weights in a file"),
        (lambda c: layer(c).update(class_name="Lambda"), "a Lambda, which runs code"),
        (lambda c: layer(c).update(class_name="TorchModuleWrapper"), "opens a pickle"),
        (lambda c: layer(c).update(class_name="TFSMLayer"), "opens a SavedModel"),
        (lambda c: layer(c).update(module="os", class_name="system"), "a system of 'os'"),
        (lambda c: layer(c).update(module="keras.utils", class_name="get_file"), "keras.utils"),
        (lambda c: layer(c).update(module="keras", class_name="Lambda"), "runs code"),
        (lambda c: layer(c).update(module=[1]), "Expected the name of a module"),
        (lambda c: layer(c).update(more=array(["a"], "S2000000000")), "one of type 'S2000000000'"),
        (lambda c: layer(c).update(more=array(["a"], "O")), "arrays of numbers"),
        (lambda c: layer(c).update(more=array([1], [["a", "i4", 1 << 30]])), "arrays of numbers"),
        (lambda c: layer(c).update(module=None, registered_name=None), "an unknown module"),
        (lambda c: layer(c).update(class_name="NoSuchLayer"), "a NoSuchLayer of .keras.layers."),
        (lambda c: layer(c).update(module="keras.layers", class_name="os"), "a os of"),
        (
            lambda c: layer(c).update(
                module="kdzoo.compression.tfmot.pruning",
                class_name="PrunedLayer",
                registered_name="kdzoo>PrunedLayer",
            ),
            "not being compressed",
        ),
        (
            lambda c: layer(c).update(
                module="elsewhere", class_name="PrunedLayer", registered_name="kdzoo>PrunedLayer"
            ),
            "not being compressed",
        ),
        (
            lambda c: layer(c).update(module="keras.src.ops.numpy", class_name="KerasTensor"),
            "a KerasTensor of",
        ),
        (lambda c: c.update(model={}), "Expected a model in"),
        (lambda c: layer(c)["config"].update(more=NESTED), "lists within lists"),
        (lambda c: c.update(model={"foo": 1}), "Expected a model in"),
        (
            lambda c: c.update(
                model={"module": "keras.regularizers", "class_name": "L2", "config": {}}
            ),
            "Received: a L2",
        ),
        (
            lambda c: layer(c, 2)["config"].update(
                activation={
                    "class_name": "__lambda__",
                    "registered_name": "kdzoo>SoftTargets",
                    "config": {"value": "4wEA"},
                }
            ),
            "a __lambda__",
        ),
        (lambda c: layer(c, 2)["config"].update(units=5), "shape"),
        (lambda c: layer(c, 2)["config"].update(units=10**13), "shape"),  # None has the memory.
        (
            lambda c: layer(c, 2)["config"].update(name="other"),
            "with .logits/bias., .logits/kernel., which the model does not have",
        ),
        (lambda c: layer(c, 2)["config"].update(activation="lambda x: x"), "can build"),
        (
            lambda c: layer(c, 2)["config"].update(
                activation={"class_name": "function", "config": "x", "module": "builtins"}
            ),
            "the function 'x'",
        ),
        (
            lambda c: layer(c, 2)["config"].update(
                activation={"class_name": "__lambda__", "config": {"value": "4wEA"}}
            ),
            "a __lambda__",
        ),
    ],
)
def test_configurations_that_are_not_to_be_trusted(change, message, shared):
    edit(shared, change)
    with pytest.raises(ValueError, match=message) as error:
        kdzoo.load_pretrained(shared)
    assert str(shared) in str(error.value)


@pytest.mark.parametrize("other", ["pipe", "directory", "device"])
@pytest.mark.parametrize("name", ["config.json", "weights"])
def test_what_is_no_file_is_refused_at_once(other, name, shared):
    path = weights_in(shared) if name == "weights" else shared / name
    path.unlink()
    if other == "directory":
        path.mkdir()
    elif other == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=rf"{path.name} to be a regular file. Received: a {other}"):
        kdzoo.load_pretrained(shared)


@pytest.mark.parametrize("name", ["config.json", "README.md", "model-01234567.safetensors"])
def test_a_pipe_does_not_keep_a_save_waiting(name, tmp_path):
    os.mkfifo(tmp_path / name)
    model = MODELS["sequential"]()
    if name.startswith("model"):
        kdzoo.save_pretrained(model, tmp_path)
        assert (tmp_path / name).is_fifo()  # It is nobody's weights.
    else:
        with pytest.raises(ValueError, match=f"{name} would be replaced"):
            kdzoo.save_pretrained(model, tmp_path)


def test_weights_that_a_path_leads_to_name_it(tmp_path):
    model, path = MODELS["sequential"](), tmp_path / "w.safetensors"
    with pytest.raises(FileNotFoundError, match=r"a safetensors file in .*w\.safetensors"):
        kdzoo.zoo.load_weights(model, path)
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"w\.safetensors to be a regular file"):
        kdzoo.zoo.load_weights(model, path)
    path.unlink()
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # It takes no room on the disk.
    with pytest.raises(ValueError, match=r"w\.safetensors to be a file that was written"):
        kdzoo.zoo.load_weights(model, path)


def test_files_that_are_missing_or_elsewhere(shared, tmp_path_factory):
    path = weights_in(shared)
    outside = tmp_path_factory.mktemp("outside") / path.name
    path.rename(outside)
    with pytest.raises(FileNotFoundError, match="safetensors"):
        kdzoo.load_pretrained(shared)
    path.symlink_to(outside)
    with pytest.raises(ValueError, match="a link to a file elsewhere"):
        kdzoo.load_pretrained(shared)
    with pytest.raises(FileNotFoundError, match="config"):
        kdzoo.load_pretrained(outside.parent)
    config = shared / "config.json"
    config.rename(outside.with_name("config.json"))
    config.symlink_to(outside.with_name("config.json"))
    with pytest.raises(ValueError, match="a link to a file elsewhere"):
        kdzoo.load_pretrained(shared)
    config.unlink()
    config.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="to be a model of kdzoo"):
        kdzoo.load_pretrained(shared)
    config.write_text("{")
    with pytest.raises(ValueError, match="to be a model of kdzoo"):
        kdzoo.load_pretrained(shared)


@pytest.mark.tensorflow  # Configurations are the same on JAX, which takes long to build the models.
def test_all_of_kdzoos_own_architectures_may_be_shared():
    families = {kdzoo.zoo.architecture(name).family: name for name in kdzoo.list_models()}
    families["wide_resnet"] = "wide_resnet_16_1"
    families["resnet"] = "resnet_20"
    families["fitnet"] = "fitnet_1"
    families |= {"shallow": "shallow_4000", "vgg": "vgg_8", "plain_cnn": "plain_cnn_10"}
    for name in families.values():
        config = keras.saving.serialize_keras_object(kdzoo.create(name))
        check_parts(json.loads(json.dumps(config)))
