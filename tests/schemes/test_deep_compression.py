"""Deep Compression: zeros, shared values, rounding, teachers, and a stop at any place."""

import keras
import numpy as np
import pytest
from small_schemes import CROSS_ENTROPY, StopIn, Stopped, assert_same, batches, net

import kdzoo
from kdzoo.schemes import DEEP_COMPRESSION_PRESETS, deep_compression


def run(directory, model=None, **arguments):
    arguments = {
        "sparsity": 0.75,
        "bits": 2,
        "epochs": 1,
        "rounds": 2,
        "loss": CROSS_ENTROPY,
        "verbose": 0,
        **arguments,
    }
    model = net(40, 1) if model is None else model
    return deep_compression(model, batches, directory, **arguments)


def zeros(model, name):
    return (model.get_layer(name).get_weights()[0] == 0).mean()


def test_kernels_have_their_zeros_and_their_values(tmp_path):
    model = net(40, 1)
    before = model.get_weights()
    seen = []

    class See(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2 and keras.backend.backend() == "tensorflow":
                seen.append([zeros(self.model, name) for name in ("features", "logits")])

    small, history = run(
        tmp_path,
        model,
        sparsity={"features": 0.75, "logits": 0.5},
        bits={"features": 3},
        optimizer=keras.optimizers.AdamW(1e-2, weight_decay=0.1, use_ema=True),
        callbacks=[See()],
        codebook_epochs=2,
    )
    assert history["stage"] == [1, 2, 3, 3]
    assert (zeros(small, "features"), zeros(small, "logits")) == (0.75, 0.5)
    if seen:  # Of 240 and 120 numbers; after each step, in each round half and then all.
        assert seen[0] == [0.5, pytest.approx(1 - 0.5**0.5, abs=0.005)]
        assert seen[1] == [0.75, 0.5]
    kernel = small.get_layer("features").get_weights()[0]
    assert 4 <= len(np.unique(kernel)) <= 1 + 8
    assert len(np.unique(small.get_layer("logits").get_weights()[0])) == 1 + 60
    for name in ("features", "logits"):  # Eight significant bits.
        bias = small.get_layer(name).get_weights()[1]
        assert not (bias.view("uint32") & 0xFFFF).any()
        assert bias.any()
    assert not (kernel.view("uint32") & 0xFFFF).any()
    assert (small.get_layer("logits").get_weights()[0].view("uint32") & 0xFFFF).any()
    assert not np.signbit(kernel[kernel == 0]).any()
    assert [type(layer) for layer in small.layers] == [type(layer) for layer in model.layers]
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), before, strict=True))
    report = kdzoo.save_compressed(small, tmp_path / "small.kdz")
    assert report.bytes == (tmp_path / "small.kdz").stat().st_size < report.plain


def test_the_smallest_numbers_go_and_the_others_are_clustered(tmp_path):
    """With steps of no length, so that nothing else moves them."""
    model = net(40, 1, dropout=0)
    still = keras.optimizers.SGD(0.0)
    small, _ = run(tmp_path, model, optimizer=still, round_biases=False)
    kernel = model.get_layer("features").get_weights()[0]
    kept = np.abs(kernel) >= np.sort(np.abs(kernel).reshape(-1))[-60]
    np.testing.assert_array_equal(small.get_layer("features").get_weights()[0] != 0, kept)
    pruned = np.where(kept, kernel, 0)
    found = small.get_layer("features").get_weights()[0]
    for value in set(found[kept]):
        assert value == pytest.approx(pruned[found == value].mean(), rel=1e-5)
    np.testing.assert_array_equal(
        small.get_layer("features").get_weights()[1], model.get_layer("features").get_weights()[1]
    )


@pytest.mark.large
@pytest.mark.parametrize(
    "epoch", [2, *(pytest.param(epoch, marks=pytest.mark.large) for epoch in (0, 1))]
)
def test_a_run_stopped_in_any_stage_ends_as_an_undisturbed_one(tmp_path, epoch):
    given = {"metrics": ["accuracy"], "teacher": net(9, 5) if epoch == 2 else None}
    small, expected = run(tmp_path / "whole", **given)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", **given, callbacks=[StopIn(epoch)])
    again, history = run(tmp_path / "stopped", **given)
    assert history == expected
    assert_same([again], [small])
    with pytest.raises(ValueError, match="choose another directory"):
        run(tmp_path / "stopped", **given, bits=3)
    with pytest.raises(ValueError, match="choose another directory"):
        run(tmp_path / "stopped", net(40, 2), **given)
    with pytest.raises(ValueError, match="choose another directory"):
        run(tmp_path / "stopped", **{**given, "teacher": net(9, 6)})


def test_presets_are_of_the_layers_of_the_zoo():
    """Tables 2 and 3 of the paper: 8 % of both networks are left."""
    for name, preset in DEEP_COMPRESSION_PRESETS.items():
        model = kdzoo.create(name, input_shape=(28, 28, 1))
        left = sum(
            (1 - sparsity) * np.prod(model.get_layer(layer).kernel.shape)
            for layer, sparsity in preset["sparsity"].items()
        )
        assert left / model.count_params() == pytest.approx(0.08, abs=0.006)
        assert preset["bits"].keys() == preset["sparsity"].keys()


def test_layers_that_are_left_are_named(tmp_path):
    model = net(40, 1)
    left = model.get_layer("features")
    left.kernel_constraint = keras.constraints.NonNeg()
    before = left.get_weights()[0].size
    with pytest.warns(UserWarning, match=r"Received: 'features', with a constraint, .* stay as"):
        small, _ = run(tmp_path, model)
    assert len(np.unique(small.get_layer("features").get_weights()[0])) > before / 2
    assert len(np.unique(small.get_layer("logits").get_weights()[0])) <= 5


@pytest.mark.large_on_jax
def test_numbers_of_numpy_are_numbers(tmp_path):
    numbers = {"bits": np.int64(2), "rounds": np.int64(2), "epochs": np.int64(1)}
    small, history = run(tmp_path, sparsity=np.float32(0.75), **numbers)
    assert history["stage"] == [1, 2, 3]
    again, _ = run(tmp_path)  # The same run.
    assert_same([small], [again])


def test_bad_arguments_are_refused(tmp_path):
    model = net(40, 1)
    with pytest.raises(ValueError, match=r"sparsity to lie in \[0, 1\)"):
        run(tmp_path, model, sparsity=1)
    with pytest.raises(ValueError, match=r"sparsity\['logits'\] to lie in"):
        run(tmp_path, model, sparsity={"logits": -0.1})
    with pytest.raises(ValueError, match="layer with a kernel"):
        run(tmp_path, model, sparsity={"nothing": 0.5})
    with pytest.raises(ValueError, match="bits to be an integer from 1 to 8"):
        run(tmp_path, model, bits=9)
    with pytest.raises(ValueError, match="rounds"):
        run(tmp_path, model, rounds=0)
    with pytest.raises(ValueError, match="same classes"):
        run(tmp_path, model, teacher=net(4, 1, classes=2))
    with pytest.raises(ValueError, match="one distillation loss"):
        run(tmp_path, model, distillation_loss=[kdzoo.losses.SoftTargets(2.0)] * 2)
    with pytest.raises(ValueError, match="loss on the labels"):
        run(tmp_path, model, loss=None)
    rows = keras.Sequential([keras.Input((2, 3)), keras.layers.LSTM(4, name="rows")])
    with pytest.raises(ValueError, match=r"a layer can be replaced\. Received: 'rows', a LSTM, no"):
        run(tmp_path, rows)
    assert not list(tmp_path.iterdir())  # All of it was found before anything was trained.
