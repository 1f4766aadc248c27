"""What must hold while a Distiller trains: who runs, who moves, what is saved."""

import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import ops

import kdzoo
from kdzoo.losses import LogitRegression, SoftTargets


@pytest.fixture
def compiled(make_net, cross_entropy):
    """Makes a compiled distiller."""

    def make(losses=None, student=None, teacher=None, optimizer=None, compile=None, **arguments):
        teacher = teacher or make_net(8, seed=1, dropout=0.5)
        student = student or make_net(4, seed=2)
        distiller = kdzoo.Distiller(teacher, student, losses or SoftTargets(3.0), **arguments)
        distiller.compile(
            optimizer or keras.optimizers.SGD(0.1),
            cross_entropy,
            metrics=["accuracy"],
            **(compile or {}),
        )
        return distiller

    return make


def test_the_teacher_is_left_bit_identical_and_as_trainable_as_found(compiled, data, make_net):
    x, y, _ = data
    teacher = make_net(8, seed=1, dropout=0.5)
    teacher.get_layer("stage1").trainable = False
    # The counting layer is the test's own and counts on TensorFlow.
    before = [np.array(v) for v in teacher.get_weights() if np.ndim(v)]
    flags = [layer.trainable for layer in teacher.layers]
    distiller = compiled(teacher=teacher)
    distiller.fit(x, y, batch_size=8, epochs=2, validation_data=(x, y), verbose=0)
    after = [v for v in teacher.get_weights() if np.ndim(v)]
    assert all((a == b).all() for a, b in zip(after, before, strict=True))
    assert [layer.trainable for layer in teacher.layers] == flags
    assert teacher.trainable
    ids = {id(variable) for variable in distiller.trainable_variables}
    assert not ids & {id(variable) for variable in teacher.variables}


@pytest.mark.parametrize("tapped", [False, True])
def test_the_student_runs_once_a_step_and_batch_norm_moves_once(compiled, data, maps_loss, tapped):
    x, y, _ = data
    distiller = compiled([SoftTargets(3.0)] + [maps_loss("stage1", "stage1")] * tapped)
    student = distiller.student
    features = np.asarray(ops.convert_to_numpy(student.get_layer("stage1")(x)), "float64")
    norm = student.get_layer("norm")
    before = ops.convert_to_numpy(norm.moving_mean)
    distiller.fit(x, y, batch_size=24, epochs=1, verbose=0)
    momentum = norm.momentum
    expected = before * momentum + features.mean((0, 1, 2)) * (1 - momentum)
    np.testing.assert_allclose(ops.convert_to_numpy(norm.moving_mean), expected, rtol=1e-4)
    assert float(student.get_layer("count").calls) == 1
    distiller.fit(x, y, batch_size=8, epochs=2, verbose=0)
    assert float(student.get_layer("count").calls) == 7


def test_evaluate_and_predict_never_run_the_teacher_and_move_nothing(compiled, data, maps_loss):
    x, y, _ = data
    distiller = compiled([SoftTargets(3.0), maps_loss("stage1", "stage1")])
    distiller.fit(x, y, batch_size=8, epochs=1, verbose=0)

    def refuse(*args, **kwargs):
        raise AssertionError("The teacher ran.")

    vars(distiller.teacher)["call"] = refuse
    before = [w for w in distiller.student.get_weights() if np.ndim(w)]
    distiller.evaluate(x, y, verbose=0)
    outputs = distiller.predict(x, verbose=0)
    after = [w for w in distiller.student.get_weights() if np.ndim(w)]
    assert all((a == b).all() for a, b in zip(after, before, strict=True))
    expected = distiller.student.predict(x, verbose=0)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_a_projection_of_a_loss_is_trained_and_saved(compiled, data, maps_loss, tmp_path):
    x, y, _ = data
    loss = maps_loss("stage1", "stage1")
    distiller = compiled([SoftTargets(3.0), loss])
    start = ops.convert_to_numpy(loss.kernel).copy()
    distiller.fit(x, y, batch_size=8, verbose=0)
    trained = ops.convert_to_numpy(loss.kernel)
    assert np.abs(trained - start).max() > 1e-4
    distiller.save_weights(tmp_path / "d.weights.h5")
    other = compiled([SoftTargets(3.0), maps_loss("stage1", "stage1")])
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "d.weights.h5")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(other.distillation_losses[1].kernel), trained
    )
    ids = {id(variable) for variable in distiller.student.variables}
    assert id(loss.kernel) not in ids


def test_files_carry_no_teacher(compiled, data, tmp_path):
    x, y, _ = data
    sizes = []
    for width in (8, 512):
        distiller = compiled(teacher=_wide(width))
        distiller.fit(x, y, batch_size=24, verbose=0)
        distiller.save(tmp_path / f"{width}.keras")
        distiller.save_weights(tmp_path / f"{width}.weights.h5")
        sizes.append((tmp_path / f"{width}.keras").stat().st_size)
        names = []
        h5py.File(tmp_path / f"{width}.weights.h5").visit(names.append)
        assert not [name for name in names if "teacher" in name]
        config = zipfile.ZipFile(tmp_path / f"{width}.keras").read("config.json").decode()
        assert "the_teacher" not in config
    assert abs(sizes[0] - sizes[1]) < 500


def _wide(width):
    inputs = keras.Input((6, 6, 2))
    hidden = keras.layers.Dense(width, name="the_teacher")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(hidden))


def test_a_saved_distiller_loads_and_goes_on_training(compiled, data, tmp_path, check_weights):
    x, y, _ = data
    adam = keras.optimizers.Adam(0.01)
    distiller = compiled([SoftTargets(3.0), LogitRegression()], optimizer=adam)
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0}
    distiller.fit(x, y, **arguments)
    distiller.save(tmp_path / "distiller.keras")
    copy = keras.saving.load_model(tmp_path / "distiller.keras")
    assert copy.teacher is None
    np.testing.assert_allclose(
        copy.predict(x, verbose=0), distiller.predict(x, verbose=0), rtol=1e-6
    )
    copy.teacher = distiller.teacher
    for trained in (distiller, copy):
        trained.fit(x, y, **arguments)
    check_weights(copy.student.get_weights(), distiller.student.get_weights(), 1e-5, 1e-6)


@pytest.mark.large_on_jax
def test_files_load_in_a_fresh_process(compiled, data, tmp_path):
    x, y, _ = data
    distiller = compiled(student=_plain_student())
    distiller.fit(x, y, batch_size=24, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy, keras, kdzoo; "
        "model = keras.saving.load_model(sys.argv[1] + '/distiller.keras'); "
        "x = numpy.load(sys.argv[1] + '/x.npy'); "
        "numpy.save(sys.argv[1] + '/y.npy', model.predict(x, verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    expected = distiller.predict(x, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-5, atol=1e-6)


def _plain_student():
    inputs = keras.Input((6, 6, 2))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))


def test_another_teacher_can_take_over(compiled, data, make_net, cross_entropy):
    x, y, _ = data
    distiller = compiled(optimizer=keras.optimizers.SGD(0.0))
    first = distiller.fit(x, y, batch_size=24, verbose=0).history["distillation_loss"]
    distiller.teacher = make_net(16, seed=9)
    second = distiller.fit(x, y, batch_size=24, verbose=0).history["distillation_loss"]
    fresh = compiled(teacher=make_net(16, seed=9), optimizer=keras.optimizers.SGD(0.0))
    expected = fresh.fit(x, y, batch_size=24, verbose=0).history["distillation_loss"]
    assert second == pytest.approx(expected, rel=1e-5)
    assert first != pytest.approx(second, rel=1e-2)


@pytest.mark.parametrize(
    "options",
    [{"run_eagerly": True}, {"steps_per_execution": 3}, {"jit_compile": True}],
    ids=lambda options: next(iter(options)),
)
def test_compile_options_do_not_change_the_result(
    compiled, data, maps_loss, options, check_weights
):
    x, y, _ = data
    ends = []
    for chosen in ({}, options):
        keras.utils.set_random_seed(3)
        losses = [SoftTargets(3.0), maps_loss("stage1", "stage1")]
        distiller = compiled(losses, compile=chosen)
        distiller.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        ends.append(distiller.student.get_weights())
    check_weights(ends[1], ends[0], rtol=1e-3, atol=1e-4)


def test_gradient_accumulation_is_kerass_own(compiled, data, check_weights):
    x, y, _ = data
    sgd = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)
    accumulated, whole = compiled(optimizer=sgd, student=_plain_student()), None
    start = accumulated.student.get_weights()
    accumulated.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    whole = compiled(student=_plain_student(), teacher=accumulated.teacher)
    whole.student.set_weights(start)
    whole.fit(x, y, batch_size=24, shuffle=False, verbose=0)
    check_weights(accumulated.student.get_weights(), whole.student.get_weights(), 1e-4, 1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_in_its_own_dtypes(compiled, data, policy):
    keras.config.set_dtype_policy(policy)
    x, y, _ = data
    distiller = compiled(optimizer=keras.optimizers.Adam(0.01))
    keras.config.set_dtype_policy("float32")
    history = distiller.fit(x, y, batch_size=8, epochs=5, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    scaled = isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    assert all(keras.backend.standardize_dtype(w.dtype) == "float32" for w in distiller.weights)


def test_fused_batch_norm_changes_speed_only(compiled, data, make_net, check_weights):
    x, y, _ = data
    ends = []
    for fuse in (True, False):
        distiller = compiled(fuse_batch_norm=fuse)
        distiller.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        assert not any("call" in vars(layer) for layer in distiller.student.layers)
        assert not any("call" in vars(layer) for layer in distiller.teacher.layers)
        ends.append(distiller.student.get_weights())
    check_weights(ends[0], ends[1], rtol=1e-3, atol=1e-5)


def test_subclassed_models_serve_where_no_layer_is_tapped(data, cross_entropy):
    x, y, _ = data

    class Subclassed(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.hidden = keras.layers.Dense(units, activation="relu")
            self.flatten, self.top = keras.layers.Flatten(), keras.layers.Dense(3)

        def call(self, inputs):
            return self.top(self.hidden(self.flatten(inputs)))

    teacher, student = Subclassed(32), Subclassed(8)
    teacher(x[:1])
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(3.0))
    distiller.compile(keras.optimizers.Adam(0.01), cross_entropy)
    history = distiller.fit(x, y, batch_size=8, epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert student.built


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda y, logits: keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True),
        "mse",
    ],
    ids=["object", "callable", "string"],
)
def test_student_losses_of_every_form(make_net, data, loss):
    x, y, _ = data
    y = np.eye(3, dtype="float32")[y] if loss == "mse" else y
    student = make_net(4, seed=2)
    given = {"output_type": "classes"} if loss == "mse" else {}  # On one-hot labels.
    distiller = kdzoo.Distiller(make_net(8, seed=1), student, SoftTargets(3.0, **given))
    distiller.compile("sgd", loss)
    distiller.fit(x, y, batch_size=24, verbose=0)
    student.compile(loss=loss)
    expected = student.evaluate(x, y, verbose=0)
    assert distiller.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_callbacks_see_an_ordinary_model(compiled, data, tmp_path):
    x, y, _ = data
    distiller = compiled()
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=1e9),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    arguments = {"batch_size": 8, "epochs": 9, "verbose": 0, "validation_data": (x, y)}
    history = distiller.fit(x, y, callbacks=callbacks, **arguments)
    assert len(history.epoch) == 2
    assert keras.saving.load_model(tmp_path / "best.keras").predict(x, verbose=0).shape == (24, 3)
    assert "distillation_loss" in (tmp_path / "log.csv").read_text()


def test_it_is_called_as_keras_calls_it(make_net, data, cross_entropy):
    """By position, as in scripts for keras.distillation and for `keras.Model`."""
    x, y, _ = data
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(2.0), None, 0.5, "mine")
    assert distiller.name == "mine"
    distiller.compile("sgd", cross_entropy, ["accuracy"])
    history = distiller.fit(x, y, 8, 1, 0, None, 0.25).history
    assert {"accuracy", "val_accuracy"} <= set(history)
    assert not kdzoo.Distiller(None, make_net(4), SoftTargets(2.0), trainable=False).trainable


def test_a_callback_list_is_taken_and_not_filled_up(compiled, data):
    x, y, _ = data
    distiller = compiled()
    epochs = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    callbacks = keras.callbacks.CallbackList([note], add_history=True, model=distiller)
    for _ in range(2):
        distiller.fit(x, y, batch_size=8, callbacks=callbacks, verbose=0)
    assert epochs == [0, 0]
    assert len(callbacks.callbacks) == 3


def test_epochs_may_be_an_array_without_axes(make_net, data):
    images, labels, _ = data
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = distiller.fit(images, labels, np.array(8), np.array(2), verbose=0)
    assert len(history.epoch) == 2
