"""Learners of exits and widths: what may be set between trainings, files, kills, teachers."""

import keras
import numpy as np
import pytest
from keras import ops

import kdzoo
from kdzoo.callbacks import EpochCheckpoint
from kdzoo.dynamic import ExitLearner, Slimmable, WidthLearner, add_exits
from kdzoo.training.checkpoints.state import state_of

_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
_X = np.random.default_rng(0).normal(size=(12, 6)).astype("float32")
_Y = np.arange(12) % 3
# What a test does not look for in a compiled step: tracing takes longer than the steps.
_EAGER = {"run_eagerly": keras.backend.backend() == "tensorflow"}


def _network(seed=1):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input((6,))
    x = layers.Dense(8, "relu", name="one")(inputs)
    x = layers.Dropout(0.25, name="dropout")(layers.BatchNormalization(name="norm")(x))
    x = layers.Dense(8, "relu", name="two")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="network")


def _teacher():
    keras.utils.set_random_seed(7)
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)], name="teacher")


def _exit_learner(teacher=None, **arguments):
    return ExitLearner(add_exits(_network(), at=["one"]), teacher, **arguments)


def _width_learner(teacher=None, **arguments):
    widths = (0.25, 0.5, 0.75, 1.0)
    slimmable = Slimmable(_network(), widths, universal=True, round_to=2)
    arguments = {"middle_widths": 1, "seed": 5, **arguments}
    return WidthLearner(slimmable, teacher, **arguments)


_MAKERS = pytest.mark.parametrize("make", [_exit_learner, _width_learner])


def _log_softmax(logits):
    logits = np.asarray(logits, "float64")
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _loss_by_hand(outputs, weight, weights, temperature):
    """The loss of exits that the last one teaches."""
    teacher, total = _log_softmax(outputs[-1] / temperature), 0.0
    for number, logits in enumerate(outputs):
        hard = -_log_softmax(logits)[np.arange(12), _Y].mean()
        own = _log_softmax(logits / temperature)
        soft = temperature**2 * (np.exp(teacher) * (teacher - own)).sum(-1).mean()
        is_last = number == len(outputs) - 1
        total += weights[number] * (hard if is_last else weight * hard + (1 - weight) * soft)
    return total


@pytest.mark.large_on_jax
def test_what_is_set_after_a_training_counts_in_the_next():
    keras.utils.set_random_seed(0)
    plain = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, "relu", name="one"),
            keras.layers.Dense(8, "relu", name="two"),
            keras.layers.Dense(3),
        ]
    )
    learner = ExitLearner(add_exits(plain, at=["one", "two"]))
    learner.compile(keras.optimizers.SGD(0.0), _LOSS)
    outputs = learner.predict(_X, verbose=0)

    def logs():
        found = learner.fit(_X, _Y, batch_size=12, verbose=0, validation_data=(_X, _Y)).history
        return {name: values[0] for name, values in found.items()}

    first = logs()
    assert first["loss"] == pytest.approx(_loss_by_hand(outputs, 0.5, [1, 1, 1], 3.0), rel=1e-5)
    learner.student_loss_weight, learner.exit_weights = 0.125, [2.0, 0.5, 3.0]
    learner.distillation_loss.temperature = 1.5
    expected = _loss_by_hand(outputs, 0.125, [2.0, 0.5, 3.0], 1.5)
    assert logs()["loss"] == pytest.approx(expected, rel=1e-5)
    learner.student_loss_weight = 1.0
    alone = logs()
    assert alone["loss"] == pytest.approx(_loss_by_hand(outputs, 1.0, [2.0, 0.5, 3.0], 1.5))
    # What nothing was measured for is in no logs.
    assert "exit1_distillation_loss" in first
    assert "exit3_distillation_loss" not in first
    assert not any("distillation" in name for name in alone)
    assert not any(name.startswith("val_") and "distillation" in name for name in first)


def test_equal_gradients_may_be_set_after_a_training():
    steps = []
    for equal in (False, True):
        plain = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(4, name="one"), keras.layers.Dense(3)]
        )
        plain.set_weights([np.full(weight.shape, 0.1) for weight in plain.get_weights()])
        learner = ExitLearner(add_exits(plain, at=["one"]), student_loss_weight=1.0)
        learner.exit_weights = [1.0, 0.0]
        learner.student.get_layer("exit1").kernel.assign(np.eye(4, 3))
        learner.compile(keras.optimizers.SGD(0.0), _LOSS)
        learner.fit(_X, _Y, batch_size=12, verbose=0)
        learner.optimizer.learning_rate = 1.0
        learner.equal_gradients = equal
        learner.fit(_X, _Y, batch_size=12, verbose=0)
        steps.append(ops.convert_to_numpy(learner.student.get_layer("one").kernel) - 0.1)
    np.testing.assert_allclose(steps[1], steps[0] / 2, rtol=1e-4, atol=1e-7)


@pytest.mark.large_on_jax
def test_metrics_may_be_weighted(tmp_path):
    learner, weights = _exit_learner(), np.linspace(0.1, 2, 12, dtype="float32")
    metrics = {"metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
    learner.compile(keras.optimizers.SGD(0.1), _LOSS, **metrics, **_EAGER)
    learner.fit(_X, _Y, sample_weight=weights, verbose=0)
    learner.save(tmp_path / "learner.keras")
    loaded = keras.models.load_model(tmp_path / "learner.keras")
    for model in (learner, loaded):
        found = model.evaluate(_X, _Y, sample_weight=weights, verbose=0, return_dict=True)
        for name, logits in zip(("exit1", "exit2"), learner.student(_X), strict=True):
            right = ops.convert_to_numpy(logits).argmax(-1) == _Y
            assert found[f"{name}_accuracy"] == pytest.approx(right.mean())
            expected = (right * weights).sum() / weights.sum()
            assert found[f"{name}_weighted_accuracy"] == pytest.approx(expected)


@pytest.mark.large_on_jax
@_MAKERS
def test_files_and_checkpoints_hold_no_teacher_and_all_else(make, tmp_path):
    teacher = _teacher()
    learner = make(teacher, student_loss_weight=0.25, distillation_loss=kdzoo.losses.SoftTargets(5))
    learner.output_weights = [2.0] + [0.5] * (len(learner.names_of_outputs) - 1)
    learner.compile(keras.optimizers.Adam(0.01), _LOSS, metrics=["accuracy"], **_EAGER)
    learner.fit(_X, _Y, batch_size=6, verbose=0)
    assert not any("teacher" in name for name in state_of(learner).arrays)
    learner.save(tmp_path / "learner.keras")
    loaded = keras.models.load_model(tmp_path / "learner.keras")
    assert type(loaded) is type(learner)
    assert type(kdzoo.load_model(tmp_path / "learner.keras")) is type(learner)
    config = loaded.get_config()
    assert config.pop("student")["class_name"] == type(learner.student).__name__
    assert config == {name: value for name, value in learner.get_config().items() if name in config}
    found, expected = (model.evaluate(_X, _Y, verbose=0) for model in (loaded, learner))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    pairs = zip(loaded.predict(_X, verbose=0), learner.predict(_X, verbose=0), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-5)
    with pytest.raises(ValueError, match=r"set `learner.teacher`"):
        loaded.fit(_X, _Y, verbose=0)
    loaded.teacher = teacher
    logs = loaded.fit(_X, _Y, batch_size=6, verbose=0).history
    assert np.isfinite(logs[f"{loaded.names_of_outputs[-1]}_distillation_loss"]).all()
    assert int(loaded.optimizer.iterations) == 4


@pytest.mark.large_on_jax
@_MAKERS
def test_a_killed_training_goes_on_bit_by_bit(make, tmp_path):
    def weights(learner):
        return [ops.convert_to_numpy(variable) for variable in learner.variables]

    def learner():
        made = make()
        made.compile(keras.optimizers.Adam(0.01), _LOSS, **_EAGER)
        return made

    def fit(made, epochs, start, *callbacks):
        made.fit(*(_X, _Y, 6, epochs, 0, list(callbacks)), shuffle=False, initial_epoch=start)

    whole = learner()
    fit(whole, 3, 0)
    fit(learner(), 2, 0, EpochCheckpoint(tmp_path))
    resumed, checkpoint = learner(), EpochCheckpoint(tmp_path)
    for variable in resumed.student.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    keras.utils.set_random_seed(99)
    assert checkpoint.restore(resumed) == 2
    fit(resumed, 3, 2, checkpoint)
    assert len(weights(whole)) == len(weights(resumed))
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_teachers_that_cannot_teach():
    exits = add_exits(_network(), at=["one"])
    shared = keras.Sequential([keras.Input((6,)), exits.get_layer("one"), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="would train, one/"):
        ExitLearner(exits, shared)
    slimmable = Slimmable(_network(), (0.5, 1.0), round_to=2)
    with pytest.raises(ValueError, match="the same object"):
        WidthLearner(slimmable, slimmable)
    learner = WidthLearner(slimmable)
    wide = keras.Sequential([keras.Input((7,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="the same inputs"):
        learner.teacher = wide
    with pytest.raises(ValueError, match="no weights yet"):
        learner.teacher = keras.Sequential([keras.layers.Dense(3)])


@pytest.mark.large_on_jax
def test_a_teacher_may_give_a_list_of_one_output():
    inputs = keras.Input((6,))
    keras.utils.set_random_seed(7)
    teacher = keras.Model(inputs, [keras.layers.Dense(3)(inputs)])
    made = [
        _exit_learner(given, student_loss_weight=0.0)
        for given in (teacher, keras.Model(inputs, teacher.outputs[0]))
    ]
    losses = []
    for learner in made:
        learner.compile("sgd", _LOSS, **_EAGER)
        losses += learner.fit(_X, _Y, 12, verbose=0, shuffle=False).history["loss"]
    assert losses[0] == pytest.approx(losses[1])


def test_what_cannot_be_trained_or_set():
    with pytest.raises(ValueError, match="taps"):
        _exit_learner(distillation_loss=kdzoo.losses.AttentionTransfer("one", "one"))
    learner = _exit_learner()
    for name, value in (
        ("student_loss_weight", 2.0),
        ("exit_weights", [1.0]),
        ("equal_gradients", "no"),
    ):
        with pytest.raises(ValueError, match="Expected"):
            setattr(learner, name, value)
    with pytest.raises(AttributeError):
        learner.distillation_loss = kdzoo.losses.SoftTargets(2.0)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8)(inputs)
    two = keras.Model(inputs, [keras.layers.Dense(3)(x), keras.layers.Dense(3)(x)])
    with pytest.raises(ValueError, match="of one output"):
        WidthLearner(Slimmable(two, (0.5, 1.0), round_to=2))


def test_outputs_that_are_numbers():
    inputs = keras.Input((6,))
    x = keras.layers.Dense(4, name="one")(inputs)
    exits = add_exits(keras.Model(inputs, keras.layers.Dense(1)(x)), at=["one"])
    learner = ExitLearner(exits)
    learner.compile(keras.optimizers.SGD(0.0), "mse", **_EAGER)
    with pytest.raises(ValueError, match=r"^Expected several classes.+OutputRegression"):
        learner.fit(_X, _X[:, :1], verbose=0)
    learner = ExitLearner(exits, distillation_loss=kdzoo.losses.OutputRegression())
    learner.compile(keras.optimizers.SGD(0.0), "mse", **_EAGER)
    logs = learner.fit(_X, _X[:, :1], batch_size=12, verbose=0).history
    first, last = exits.predict(_X, verbose=0)
    assert logs["exit1_distillation_loss"][0] == pytest.approx(((first - last) ** 2).mean(), 1e-5)


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (_exit_learner, "output_weights", {"class_name": "Dense"}),
        (_exit_learner, "equal_gradients", 1),
        (_exit_learner, "distillation_loss", "SoftTargets"),
        (_width_learner, "middle_widths", -1),
        (_width_learner, "seed", "5"),
        (_width_learner, "teacher", {"class_name": "Dense"}),
        (lambda: _width_learner().student, "widths", {"class_name": "Dense"}),
        (lambda: _width_learner().student, "round_to", 0),
    ],
)
def test_the_fields_of_a_file_are_checked(make, field, value):
    made = make()
    with pytest.raises(ValueError, match=f"{type(made).__name__}. Received: .*{field}"):
        type(made).from_config({**made.get_config(), field: value})
