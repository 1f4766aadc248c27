"""What channels cannot be followed through leaves them as they are, and the report says why."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers, ops

from kdzoo.compression import prune_filters
from kdzoo.compression.filter_pruning.channel_groups import ChannelGroup
from kdzoo.compression.filter_pruning.unpruned_layers import unpruned_layers

pytestmark = pytest.mark.large_on_jax


def pruned(inputs, outputs, **options):
    """The smaller model, checked to run and to train, and its groups by their first layer."""
    model = keras.Model(inputs, outputs, name="net")
    options = {"ratio": 0.5, "scope": "local", **options}
    smaller, report = prune_filters(model, **options)
    x = np.ones((2, *model.inputs[0].shape[1:]), "float32")
    assert smaller(x, training=True).shape == model(x).shape
    return smaller, {group.layers[0]: group for group in report.groups}


def units(groups):
    return {name: (group.before, group.after) for name, group in groups.items()}


def free(x):
    """Neurons that always may go, and logits."""
    return layers.Dense(2, name="logits")(layers.Dense(16, name="free")(x))


@pytest.mark.tensorflow  # Graphs and NumPy.
def test_layers_of_as_many_channels_as_before_are_found_whatever_steps_pruning_took():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 1, name="a")(inputs)
    x = layers.Conv2D(24, 1, name="b")(x)
    x = layers.Add()([x, layers.Conv2D(24, 1, name="tied")(inputs)])
    x = layers.Conv2D(16, 1, groups=2, name="grouped")(x)
    x = layers.Conv2D(16, 1, name="kept")(layers.GroupNormalization(4, name="norm")(x))
    x = layers.Dense(8, name="few")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x), name="net")

    def of_one_step(start, fewer):
        def importance(group):
            is_one = group.layers[0] == fewer
            return np.where(np.arange(group.size) < 8 * is_one, 0.0, 1.0)

        target = 8 / sum(g.before for g in prune_filters(start, ratio=0.5, dry_run=True)[1].groups)
        return prune_filters(start, ratio=target, importance=importance)

    def channels(of):
        names = ("a", "b", "tied", "grouped", "kept", "few", "logits")
        return {name: of.get_layer(name).get_weights()[0].shape[-1] for name in names}

    once, _ = of_one_step(model, "a")
    twice, _ = of_one_step(once, "b")
    for smaller, gone in ((once, {"a"}), (twice, {"a", "b", "tied"})):
        left = unpruned_layers(model, smaller)
        before, after = channels(model), channels(smaller)
        assert {name for name in before if before[name] != after[name]} == gone
        assert set(left) == (set(before) - gone) | {"norm"}
        assert left["few"] == "its scores, or round_to"
        assert left["logits"] == "an output of the model"
        assert left["norm"].startswith("GroupNormalization: ")


def test_windows_join_samples_of_the_batch():
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(16, 1, name="a")(inputs)
    windows = ops.transpose(ops.reshape(x, (-1, 2, 2, 2, 2, 16)), (0, 1, 3, 2, 4, 5))
    windows = layers.Dense(16, name="in_window")(ops.reshape(windows, (-1, 4, 16)))
    x = ops.reshape(layers.Dense(16, name="b")(windows), (-1, 2, 2, 2, 2, 16))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 4, 4, 16))
    _, groups = pruned(inputs, free(layers.GlobalAveragePooling2D()(x)))
    whole, half = (16, 16), (16, 8)
    expected = {"a": whole, "in_window": half, "b": whole, "free": half, "logits": (2, 2)}
    assert units(groups) == expected
    assert "joins the samples of the batch with other axes" in groups["a"].reason


def test_a_reshape_that_two_branches_share():
    inputs = keras.Input((4, 3))
    shared = layers.Reshape((64,), name="shared")
    a, b = (layers.Dense(16, name=name)(inputs) for name in "ab")
    both = layers.Concatenate()([shared(a), shared(b)])
    _, groups = pruned(inputs, free(both))
    (both,) = (group for group in groups.values() if {*group.layers} == {"a", "b"})
    assert (both.before, both.after) == (16, 8)  # Each channel is made by both layers.


@pytest.mark.parametrize("order", [1, -1])
def test_a_reshape_that_other_shapes_share(order):
    """Of the input, which stays, or of another number of channels."""
    inputs = keras.Input((4, 16))
    shared = layers.Reshape((-1,), name="shared")
    tensors = [layers.Dense(units, name=f"of_{units}")(inputs) for units in (8, 16)]
    both = layers.Concatenate()([shared(x) for x in tensors[::order]])
    _, groups = pruned(inputs, free(both), round_to=1)
    assert units(groups) == {"of_8": (8, 8), "of_16": (16, 16), "free": (16, 8), "logits": (2, 2)}
    assert "different shapes" in groups["of_8"].reason
    inputs = keras.Input((4, 16))
    tensors = [inputs, layers.Dense(16, name="a")(inputs)]
    shared = layers.Reshape((64,), name="shared")
    both = layers.Concatenate()([shared(x) for x in tensors[::order]])
    _, groups = pruned(inputs, free(both))
    assert units(groups)["a"] == (16, 16)


@pytest.mark.parametrize("order", [1, -1])
def test_a_layer_of_which_one_call_is_not_understood(order):
    inputs = keras.Input((16, 16))
    a, b = (layers.Dense(16, name=name)(inputs) for name in "ab")
    shared = layers.Dense(16, name="shared")
    calls = [shared(x) for x in (a, layers.Permute((2, 1))(b))[::order]]
    _, groups = pruned(inputs, free(layers.GlobalAveragePooling1D()(layers.Add()(calls))))
    assert units(groups)["a"] == units(groups)["b"] == (16, 16)


def test_filters_that_go_together_are_rounded_as_filters():
    inputs = keras.Input((4, 4, 8))
    x = layers.Conv2D(128, 3, groups=4, name="grouped")(inputs)
    x = layers.Conv2D(128, 1, groups=32, name="more_groups")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(24, 1, name="plain")(x))
    smaller, groups = pruned(inputs, layers.Dense(2, name="logits")(x))
    assert units(groups) == {
        **{"grouped": (4, 2), "more_groups": (4, 2), "plain": (24, 16), "logits": (2, 2)}
    }
    filters = {name: group.filters for name, group in groups.items()}
    assert filters == {"grouped": 32, "more_groups": 32, "plain": 1, "logits": 1}
    assert smaller.get_layer("more_groups").kernel.shape == (1, 1, 2, 64)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    table = str(prune_filters(model, ratio=0.5, scope="local", dry_run=True)[1])
    assert "4 -> 2 (of 32 filters)" in table


@pytest.mark.parametrize("name", ["mean", "max"])
def test_what_is_reduced_over_all_channels_stays(name):
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(32, 3, padding="same", name="a")(inputs)
    x = x * getattr(ops, name)(x, axis=-1, keepdims=True)
    _, groups = pruned(inputs, free(layers.GlobalAveragePooling2D()(x)))
    assert units(groups)["a"] == (32, 32)
    assert groups["a"].reason == f"{name!r} joins all of its channels"
    only = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, only)
    with pytest.raises(ValueError, match=f"'a': '{name}' joins all of its channels"):
        prune_filters(model, ratio=0.5)


def test_filters_that_only_go_together():
    inputs = keras.Input((4, 4, 8))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, groups=4, name="a")(inputs))
    _, groups = pruned(inputs, free(layers.Dense(1, name="one")(x)))
    assert groups["a"].reason == "its 4 filters only go together"
    assert groups["one"].reason == "its only channel"
    lonely = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    with pytest.raises(ValueError, match="'a': its 4 filters only go together"):
        prune_filters(lonely, ratio=0.5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        *(
            # JAX takes no lists there.
            pytest.param(call, "numbers for each channel", marks=pytest.mark.tensorflow)
            for call in (
                lambda x: ops.clip(x, [0.0] * 16, [1.0] * 16),
                lambda x: ops.clip(x, ((0.0,) * 16,), 1.0),
            )
        ),
        (layers.Dropout(0.5, noise_shape=(None, 1, 16)), "noise_shape"),
    ],
)
def test_numbers_of_each_channel(call, said):
    inputs = keras.Input((4, 3))
    x = call(layers.Dense(16, name="a")(inputs))
    _, groups = pruned(inputs, free(layers.GlobalAveragePooling1D()(x)))
    assert units(groups)["a"] == (16, 16)
    assert said in groups["a"].reason


def test_noise_of_all_channels_lets_them_go():
    inputs = keras.Input((4, 3))
    x = layers.Dropout(0.5, noise_shape=(None, 4, 1))(layers.Dense(16, name="a")(inputs))
    _, groups = pruned(inputs, free(layers.GlobalAveragePooling1D()(x)))
    assert units(groups)["a"] == (16, 8)


@pytest.mark.large_on_jax
def test_parts_of_layers_are_ignored_with_what_they_are_in():
    inputs = keras.Input((4, 16))
    recurrent = layers.Bidirectional(layers.GRU(16, return_sequences=True), name="two")
    attention = layers.MultiHeadAttention(4, 8, name="heads")
    x = recurrent(inputs)
    outputs = free(layers.GlobalAveragePooling1D()(attention(x, x)))
    parts = [recurrent.forward_layer, attention._query_dense]
    for part in parts:
        _, groups = pruned(inputs, outputs, ignored_layers=[part])
        owner = "two" if part is parts[0] else "heads"
        for name, group in groups.items():
            if name.startswith(owner):
                assert group.after == group.before, name
        assert groups["free"].after == 8
    model = keras.Model(inputs, outputs, name="net")
    model.extra = layers.Dense(3, name="extra")
    with pytest.raises(ValueError, match="'extra', which it does not call"):
        prune_filters(model, ratio=0.5, ignored_layers=[model.extra])


def test_a_channel_group_says_its_multiples():
    group = ChannelGroup(("a",), 4, np.zeros(4, bool), "", np.arange(4), [], [])
    for filters, expected in (((1,), 8), ((32,), 1), ((6,), 4), ((2, 3), 8)):
        made = dataclasses.replace(group, filters_each=filters)
        assert made.multiples(8) == expected
