"""`prune_filters`: zeros go without a change, targets are met, and what is wrong is said."""

import keras
import numpy as np
import pytest
from keras import layers

import kdzoo
from kdzoo.compression import FilterPruningReport, prune_filters
from kdzoo.compression.filter_pruning import measured_latency

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 10, 10, 3)).astype("float32")
Y = RNG.integers(0, 3, 8)


def classifier(padding="valid", use_bias=True, norm=True):
    inputs = keras.Input((10, 10, 3))
    x = layers.Conv2D(16, 3, padding=padding, name="first")(inputs)
    x = layers.BatchNormalization(name="norm")(x) if norm else x
    x = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(16, 3, padding=padding, use_bias=use_bias, name="second")(x)
    x = layers.ReLU(name="relu2")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(name="pool")(x))
    x = layers.Dense(24, activation="relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="net")


def with_zero_filters(model, name, count=8, shift=0.0):
    """Sets filters of a layer, every other of the first, to zero; what comes of them is `shift`."""
    kernel, bias = (np.array(w) for w in model.get_layer(name).get_weights())
    kernel[..., : 2 * count : 2], bias[: 2 * count : 2] = 0, 0
    model.get_layer(name).set_weights([kernel, bias])
    if shift:
        mean = np.full(16, 0.3, "float32")
        beta = np.full(16, 0.3 + shift, "float32")
        norm = [np.ones(16), beta, mean, np.full(16, 1 - model.get_layer("norm").epsilon)]
        model.get_layer("norm").set_weights(norm)
    return model


def only(layer):
    """An importance by the sizes of filters that leaves all but one layer as they are."""
    return lambda group: np.abs(group.filters()[0]).sum(1) if group.layers == (layer,) else None


def pruned(model, layer, **options):
    options = {"ratio": 0.5, "scope": "local", "round_to": 1, "importance": only(layer), **options}
    return prune_filters(model, **options)


def widths(model):
    return [layer.get_weights()[0].shape[-1] for layer in model.layers if layer.weights]


def check_equal(model, smaller):
    np.testing.assert_allclose(
        smaller.predict_on_batch(X), model.predict_on_batch(X), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_filters_of_zeros_go(padding):
    model = with_zero_filters(classifier(padding, norm=False), "first")
    smaller, _ = pruned(model, "first")
    assert widths(smaller) == [8, 16, 24, 3]
    kernel = model.get_layer("first").get_weights()[0]
    np.testing.assert_array_equal(smaller.get_layer("first").get_weights()[0], kernel[..., 1::2])
    check_equal(model, smaller)


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_constant_goes_into_the_next_bias(use_bias):
    model = with_zero_filters(classifier(use_bias=use_bias), "first", shift=0.4)
    smaller, _ = pruned(model, "first")
    assert widths(smaller)[0] == 8
    bias = smaller.get_layer("second").get_weights()[1]
    kernel = model.get_layer("second").get_weights()[0]
    np.testing.assert_allclose(bias, 0.4 * kernel[:, :, ::2].sum((0, 1, 2)), rtol=1e-4, atol=1e-6)
    check_equal(model, smaller)


def test_a_constant_stays_where_zeros_are_padded():
    model = with_zero_filters(classifier("same"), "first", shift=0.4)
    smaller, report = pruned(model, "first", ratio=0.75)
    kernel = smaller.get_layer("first").get_weights()[0]
    assert kernel.shape[-1] == 8
    assert not kernel.any()  # All others went before.
    assert "zeros are padded" in report.groups[0].reason


@pytest.mark.parametrize("shift", [-0.4, 1e-9])
def test_a_constant_of_zero_goes_where_zeros_are_padded(shift):
    model = with_zero_filters(classifier("same"), "first", shift=shift)
    model.get_layer("norm").beta.assign(np.full(16, shift))
    model.get_layer("norm").moving_mean.assign(np.zeros(16))
    smaller, _ = pruned(model, "first")  # A negative one is zero after the ReLU.
    assert widths(smaller)[0] == 8
    check_equal(model, smaller)


def test_neurons_and_flattened_maps_go():
    model = classifier()
    for name, count in (("second", 8), ("hidden", 12)):
        with_zero_filters(model, name, count)
    smaller, _ = prune_filters(model, ratio=0.5, scope="local", round_to=1, ignored_layers=["norm"])
    assert widths(smaller) == [16, 16, 8, 12, 3]
    check_equal(model, smaller)


def test_the_model_stays_as_it_is_and_sequential_models_stay_sequential():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(16, "relu", name="a"), layers.Dense(2, name="b")],
        name="seq",
    )
    model.compile("adam", "mse")
    before = model.get_weights()
    smaller, _ = prune_filters(model, ratio=0.5)
    assert type(smaller) is keras.Sequential
    assert smaller.name == "seq"
    assert smaller.compiled
    assert [layer.name for layer in smaller.layers] == ["a", "b"]
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("target", ["target_macs", "target_parameters"])
def test_targets_are_met_and_reported(scope, target):
    model = classifier()
    measure = {
        "target_macs": kdzoo.evaluation.count_macs,
        "target_parameters": kdzoo.evaluation.count_parameters,
    }[target]
    options = {target: 0.6, "scope": scope, "round_to": 4}
    same, planned = prune_filters(model, **options, dry_run=True)
    smaller, report = prune_filters(model, **options)
    assert same is model
    assert planned.groups == report.groups
    assert 0.4 * measure(model) < measure(smaller) <= 0.6 * measure(model)
    assert report.macs_after == planned.macs_after == kdzoo.evaluation.count_macs(smaller)
    assert report.parameters_after == planned.parameters_after == smaller.count_params()
    assert all(width % 4 == 0 for width in widths(smaller)[:-1])
    assert isinstance(report, FilterPruningReport)
    assert "first" in str(report)


def test_a_group_says_what_it_saves_alone():
    model = classifier()
    _, report = prune_filters(model, ratio=0.5, scope="local", dry_run=True)
    alone, _ = pruned(model, "second", round_to=8)
    (group,) = [group for group in report.groups if group.layers == ("second",)]
    assert group.parameters_saved == model.count_params() - alone.count_params()
    saved = kdzoo.evaluation.count_macs(model) - kdzoo.evaluation.count_macs(alone)
    assert group.macs_saved == saved


def test_a_dry_run_says_what_is_lost_and_what_there_is():
    model = classifier()
    size = [np.abs(model.get_layer(name).kernel).sum((0, 1, 2)) for name in ("first", "second")]
    _, report = pruned(model, "second", ratio=0.25, dry_run=True)
    first, second, *_ = report.groups
    lost = np.sort(size[1])[:4].sum() / size[1].sum()
    np.testing.assert_allclose(second.importance_lost, lost, rtol=1e-5)
    assert first.importance_lost is None  # The criterion says nothing of it.
    # 16 kernels of 3 x 3 x 16 at 6 x 6 places and, after the pooling, 9 values for 24 neurons.
    assert second.macs == 16 * (9 * 16 * 36 + 9 * 24)
    assert second.parameters == 16 * (9 * 16 + 1 + 9 * 24)
    assert f"{lost:.1%}" in str(report)
    assert f"{second.macs // 4:,} of {second.macs:,}" in str(report)


def lone():
    """A dense layer of four neurons, of which each criterion has its own least important one."""
    inputs = keras.Input((2,), name="x")
    x = layers.Dense(4, name="a", use_bias=False)(inputs)
    x = layers.BatchNormalization(name="norm", epsilon=0.0)(x)
    x = layers.ReLU(name="relu")(x)
    model = keras.Model(inputs, layers.Dense(1, name="out", use_bias=False)(x))
    model.get_layer("a").set_weights([np.array([[2, 2.5, 3, -9], [2, 0, 3, 9]], "float32")])
    gamma, beta = np.array([1, 1, 0.1, 1.0]), np.array([0, 0, 0, 0.0])
    model.get_layer("norm").set_weights([gamma, beta, np.zeros(4), np.ones(4)])
    model.get_layer("out").set_weights([np.array([[0.01], [2], [2], [2]], "float32")])
    return model


LONE_X = np.array([[1, 0.5], [1, 0.2], [0.5, 0.2], [0.3, 0.4]], "float32")


@pytest.mark.parametrize(
    ("importance", "gone"),
    [
        ("l1", 1),  # 4, 2.5, 6, 18.
        ("l2", 1),  # 2.8, 2.5, 4.2, 12.7.
        ("group_l2", 0),  # 9.0 as it is hardly read, 11.25, 22, 167.
        ("batch_norm", 2),
        ("geometric_median", 0),
        ("apoz", 3),  # Negative for three of four samples.
        ("taylor", 0),
    ],
)
def test_a_criterion_takes_the_least_important(importance, gone):
    model = lone()
    smaller, _ = prune_filters(
        model,
        ratio=0.25,
        importance=importance,
        round_to=1,
        data=(LONE_X, np.ones((4, 1), "float32")),
        loss="mse",
    )
    kernel = model.get_layer("a").get_weights()[0]
    expected = np.delete(kernel, gone, axis=1)
    np.testing.assert_array_equal(smaller.get_layer("a").get_weights()[0], expected)


def test_random_is_by_seed():
    model = classifier()
    options = {"ratio": 0.5, "importance": "random", "scope": "local"}
    first, again, other = (
        prune_filters(model, **options, seed=seed)[0].get_weights()[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_what_is_not_understood_stays():
    inputs = keras.Input((6, 4))
    x = layers.Dense(16, name="a")(layers.Dense(16, activation="relu", name="free")(inputs))
    x = layers.TimeDistributed(layers.Dense(8), name="steps")(x)
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.Dense(16, name="b")(x)))
    smaller, report = prune_filters(model, ratio=0.5, scope="local")
    assert [smaller.get_layer(name).units for name in ("free", "a", "b")] == [8, 16, 8]
    assert [*report.untouched] == ["steps"]
    reasons = {group.layers[0]: group.reason for group in report.groups}
    assert "steps" in reasons["a"]
    assert reasons["free"] == ""
    assert "output" in reasons["out"]


def test_ignored_layers_stay():
    model = classifier()
    smaller, _ = prune_filters(
        model, ratio=0.5, scope="local", ignored_layers=["relu", model.get_layer("logits")]
    )
    assert widths(smaller) == [16, 16, 8, 24, 3]


def test_the_smaller_model_trains_and_is_saved(tmp_path):
    smaller, _ = prune_filters(classifier(), target_macs=0.5)
    smaller.compile(keras.optimizers.SGD(0.5), LOSS, jit_compile=False)
    before = smaller.get_weights()
    smaller.train_on_batch(X, Y)
    assert all((a != b).any() for a, b in zip(before, smaller.get_weights(), strict=True))
    smaller.save(tmp_path / "net.keras")
    check_equal(smaller, keras.models.load_model(tmp_path / "net.keras"))


@pytest.mark.tensorflow
def test_the_smaller_model_is_exported(tmp_path):
    smaller, _ = prune_filters(classifier("same"), target_macs=0.5)
    report = kdzoo.export.to_litert(smaller, tmp_path / "net.tflite")
    whole = kdzoo.export.to_litert(classifier("same"), tmp_path / "whole.tflite")
    assert report.path.stat().st_size < 0.8 * whole.path.stat().st_size


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ratio": 1}, r"ratio to lie in \(0, 1\)"),
        ({"ratio": None}, "exactly one of ratio, target_macs"),
        ({"target_macs": 0.5}, "exactly one of ratio, target_macs"),
        ({"ratio": None, "target_macs": 0.001}, "target_macs to be at least 0."),
        ({"ratio": None, "target_parameters": 0.01}, "target_parameters to be at least 0."),
        ({"ratio": 0.01}, "target by which channels go"),
        ({"importance": "l3"}, "Unknown importance: 'l3'"),
        ({"importance": "taylor"}, "data for importance='taylor'"),
        ({"importance": "apoz"}, "data for importance='apoz'"),
        ({"importance": "taylor", "data": (X, Y)}, "a loss for importance='taylor'"),
        ({"importance": "taylor", "data": X, "loss": LOSS}, "without labels"),
        ({"importance": lambda group: np.zeros(1)}, "finite number for each of the 16 channels"),
        ({"importance": lambda group: np.full(group.size, np.nan)}, "finite number for each"),
        ({"scope": "layer"}, "Unknown scope"),
        ({"round_to": 0}, "round_to to be a positive integer"),
        ({"ignored_layers": "first"}, "ignored_layers to be a list"),
        ({"ignored_layers": ["frist"]}, "Did you mean 'first'"),
        ({"ignored_layers": [layers.Dense(2)]}, "layers of 'net' in ignored_layers"),
        ({"ignored_layers": ["first", "second", "hidden"]}, "channels that may go"),
    ],
)
def test_wrong_arguments(change, said):
    with pytest.raises(ValueError, match=said):
        prune_filters(classifier(), **{"ratio": 0.5, **change})


@pytest.mark.parametrize("importance", ["group_l2", "batch_norm", "random"])
def test_weights_that_are_no_numbers_are_named(importance):
    model = classifier()
    model.get_layer("hidden").bias.assign(np.full(24, np.nan))
    with pytest.raises(ValueError, match=r"^Expected finite weights.*'net', whose 'hidden/bias'"):
        prune_filters(model, ratio=0.5, importance=importance)


def test_both_directions_lose_as_many_units():
    """Of a whole network's lowest scores; Keras takes it that they have as many."""
    inputs = keras.Input((5, 4))
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True), name="two")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.GRU(8, name="one")(x)))
    two = model.get_layer("two")
    for weight in two.backward_layer.weights:
        weight.assign(0.1 * weight)
    smaller, _ = prune_filters(model, ratio=0.3, importance="l1", round_to=1, scope="global")
    units = [
        getattr(smaller.get_layer("two"), f"{name}_layer").units for name in ("forward", "backward")
    ]
    assert units[0] == units[1] < 16
    made = keras.models.clone_model(smaller)
    made.set_weights(smaller.get_weights())
    x = RNG.normal(size=(2, 5, 4)).astype("float32")
    np.testing.assert_allclose(made(x), smaller(x), atol=1e-6)


def test_models_that_cannot_be_pruned():
    own = Own()
    own(X)
    with pytest.raises(ValueError, match="functional or sequential model"):
        prune_filters(own, ratio=0.5)
    lonely = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="logits")])
    with pytest.raises(ValueError, match="'logits': an output of the model"):
        prune_filters(lonely, ratio=0.5)
    free = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3)(free))
    with pytest.raises(ValueError, match="known sizes"):
        prune_filters(keras.Model(free, layers.Dense(2)(x)), target_macs=0.5)


def test_what_a_softmax_reads_goes():
    inputs = keras.Input((4,))
    x = layers.Dense(16, activation="softmax", name="mixed")(inputs)
    x = layers.Dense(16, activation="relu", name="free")(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="out")(x))
    smaller, report = prune_filters(model, ratio=0.5, scope="local")
    assert [smaller.get_layer(name).units for name in ("mixed", "free", "out")] == [16, 8, 3]
    assert "softmax" in report.groups[0].reason


def test_counts_are_rounded_where_some_have_to_stay():
    model = with_zero_filters(classifier("same"), "first", 6, shift=0.4)  # These six stay.
    smaller, _ = prune_filters(model, ratio=0.9, scope="local", round_to=4)
    assert widths(smaller)[0] == 8


def test_a_number_for_each_channel_keeps_them():
    inputs = keras.Input((4,))
    x = keras.ops.clip(layers.Dense(16, name="a")(inputs), np.zeros(16), np.arange(16.0))
    x = layers.Dense(16, name="b")(x)
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    smaller, report = prune_filters(model, ratio=0.5, scope="local")
    assert widths(smaller) == [16, 8, 2]
    assert "a number" in report.groups[0].reason or "numbers" in report.groups[0].reason


def test_latency_is_measured(monkeypatch):
    """LiteRT's clock is replaced: a network takes a millisecond for each filter."""
    model, times = classifier(norm=False), {}

    def to_litert(model, path, **options):
        times[path] = float(sum(widths(model)))

    def latency(path, **options):
        return kdzoo.evaluation.Latency(times[path], 0, 0, 1, 1, 1, "")

    monkeypatch.setattr(measured_latency, "to_litert", to_litert)
    monkeypatch.setattr(measured_latency, "latency", latency)
    monkeypatch.setattr(measured_latency, "check_exportable", lambda model: None)
    for options in ({"target_latency": 0.8}, {"target_latency_ms": 0.8 * 59}):
        smaller, report = prune_filters(model, **options, round_to=4)
        assert 0.65 * 59 < sum(widths(smaller)) <= 0.8 * 59
        assert report.latency_ms_before == 59
        assert report.latency_ms_after == sum(widths(smaller))
        assert "latency 59 -> " in str(report)
    with pytest.raises(ValueError, match=r"target_latency to be at least 0\.255, which is left"):
        prune_filters(model, target_latency=0.1, round_to=4)


def test_latency_needs_tensorflow_before_anything_is_scored(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="Expected the TensorFlow backend"):
        prune_filters(classifier(), target_latency=0.5, importance=lambda group: 1 / 0)


@pytest.mark.tensorflow
def test_latency_is_that_of_litert():
    model = classifier(norm=False)
    with measured_latency.MeasuredLatency(model) as measure:
        before, after = measure(pruned(model, "second", ratio=0.9)[0])
    assert 0 < after < 1000 > before > 0


def test_a_loss_that_keras_cannot_copy_leaves_the_smaller_model_uncompiled():
    model = classifier()
    model.compile("sgd", lambda y, p: keras.ops.mean(p))
    smaller, _ = prune_filters(model, ratio=0.5)
    assert not smaller.compiled
