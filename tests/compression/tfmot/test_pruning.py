"""Pruning: the same as TF-MOT's own, inside a Distiller, through files, and what is warned of."""

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from compression_helpers import cross_entropy, half

import kdzoo
from kdzoo import compression
from kdzoo.compression import UpdatePruningStep, prune_low_magnitude, strip_pruning

pytestmark = [
    pytest.mark.tensorflow,
    # The depthwise layer of the network is never pruned, which one test is about.
    pytest.mark.filterwarnings("ignore:Not pruned in:UserWarning"),
]

STEPS, BATCH = 40, 16


def every_step(final=0.75, steps=STEPS):
    return compression.PolynomialDecay(0.25, final, 1, steps - 5, frequency=3)


def compiled(model, optimizer=None):
    model.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), cross_entropy())
    return model


def tfmot_masks(model, schedule, data, steps):
    """Masks after every step, and weights in the end, of TF-MOT's own training with tf_keras."""
    import tf_keras

    from kdzoo.compression.tfmot.library import load_tfmot

    tools = load_tfmot().sparsity.keras
    pruned = tools.prune_low_magnitude(model, schedule)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pruned.compile(tf_keras.optimizers.SGD(0.05, momentum=0.9), loss)
    seen = []

    class Note(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            layers = [layer for layer in pruned.layers if getattr(layer, "pruning_vars", None)]
            seen.append([mask.numpy() for layer in layers for _, mask, _ in layer.pruning_vars])

    callbacks = [tools.UpdatePruningStep(), Note()]
    epochs = steps * BATCH // len(data[0])
    pruned.fit(*data, BATCH, epochs, verbose=0, shuffle=False, callbacks=callbacks)
    return seen, tools.strip_pruning(pruned).get_weights()


@pytest.mark.parametrize("steps", [STEPS, pytest.param(200, marks=pytest.mark.large)])
def test_masks_and_weights_are_those_of_tfmot(net, legacy_net, data, steps):
    plain, schedule = net(), every_step(steps=steps)
    masks, weights = tfmot_masks(legacy_net(plain.get_weights()), schedule, data, steps)
    pruned, seen = compiled(prune_low_magnitude(plain, schedule)), []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            layers = pruned.pruned_layers
            seen.append([mask.numpy() for layer in layers for _, mask, _ in layer.pruning_vars])

    epochs = steps * BATCH // len(data[0])
    callbacks = [UpdatePruningStep(), Note()]
    pruned.fit(*data, BATCH, epochs, verbose=0, shuffle=False, callbacks=callbacks)
    assert len(seen) == len(masks) == steps
    for step, (ours, theirs) in enumerate(zip(seen, masks, strict=True)):
        for our, their in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(our, their, err_msg=f"step {step}")
    stripped = strip_pruning(pruned)
    for our, their in zip(stripped.get_weights(), weights, strict=True):
        np.testing.assert_allclose(our, their, atol=1e-4)


@pytest.mark.parametrize("arguments", [{}, {"batch": -1}, {"epoch": 0}])
def test_an_epoch_ends_in_training_loops_written_for_tfmot(net, arguments):
    """TF-MOT's argument is called `batch`, Keras's `epoch`."""
    pruned = prune_low_magnitude(net(), half())
    pruned.optimizer = keras.optimizers.SGD(0.1)
    callback = UpdatePruningStep()
    callback.set_model(pruned)
    callback.on_train_begin()
    callback.on_train_batch_begin(batch=-1)
    pruned(np.zeros((1, 8, 8, 3), "float32"), training=True)
    (weight, mask, _), *_ = pruned.pruned_layers[0].pruning_vars
    weight.assign(np.ones(weight.shape))  # As an optimizer may, after the step.
    callback.on_epoch_end(**arguments)
    np.testing.assert_array_equal(weight.numpy(), mask.numpy())
    assert np.mean(weight.numpy()) == 0.5


def test_the_model_itself_is_left_alone(net, data):
    plain = net()
    before, config = plain.get_weights(), plain.get_config()
    nodes = [len(layer._outbound_nodes) for layer in plain.layers]
    pruned = compiled(prune_low_magnitude(plain, every_step(steps=9)))
    np.testing.assert_allclose(
        pruned.predict(data[0], verbose=0), plain.predict(data[0], verbose=0), atol=1e-6
    )
    pruned.fit(*data, BATCH, epochs=2, verbose=0, callbacks=[UpdatePruningStep()])
    for ours, theirs in zip(plain.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert plain.get_config() == config
    assert [len(layer._outbound_nodes) for layer in plain.layers] == nodes


def test_sparsity_is_the_target_and_survives(net, data, tmp_path):
    pruned = compiled(prune_low_magnitude(net(), every_step(0.8)))
    pruned.fit(*data, BATCH, epochs=10, verbose=0, callbacks=[UpdatePruningStep()])
    assert set(pruned.sparsity()) == {"conv", "stage2", "logits"}
    for path, sparsity in pruned.sparsity().items():
        size = pruned.plain_model().get_layer(path).kernel.shape
        assert sparsity == pytest.approx(0.8, abs=max(0.005, 0.5 / np.prod(size))), path
    stripped = strip_pruning(pruned)
    assert type(stripped).__module__.startswith("keras")
    np.testing.assert_allclose(
        stripped.predict(data[0], verbose=0), pruned.predict(data[0], verbose=0), atol=1e-6
    )
    stripped.save(tmp_path / "stripped.keras")
    again = keras.saving.load_model(tmp_path / "stripped.keras")
    for path, sparsity in pruned.sparsity().items():
        assert np.mean(again.get_layer(path).get_weights()[0] == 0) == sparsity


def test_two_of_four(net, data):
    with pytest.warns(UserWarning, match="Not pruned in 'net': depthwise"):
        pruned = prune_low_magnitude(net(), half(), sparsity_m_by_n=(2, 4))
    compiled(pruned).fit(*data, BATCH, epochs=1, verbose=0, callbacks=[UpdatePruningStep()])
    kernel = strip_pruning(pruned).get_layer("stage2").get_weights()[0]  # (1, 1, 8, 12)
    groups = kernel.reshape(2, 4, 12)
    np.testing.assert_array_equal((groups == 0).sum(axis=1), 2)


def test_blocks(data):
    keras.utils.set_random_seed(0)
    dense = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    schedule = half()
    pruned = compiled(prune_low_magnitude(dense, schedule, block_size=(4, 2)))
    pruned.fit(*data, BATCH, epochs=1, verbose=0, callbacks=[UpdatePruningStep()])
    kernel = strip_pruning(pruned).layers[-1].get_weights()[0]
    blocks = (kernel == 0).reshape(48, 4, 2, 2).transpose(0, 2, 1, 3).reshape(96, 8)
    assert set(blocks.sum(axis=1)) == {0, 8}
    assert (blocks.sum(axis=1) == 8).mean() == pytest.approx(0.5)


def test_it_learns_from_a_teacher_with_taps(net, data):
    teacher, student = net(1, "teacher"), prune_low_magnitude(net(), every_step(0.5, steps=12))
    losses = [
        kdzoo.losses.SoftTargets(2.0),
        kdzoo.losses.Hint("stage1", "stage1", reduction="mean"),
    ]
    distiller = kdzoo.Distiller(teacher, student, losses)
    distiller.compile(keras.optimizers.SGD(0.05, momentum=0.9), cross_entropy())
    history = distiller.fit(
        *data, BATCH, epochs=3, verbose=0, callbacks=[UpdatePruningStep()]
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert {int(layer.pruning_step) for layer in student.pruned_layers} == {12}
    assert student.sparsity()["stage2"] == pytest.approx(0.5, abs=0.01)


RELOADED = """
import keras, numpy as np, kdzoo, sys
model = keras.saving.load_model(sys.argv[1] + "/part.keras")
data = np.load(sys.argv[1] + "/data.npz")
np.save(sys.argv[1] + "/reloaded.npy", model.predict(data["x"], verbose=0))
model.fit(data["x"], data["y"], 16, epochs=5, initial_epoch=2, shuffle=False, verbose=0,
    callbacks=[kdzoo.compression.UpdatePruningStep()])
np.savez(sys.argv[1] + "/end.npz", *kdzoo.compression.strip_pruning(model).get_weights())
"""


@pytest.mark.large
def test_a_file_goes_on_in_a_fresh_process(net, data, tmp_path):
    """Saved in the middle of the schedule, loaded elsewhere: the same end as without the break."""
    x, y = data
    whole = compiled(
        prune_low_magnitude(
            net(),
            every_step(0.5, 20),
        ),
        keras.optimizers.Adam(0.01),
    )
    part = compiled(prune_low_magnitude(net(), every_step(0.5, 20)), keras.optimizers.Adam(0.01))
    fit = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    whole.fit(x, y, epochs=5, callbacks=[UpdatePruningStep()], **fit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The schedule ends later, which is the point.
        part.fit(x, y, epochs=2, callbacks=[UpdatePruningStep()], **fit)
    part.save(tmp_path / "part.keras")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    command = [sys.executable, "-W", "ignore", "-c", RELOADED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    np.testing.assert_array_equal(np.load(tmp_path / "reloaded.npy"), part.predict(x, verbose=0))
    end = np.load(tmp_path / "end.npz")
    for ours, theirs in zip(end.values(), strip_pruning(whole).get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_regularizers_and_constraints_count(net, data):
    plain = net(regularizer=keras.regularizers.L2(0.1))
    plain.get_layer("logits").kernel.constraint = keras.constraints.MaxNorm(0.3)
    pruned = compiled(prune_low_magnitude(plain, every_step(steps=9)))
    kernel = plain.get_layer("conv").get_weights()[0]
    assert float(sum(pruned.losses)) == pytest.approx(0.1 * np.sum(kernel**2), rel=1e-5)
    pruned.fit(*data, BATCH, epochs=1, verbose=0, callbacks=[UpdatePruningStep()])
    kernel = strip_pruning(pruned).get_layer("logits").get_weights()[0]
    assert np.linalg.norm(kernel, axis=0).max() <= 0.3 + 1e-6


def test_what_stays_dense_is_named(net):
    with pytest.warns(UserWarning, match="Not pruned in 'net': depthwise"):
        prune_low_magnitude(net())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.5, 0, 100), "fires in no step of this training, 1 to 8: .* every 100 steps"),
        ((0.0, 0.5, 50, 100, 3, 1), "begins at step 50"),
        ((0.0, 0.5, 0, 100, 1, 1), r"reaches a sparsity of 0\.04 instead of 0\.5"),
    ],
)
def test_a_schedule_that_does_not_do_its_work_is_told(net, data, arguments, message):
    pruned = compiled(prune_low_magnitude(net(), compression.PolynomialDecay(*arguments)))
    with pytest.warns(UserWarning, match=message):
        pruned.fit(*data, BATCH, epochs=2, verbose=0, callbacks=[UpdatePruningStep()])


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # Keras's own.
def test_data_of_unknown_length_are_told_of_after_an_epoch(net, data):
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices(data).filter(lambda *_: True).batch(BATCH)
    pruned = compiled(prune_low_magnitude(net(), compression.PolynomialDecay(0.0, 0.5, 0, 100)))
    with pytest.warns(UserWarning, match=r"fires in no step of this training, 1 to 12: "):
        pruned.fit(batches, epochs=3, verbose=0, shuffle=False, callbacks=[UpdatePruningStep()])
    # A step that begins where the data have ended is none.
    assert {int(layer.pruning_step) for layer in pruned.pruned_layers} == {12}


def test_two_of_four_are_masked_whatever_the_schedule_says(net, data):
    late = compression.ConstantSparsity(0.9, 100)
    pruned = compiled(prune_low_magnitude(net(), late, sparsity_m_by_n=(2, 4)))
    pruned.fit(*data, BATCH, verbose=0, callbacks=[UpdatePruningStep()])
    assert pruned.sparsity()["stage2"] == 0.5


def test_a_training_that_goes_on_after_the_schedule_is_told_nothing(net, data):
    pruned = compiled(prune_low_magnitude(net(), compression.PolynomialDecay(0.0, 0.5, 0, 8, 3, 1)))
    pruned.fit(*data, BATCH, epochs=2, verbose=0, callbacks=[UpdatePruningStep()])
    pruned.fit(*data, BATCH, epochs=3, initial_epoch=2, verbose=0, callbacks=[UpdatePruningStep()])
    kernel = strip_pruning(pruned).get_layer("conv").get_weights()[0]
    assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.01)


def test_without_the_callback_training_is_refused(net, data):
    pruned = compiled(prune_low_magnitude(net(), every_step()))
    with pytest.raises(Exception, match="UpdatePruningStep"):
        pruned.fit(*data, BATCH, verbose=0)


def test_bad_arguments_are_refused(net, data):
    with pytest.raises(ValueError, match="functional or sequential"):
        prune_low_magnitude("net")
    with pytest.raises(ValueError, match=r"pruning_schedule=0\.5"):
        prune_low_magnitude(net(), 0.5)
    with pytest.raises(ValueError, match="Expected a model that `prune_low_magnitude` returned"):
        strip_pruning(net())
    with pytest.raises(ValueError, match="Expected a model that `prune_low_magnitude` returned"):
        compiled(net()).fit(*data, verbose=0, callbacks=[UpdatePruningStep()])
    flat = keras.Sequential([keras.Input((4,)), keras.layers.ReLU()])
    with pytest.raises(ValueError, match="a layer that can be pruned"):
        prune_low_magnitude(flat)


def test_summaries_for_tensorboard(net, data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pruned = compiled(prune_low_magnitude(net(), every_step(0.5, 9)))
    callbacks = [UpdatePruningStep(), compression.PruningSummaries(str(tmp_path))]
    pruned.fit(*data, BATCH, epochs=2, verbose=0, callbacks=callbacks)
    events = EventAccumulator(str(tmp_path / "train"))
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"conv/kernel/sparsity", "conv/kernel/threshold"} <= set(tags)


def test_weights_are_masked_under_a_strategy(net, data):
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        pruned = compiled(
            prune_low_magnitude(net(), compression.ConstantSparsity(0.5, 0, frequency=1))
        )
    pruned.fit(*data, BATCH, verbose=0, callbacks=[UpdatePruningStep()])
    assert pruned.sparsity()["stage2"] == pytest.approx(0.5, abs=0.01)
