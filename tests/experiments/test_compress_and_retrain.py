"""A trained model compressed in one go: each road keeps what it reached, and survives a kill."""

import inspect

import keras
import numpy as np
import pytest

import kdzoo
import kdzoo.data
from kdzoo import schemes
from kdzoo.cli import compressed_output, main
from kdzoo.compression import prune_filters
from kdzoo.experiments import Compress, Compression, Dependency, compress_and_retrain, retraining
from kdzoo.experiments.compress_and_retrain import compress
from kdzoo.experiments.measure_compressed import export, measure_file
from kdzoo.experiments.stage_settings import settings_of
from kdzoo.export import LiteRTModel
from kdzoo.training.stage_callback import StageCallback

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning"),
]


@pytest.fixture(scope="module")
def data():
    return kdzoo.data.load("digits")


@pytest.fixture(scope="module")
def trained(data):
    """A small convolutional network that knows the digits."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(16, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="stage1")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.Conv2D(32, 1, activation="relu", name="stage2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(inputs, keras.layers.Dense(10, name="logits")(x), name="net")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    model.fit(*data.train.arrays(), 32, epochs=12, verbose=0)
    assert kdzoo.evaluation.accuracy(model, *data.test.arrays()) > 0.75
    return model


KERNELS = ("conv", "stage2", "logits")


def kernels(model):
    plain = model.plain_model() if hasattr(model, "plain_model") else model
    return [plain.get_layer(name).get_weights()[0] for name in KERNELS]


ROADS = [
    {"prune": 0.6},
    {"prune": "2:4", "quantize": "int8"},
    {"cluster": 8, "quantize": "float16"},
    {"quantize": "qat"},
    {"prune": 0.6, "quantize": "qat"},
    {"prune": 0.6, "scheme": "lottery_ticket", "cluster": 8, "quantize": "qat"},
    {"prune": 0.6, "scheme": "deep_compression", "cluster": 8, "quantize": "qat"},
    {"cluster": 8, "quantize": "qat"},
    {"filters": 0.6, "rounds": 2},
    {"prune": 0.6, "cluster": 8, "quantize": "qat"},
]


SLOW = [*ROADS[:1], *ROADS[2:]]  # Their steps are taken by others too.


@pytest.mark.parametrize(
    "road",
    [
        pytest.param(
            road,
            id="-".join(map(str, road.values())),
            marks=[pytest.mark.large] * (road in SLOW),
        )
        for road in ROADS
    ],
)
def test_every_road_arrives(road, trained, data, tmp_path):
    before = [weight.copy() for weight in trained.get_weights()]
    training = retraining(2, 5e-3, batch_size=16, augmentation=None)
    compression = Compression(**road, training=training)
    taught = {"teacher": trained} if road == ROADS[-1] else {}
    model, histories = compress(trained, compression, data, tmp_path, **taught, verbose=0)
    assert list(histories) == compression.steps
    for step, history in histories.items():
        assert len(history["loss"]) == 2 * compression.trainings[step]
    for ours, theirs in zip(trained.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    report = export(model, tmp_path / "model.tflite", compression, data)
    assert (report.inputs[0].step is not None) == ("int8" in str(report.quantize))
    measured = measure_file(report.path, model, data)
    assert measured["bytes"] == report.path.stat().st_size
    images, labels = data.test.arrays()
    predicted = LiteRTModel(report.path).predict(images).argmax(-1)
    assert measured["test_accuracy"] == np.mean(predicted == labels)
    assert measured["agreement"] >= 0.97
    assert measured["test_accuracy"] > 0.6
    if "filters" in road:
        assert histories["filters"]["stage"] == [1, 1, 2, 2]
        macs = [kdzoo.evaluation.count_macs(one) for one in (model, trained)]
        assert macs[0] <= 0.6 * macs[1]
    for kernel in kernels(model):
        zeros = (kernel == 0).mean()
        if road.get("prune") == 0.6:
            assert zeros >= 0.59
        if road.get("prune") == "2:4" and kernel.shape[-2] > 1:
            rows = np.moveaxis(kernel, -2, -1).reshape(-1, 4)
            assert ((rows == 0).sum(-1) >= 2).all()
        if "cluster" in road:
            channels = kernel[None] if kernel.ndim == 2 else np.moveaxis(kernel, -1, 0)
            values = 8 + (road.get("scheme") == "deep_compression")  # And zero.
            assert max(len(np.unique(channel)) for channel in channels) <= values


@pytest.mark.large
def test_zeros_reach_the_int8_file(trained, data, tmp_path):
    compression = Compression(0.6, quantize="qat", training=retraining(1, augmentation=None))
    model, _ = compress(trained, compression, data, tmp_path, verbose=0)
    report = export(model, tmp_path / "model.tflite", compression, data)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(report.path))
    interpreter.allocate_tensors()
    shares = {
        tuple(tensor["shape"]): (interpreter.get_tensor(tensor["index"]) == 0).mean()
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] is np.int8 and tuple(tensor["shape"]) in ((32, 1, 1, 16), (10, 32))
    }
    assert len(shares) == 2
    for share in shares.values():
        assert share >= 0.59


class Kill(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    """Ends the process, as it were, in the middle of the second epoch of a step."""

    def __init__(self, step):
        super().__init__()
        self.step, self.seen = step, 0

    def on_train_begin(self, logs=None):
        self.seen += 1

    def on_train_batch_end(self, batch, logs=None):
        if self.seen == self.step and self.params["steps"] // 2 == batch and self.epoch == 1:
            raise Kill

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


@pytest.mark.large
def test_a_killed_run_ends_as_an_undisturbed_one(trained, data, tmp_path):
    compression = Compression(0.6, 8, "qat", retraining(2, augmentation=None))
    whole, histories = compress(trained, compression, data, tmp_path / "whole", verbose=0)
    # Which training of a call is killed: what is finished is not trained again.
    for killed, step in ((1, "prune"), (2, "cluster"), (2, "quantize")):
        with pytest.raises(Kill):
            compress(
                trained,
                compression,
                data,
                tmp_path / "killed",
                verbose=0,
                callbacks=[KillAt(killed)],
            )
        found = {path.name for path in (tmp_path / "killed").iterdir()}
        assert found == set(compression.steps[: compression.steps.index(step) + 1])
    again, resumed = compress(trained, compression, data, tmp_path / "killed", verbose=0)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for step, history in histories.items():
        np.testing.assert_allclose(resumed[step]["loss"], history["loss"], rtol=1e-4)


@pytest.mark.large
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"filters": 0.6, "rounds": 2}, id="filters"),
        pytest.param({"prune": 0.75, "scheme": "lottery_ticket", "rounds": 1}, id="ticket"),
        pytest.param(
            {"prune": 0.75, "cluster": 8, "scheme": "deep_compression", "rounds": 1}, id="deep"
        ),
    ],
)
def test_a_step_of_two_trainings_goes_on_in_the_second(settings, data, tmp_path):
    model = small(tmp_path)
    training = retraining(2, 1e-2, batch_size=250, augmentation=None)
    compression = Compression(**settings, training=training)
    (step,) = compression.steps
    whole, histories = compress(model, compression, data, tmp_path / "whole", verbose=0)
    run = {"data": data, "directory": tmp_path / "killed", "verbose": 0}
    with pytest.raises(Kill):
        compress(model, compression, **run, callbacks=[KillAt(2)])
    never = KillAt(99)
    again, resumed = compress(model, compression, **run, callbacks=[never])
    assert never.seen == 1  # The first training was finished.
    assert resumed[step]["stage"] == histories[step]["stage"] == [1, 1, 2, 2]
    np.testing.assert_allclose(resumed[step]["loss"], histories[step]["loss"], rtol=1e-4)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.large
def test_recorded_outputs_stand_in_for_the_teacher(trained, data, tmp_path, monkeypatch):
    """With the views that a live teacher would be asked about, training is the same."""
    made, distiller = [], compress_and_retrain.Distiller
    monkeypatch.setattr(
        compress_and_retrain, "Distiller", lambda *a, **k: made.append(a[0]) or distiller(*a, **k)
    )
    kdzoo.data.record_teacher(
        trained, data.train, tmp_path / "record", 2, augmentation="default", seed=0
    )
    recorded = kdzoo.data.with_recorded_teacher(data.train, tmp_path / "record", trained)
    compression = Compression(prune=0.5, training=retraining(2, batch_size=300))
    given = {"data": data, "teacher": trained, "verbose": 0}
    live, expected = compress(trained, compression, directory=tmp_path / "live", **given)
    given |= {"directory": tmp_path / "recorded", "recorded": recorded}
    model, history = compress(trained, compression, **given)
    assert made == [trained, None]
    np.testing.assert_allclose(history["prune"]["loss"], expected["prune"]["loss"], rtol=1e-3)
    for ours, theirs in zip(kernels(model), kernels(live), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
    with pytest.raises(ValueError, match="choose another directory"):
        compress(trained, compression, **{**given, "recorded": None})


def test_the_run_of_another_model_is_not_taken_for_this_one(trained, data, tmp_path):
    compression = Compression(0.5, training=retraining(1, batch_size=256, augmentation=None))
    arguments = {"data": data, "directory": tmp_path, "verbose": 0}
    compress(trained, compression, **arguments, teacher=trained)
    other = keras.models.clone_model(trained)
    for model, teacher in ((other, trained), (trained, other)):
        with pytest.raises(ValueError, match="choose another directory"):
            compress(model, compression, **arguments, teacher=teacher)
    probabilities = keras.Sequential([trained, keras.layers.Softmax()])
    with pytest.raises(ValueError, match="which ends in a softmax"):
        compress(probabilities, compression, **arguments, teacher=trained)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"prune": 1.0}, r"prune=1\.0"),
        ({"prune": "2:3"}, "or '2:4'"),
        ({"cluster": 1}, "at least 2"),
        ({"cluster": 2, "prune": 0.5}, "at least 3, as zero"),
        ({"quantize": "int9"}, "Did you mean 'int8'"),
        ({"training": retraining(0)}, "epochs"),
        ({"training": retraining(1, 0)}, "learning_rate=0"),
        ({"training": retraining(1, "1")}, "learning_rate='1'"),
        ({"training": retraining(precision="mixed_bfloat16")}, "in float32, as TF-MOT"),
        ({"training": 5}, "Expected a Training. Received: training=5"),
        ({"temperature": -1}, "temperature=-1"),
        ({"student_loss_weight": 2}, "student_loss_weight"),
        ({"sparse": True, "quantize": "qat"}, "sparse=True"),
        ({"weight_bits": 5, "quantize": "qat"}, "weight_bits of 4 or 8"),
        ({"weight_bits": 4, "quantize": "int8"}, "weight_bits=4 with quantize='qat'"),
        ({"weight_bits": 4, "quantize": "qat", "prune": 0.5}, "without prune and cluster"),
        ({"scheme": "lottery", "prune": 0.5}, "Unknown scheme: 'lottery'"),
        ({"scheme": "lottery_ticket"}, "prune as a fraction of zeros .* prune=None"),
        ({"scheme": "lottery_ticket", "prune": "2:4"}, "prune as a fraction of zeros .*'2:4'"),
        ({"scheme": "deep_compression", "prune": 0.5}, "a power of 2, .* cluster=None"),
        (
            {"scheme": "deep_compression", "prune": 0.5, "cluster": 1},
            r"at least 2\. Received: cluster=1",
        ),
        ({"scheme": "deep_compression", "prune": 0.5, "cluster": 12}, "cluster=12"),
        ({"scheme": "deep_compression", "prune": 0.5, "cluster": 512}, "cluster=512"),
        ({"rounds": 2, "prune": 0.5}, "beside rounds.* rounds=2 alone"),
        ({"rounds": 0, "filters": 0.5}, "rounds=0"),
        *(
            ({name: value}, f"beside {name}. .* {name}='{value}' alone")
            for name, value in (
                ("filters_target", "latency"),
                ("filters_target", "macs"),
                ("filters_importance", "taylor"),
                ("filters_scope", "global"),
            )
        ),
        ({"filters": 0.5, "filters_importance": "l3"}, "Unknown filters_importance: 'l3'"),
        ({"filters": 0.5, "filters_scope": "layer"}, "Unknown filters_scope: 'layer'"),
        ({"prune": {"conv": 0.5}}, "scheme='deep_compression' beside prune by layer"),
        ({"cluster": {"conv": 8}, "prune": 0.5, "scheme": "lottery_ticket"}, "cluster by layer"),
        *(
            ({"prune": 0.5, "cluster": 8, "scheme": "deep_compression", **given}, complaint)
            for given, complaint in (
                ({"prune": {"conv": 1.0}}, r"Expected prune\['conv'\] to lie in \[0, 1\)"),
                ({"prune": {}}, "path of a layer -> number"),
                ({"cluster": {3: 8}}, "path of a layer -> number"),
                ({"cluster": {"conv": 8, "logits": 12}}, r"Expected cluster\['logits'\] as a pow"),
                ({"cluster": {"conv": 8, "logit": 8}}, "Unknown layer .*mean 'logits'"),
                ({"prune": {"depthwise": 0.5}}, "'depthwise', a DepthwiseConv2D"),
                ({"prune": {"conv": 0.5}, "low_rank": 0.5}, "prune as one number beside low_rank"),
                ({"cluster": {"conv": 8}, "quantize": "qat"}, "none for 'stage2', 'logits'"),
            )
        ),
        ({"filters": 0.5, "low_rank": {"stage2": 0}}, "rank of 'stage2'"),
        ({"filters": 0.5, "low_rank": {"stag2": 3}}, "'stag2'"),
        ({"filters": 0.5, "filters_target": "flops"}, "Unknown filters_target: 'flops'"),
    ],
)
def test_settings_are_checked(settings, complaint, trained, data, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        compress(trained, Compression(**settings), data, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.large
def test_on_the_command_line(trained, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trained.save("net.keras")
    arguments = ["compress", "net.keras", "net.tflite", "digits", "--prune", "0.5"]
    arguments += ["--quantize", "qat", "--teacher", "net.keras", "--epochs", "1"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "Note: Not pruned in 'net': depthwise" in captured.err
    rows = {line.split("  ")[1].strip(): line for line in captured.out.splitlines() if "  " in line}
    model = keras.saving.load_model("runs/compress-net/model.keras")
    measured = measure_file("net.tflite", model, data)
    assert f"{100 * measured['test_accuracy']:.2f} %" in rows["accuracy of the file"]
    assert f"{measured['gzipped_bytes']:,}" in rows["bytes after gzip"]
    assert f"{measured['bytes']:,}" in rows["bytes"]


def test_what_cannot_be_quantized_is_said_before_anything_is_trained(data, tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="elu", name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    with pytest.raises(ValueError, match="'conv', a Conv2D with activation 'elu'"):
        compress(
            model, Compression(prune=0.5, quantize="qat", training=retraining(1)), data, tmp_path
        )
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_being_pruned_is_refused(trained, data, tmp_path):
    pruned = kdzoo.compression.prune_low_magnitude(trained)
    with pytest.raises(ValueError, match=r"'net', which is being pruned, .* already: pass `strip"):
        compress(pruned, Compression(prune=0.9, training=retraining(1)), data, tmp_path)
    assert not list(tmp_path.iterdir())


def small(tmp_path):
    """A file of a network of two layers, and the network."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(40, "relu", name="wide")]
    head = keras.layers.Dense(10, name="logits")
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers, head], name="net")
    model.save(tmp_path / "net.keras")
    return model


def test_a_kdz_file_is_written_evaluated_and_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = small(tmp_path)
    options = ["--filters", "0.6", "--filters-importance", "l1", "--filters-scope", "local"]
    options += ["--epochs", "1", "--learning-rate", "1e-9"]
    assert main(["compress", "net.keras", "net.kdz", "digits", *options]) == 0
    shown, said = capsys.readouterr()
    pruned, _ = prune_filters(before, target_macs=0.6, importance="l1", scope="local")
    assert "Note: --filters left logits: an output of the model\n" in said
    assert f"{(tmp_path / 'net.kdz').stat().st_size:,}" in shown
    model = kdzoo.load_model("net.kdz")
    for found, wanted in zip(model.get_weights(), pruned.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    units = model.get_layer("wide").units
    assert units <= 24
    weights = 4 * (64 * units + units + 10 * units + 10)
    assert f"{weights:,}" in shown
    assert main(["evaluate", "net.kdz", "digits"]) == 0
    assert f"{model.count_params():,}" in capsys.readouterr().out
    assert main(["export", "net.kdz", "net.tflite"]) == 0
    images = kdzoo.data.load("digits").test.arrays()[0][:8]
    outputs = keras.ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(LiteRTModel("net.tflite").predict(images), outputs, atol=1e-4)


def test_deep_compression_is_one_command(tmp_path, monkeypatch):
    """The largest weights are left, and those of a cluster are their mean."""
    monkeypatch.chdir(tmp_path)
    before = small(tmp_path)
    options = ["--prune=wide=0.75,logits=0.5", "--cluster=wide=16,logits=4"]
    options += ["--scheme=deep-compression", "--rounds=1"]
    options += ["--epochs=1", "--learning-rate=1e-9", "--batch-size=500", "--no-augment"]
    command = ["compress", "net.keras", "net.kdz", "digits", "--teacher=net.keras", *options]
    assert main(command) == 0
    model = kdzoo.load_model("net.kdz")
    for name, fraction, least, most in (("wide", 0.75, 5, 16), ("logits", 0.5, 2, 4)):
        dense = before.get_layer(name).get_weights()[0]
        kernel = model.get_layer(name).get_weights()[0]
        smallest = np.sort(np.abs(dense), axis=None)[: int(dense.size * fraction)]
        np.testing.assert_array_equal(kernel != 0, np.abs(dense) > smallest[-1])
        values = np.unique(kernel[kernel != 0])
        assert least <= len(values) <= most
        for value in values:  # Rounded to eight significant bits.
            np.testing.assert_allclose(value, dense[kernel == value].mean(), rtol=2.0**-8)


def test_a_ticket_goes_back_to_the_weights_of_the_file(data, tmp_path):
    model, begun = small(tmp_path), []
    watch = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: begun.append(watch.model.get_weights())
    )
    rounds = []

    class Rounds(StageCallback):
        def on_stage_begin(self, number, stages, name):
            rounds.append((number, stages, name, len(begun)))

    training = retraining(1, 1e-2, batch_size=500, augmentation=None)
    compression = Compression(0.75, training=training, scheme="lottery_ticket", rounds=2)
    callbacks = [watch, Rounds()]
    ticket, _ = compress(model, compression, data, tmp_path, verbose=0, callbacks=callbacks)
    assert rounds == [(n + 1, 3, f"round-{n}", n) for n in range(3)]
    assert len(begun) == 3
    for weights, fraction in zip(begun, (0, 0.5, 0.75), strict=True):
        for found, given in zip(weights, model.get_weights(), strict=True):
            is_left = found != 0 if found.ndim > 1 else np.ones(found.shape, bool)
            assert 1 - is_left.mean() == (fraction if found.ndim > 1 else 0)
            np.testing.assert_array_equal(found[is_left], given[is_left])
    for kernel, given in zip(ticket.get_weights()[::2], begun[-1][::2], strict=True):
        np.testing.assert_array_equal(kernel == 0, given == 0)


@pytest.mark.parametrize(
    ("settings", "teacher", "expected"),
    [
        ({"rounds": 4}, None, {"steps": 4, "target_macs": 0.75}),
        ({"filters_target": "latency"}, "recorded", {"steps": 1, "target_latency": 0.75}),
        (
            {"filters_target": "channels", "rounds": 2, "filters_scope": "local"},
            "recorded",
            {"steps": 2, "ratio": 0.25, "scope": "local"},
        ),
        (
            {"filters_importance": "taylor"},
            None,
            {"steps": 1, "target_macs": 0.75, "importance": "taylor"},
        ),
    ],
)
def test_filters_go_in_rounds(settings, teacher, expected, data, tmp_path, monkeypatch):
    """Or by one that keeps what it chose; the batches have a teacher's outputs if they can."""
    usual = inspect.signature(prune_filters).parameters
    expected = {name: usual[name].default for name in ("importance", "scope")} | expected
    model, calls = small(tmp_path), []

    def filter_pruning(*places, **options):
        calls.append(options)
        return places[0], {"loss": [0.0]}

    monkeypatch.setattr(schemes, "filter_pruning", filter_pruning)
    training = retraining(1, augmentation=None)
    compression = Compression(filters=0.75, training=training, **settings)
    given = {"teacher": model if teacher else None, "verbose": 0}
    left = {}
    compress(model, compression, data, tmp_path, **given, note_left=left.__setitem__)
    (options,) = calls
    how = ("steps", "ratio", "importance", "scope")
    targets = {name: value for name, value in options.items() if name in how}
    targets |= {name: value for name, value in options.items() if name.startswith("target_")}
    assert targets == expected
    if "filters_importance" in settings:
        given = options["importance_data"]
        samples = [np.concatenate([np.asarray(pair[n]) for pair in given]) for n in (0, 1)]
        images, labels = data.train.arrays()
        positions = {image.tobytes(): n for n, image in enumerate(images)}
        found = [positions[image.tobytes()] for image in samples[0]]
        assert len(found) == len(set(found)) == 512
        np.testing.assert_array_equal(labels[found], samples[1])
    else:
        assert "importance_data" not in options
    assert options["teacher"] == teacher
    # The model of this stub has all of its channels.
    of_scores = {"wide": "its scores, or round_to"}
    assert left == {"filters": {**of_scores, "logits": "an output of the model"}}


@pytest.mark.large
@pytest.mark.parametrize("importance", ["taylor", "apoz", "random"])
def test_a_criterion_chooses_what_prune_filters_chooses(importance, trained, data, tmp_path):
    training = retraining(1, 1e-9, batch_size=500, augmentation=None)
    settings = {"filters_importance": importance, "filters_scope": "local"}
    compression = Compression(filters=0.6, training=training, **settings)
    made, _ = compress(trained, compression, data, tmp_path, verbose=0, seed=3)
    batches = list(data.train.batches(128, shuffle=True, seed=3))[:4]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    how = {"target_macs": 0.6, "data": batches, "loss": loss, "seed": 3}
    expected, _ = prune_filters(trained, importance=importance, scope="local", **how)
    usual, _ = prune_filters(trained, target_macs=0.6)
    for found, wanted in zip(kernels(made), kernels(expected), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    shapes = [[kernel.shape for kernel in kernels(model)] for model in (expected, usual)]
    assert shapes[0] != shapes[1] or not np.allclose(kernels(expected)[0], kernels(usual)[0])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0.5, 16), (0.5, 4)),
        (({"wide": 0.75}, {"wide": 2, "logits": 256}), ({"wide": 0.75}, {"wide": 1, "logits": 8})),
        (({"wide": 0.75}, {"wide": 4}), ({"wide": 0.75}, {"wide": 2})),
    ],
)
def test_zeros_and_values_are_of_all_layers_or_by_layer(
    given, expected, data, tmp_path, monkeypatch
):
    calls = []

    def deep_compression(*places, **options):
        calls.append((options["sparsity"], options["bits"]))
        return places[0], {"loss": [0.0]}

    monkeypatch.setattr(schemes, "deep_compression", deep_compression)
    compression = Compression(*given, scheme="deep_compression")
    left = {}
    compress(small(tmp_path), compression, data, tmp_path, verbose=0, note_left=left.__setitem__)
    assert calls == [expected]
    is_named = not isinstance(given[1], dict) or "logits" in given[1]
    named = "not among the layers that were named"
    assert left == ({} if is_named else {"deep_compression": {"logits": named}})
    by_layer = " by layer" if isinstance(given[0], dict) else ""
    assert by_layer in compression.in_words()


@pytest.mark.parametrize(
    ("options", "teaches"),
    [
        (["--filters=0.5"], True),
        (["--filters=0.5", "--prune=0.5", "--temperature=2"], True),
        (["--filters=0.5", "--teacher=none"], False),
        (["--prune=0.5"], False),
    ],
)
def test_filters_go_with_the_model_itself_as_teacher(options, teaches, tmp_path, monkeypatch):
    """As in `schemes.filter_pruning`, unless the command says that nobody teaches."""
    unpruned = inspect.signature(schemes.filter_pruning).parameters["teacher"].default
    assert unpruned == "unpruned"
    monkeypatch.chdir(tmp_path)
    small(tmp_path)
    calls = []

    def stop(model, compression, *where, teacher, **ignored):
        calls.append((model, compression.temperature, teacher))
        raise ValueError("stopped")

    monkeypatch.setattr(compress_and_retrain, "compress", stop)
    assert main(["compress", "net.keras", "net.kdz", "digits", *options]) == 1
    ((model, temperature, teacher),) = calls
    assert teacher is (model if teaches else None)
    assert temperature == (2 if "--temperature=2" in options else 4)


def test_what_is_not_given_is_no_part_of_what_a_compression_is_known_by():
    usual = {"filters_target": "macs", "filters_importance": "group_l2", "filters_scope": "global"}
    for given in ({}, usual):
        known = settings_of(Compression(0.5, filters=0.5, **given))
        assert known == {"prune": 0.5, "filters": 0.5}
    other = Compression(filters=0.5, filters_importance="l1", filters_scope="local")
    assert settings_of(other) == {
        "filters": 0.5,
        "filters_importance": "l1",
        "filters_scope": "local",
    }
    assert other.in_words() == (
        "filters left for 50% of the MACs by l1, of each group alike, trained again"
    )
    stage = Compress("a", Dependency("b"), Compression(0.5, 16, scheme="deep_compression"))
    assert stage.epochs == 4 * 3  # Three rounds, and the codebooks.
    assert stage.smoke().compression.trainings == {"deep_compression": 2}


def test_equal_reasons_of_layers_that_are_left_are_one_line():
    left = {f"stage{n}": f"no smaller at rank {n}, which would need {n},000" for n in range(5)}
    left["depthwise"] = "a DepthwiseConv2D, no Dense"
    assert compressed_output.lines_of_left("low_rank", left) == [
        "--low-rank left stage0, stage1, stage2 and 2 more: "
        "no smaller at rank 0, which would need 0,000",
        "--low-rank left depthwise: a DepthwiseConv2D, no Dense",
    ]
    (line,) = compressed_output.lines_of_left("deep_compression", {"depthwise": "no Dense"})
    assert line == "--scheme deep-compression left depthwise: no Dense"
    many = {letter: f"of reason {letter}" for letter in "abcdef"}
    lines = compressed_output.lines_of_left("binary", many)
    assert lines[2:] == ["--binary left c: of reason c", "--binary left 3 more for other reasons"]


@pytest.mark.large
def test_steps_that_change_layers_come_in_any_order_and_weights_after_them(trained, data, tmp_path):
    training = retraining(1, 5e-3, augmentation=None)
    orders = {(): 0.9, ("separable", "filters", "low_rank"): {"wide": 6}}
    for order, low_rank in orders.items():
        shaping = {"filters": 0.7, "low_rank": low_rank, "separable": True}
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(16, 3, activation="relu", name="conv")(inputs)
        x = keras.layers.Conv2D(24, 3, activation="relu", name="stage2")(x)
        x = keras.layers.Dense(48, "relu", name="wide")(keras.layers.Flatten()(x))
        model = keras.Model(inputs, keras.layers.Dense(10, name="logits")(x), name="net")
        compression = Compression(0.5, 8, training=training, **shaping, order=order)
        steps = list(order) or ["filters", "low_rank", "separable"]
        directory = tmp_path / "-".join(steps)
        made, histories = compress(model, compression, data, directory, verbose=0)
        assert list(histories) == [*steps, "prune", "cluster"]
        if order:
            assert made.get_layer("wide_factor_1").units == 6
        report = kdzoo.save_compressed(made, tmp_path / "net.kdz", keep_negative_zeros=False)
        assert report.bytes < 0.5 * report.plain < 0.4 * 4 * model.count_params()
    binary, histories = compress(
        trained, Compression(binary="xnor", training=training), data, tmp_path / "b", verbose=0
    )
    assert list(histories) == ["binary"]
    kernel = binary.get_layer("stage2").get_weights()[0]
    assert len(np.unique(np.abs(kernel[..., 0]))) == 1
    with pytest.raises(
        ValueError, match=r"a layer can be replaced\. Received: 'dense', a Dense, no Conv2D"
    ):
        compress(
            keras.Sequential(
                [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
            ),
            Compression(separable=True, training=training),
            data,
            tmp_path / "s",
        )
