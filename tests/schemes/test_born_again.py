"""Born-again networks: who teaches whom, by which loss, from which initial weights."""

import functools
import random

import keras
import numpy as np
import pytest
from small_schemes import (
    CROSS_ENTROPY,
    Rows,
    StopIn,
    Stopped,
    X,
    Y,
    assert_same,
    batches,
    cross_entropy,
    kl,
    logits_in_training,
    net,
    softmax,
)

import kdzoo
from kdzoo.graph.new_weights import with_new_weights
from kdzoo.schemes import born_again

EPOCHS = 1


def run(directory, student=None, **arguments):
    arguments = {
        "data": batches,
        "generations": 2,
        "epochs": EPOCHS,
        "loss": CROSS_ENTROPY,
        "verbose": 0,
        **arguments,
    }
    student = net(6, 1) if student is None else student
    return born_again(student, arguments.pop("data"), directory, **arguments)


def whole(epoch):
    """All samples in one batch."""
    return Rows(24)


def permuted(probs):
    """Probabilities, all but the largest of a sample permuted by the first numbers of seed 0."""
    numbers = keras.random.uniform(probs.shape, seed=keras.random.SeedGenerator(0))
    made = probs.copy()
    for row, row_numbers in zip(made, keras.ops.convert_to_numpy(numbers), strict=True):
        others = np.delete(np.arange(len(row)), row.argmax())
        row[others] = row[others[row_numbers[others].argsort()]]
    assert np.abs(made - probs).max() > 0.01
    return made


NUMPY = {
    "soft_targets": lambda teacher, student: np.mean(
        0.4 * cross_entropy(softmax(student), Y)
        + 0.6 * 4 * kl(softmax(teacher / 2), softmax(student / 2))
    ),
    "cwtm": lambda teacher, student: np.average(
        cross_entropy(softmax(student), Y), weights=softmax(teacher / 2).max(-1)
    ),
    # The paper's cross-entropy (equation 9) without the teacher's entropy, which is a constant.
    "dkpp": lambda teacher, student: np.mean(
        4 * kl(permuted(softmax(teacher / 2)), softmax(student / 2))
    ),
}


@pytest.mark.parametrize("variant", NUMPY)
def test_each_generation_is_taught_by_the_one_before(tmp_path, variant):
    teacher, student = (net(*size, dropout=0, classes=5) for size in ((9, 5), (6, 1)))
    before = student.get_weights()
    students, history = run(
        tmp_path,
        student,
        data=whole,
        epochs=1,
        teacher=teacher,
        variant=variant,
        temperature=2.0,
        student_loss_weight=0.4 if variant == "soft_targets" else None,
        optimizer=keras.optimizers.SGD(0.0),  # Leaves the initial weights as they are.
    )
    assert history["stage"] == [1, 2]
    # One step moved the averages, which a teacher uses.
    teachers = [model.predict(X, verbose=0).astype("float64") for model in (teacher, students[0])]
    expected = [
        NUMPY[variant](logits, logits_in_training(model))
        for logits, model in zip(teachers, students, strict=True)
    ]
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-4)
    kernels = [model.get_layer("features").get_weights()[0] for model in (student, *students)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(kernels[one] - kernels[other]).min() > 0
    np.testing.assert_array_equal(student.get_weights()[0], before[0])


@pytest.mark.large
def test_generation_0_is_trained_on_the_labels(tmp_path):
    students, history = run(tmp_path, metrics=["accuracy"], validation_data=(X, Y))
    assert history["stage"] == [1] * EPOCHS + [2] * EPOCHS + [3] * EPOCHS
    assert history["distillation_loss"][:EPOCHS] == [None] * EPOCHS
    assert np.isfinite(history["val_accuracy"]).all()
    assert len(students) == 3
    ensemble = kdzoo.Ensemble(students, average="probabilities")
    mean = np.mean([softmax(model.predict(X, verbose=0)) for model in students], axis=0)
    np.testing.assert_allclose(softmax(ensemble.predict(X, verbose=0)), mean, atol=1e-6)


@pytest.mark.large_on_jax
@pytest.mark.parametrize(
    ("epoch", "variant"),
    [
        (1, "dkpp"),
        pytest.param(0, "soft_targets", marks=pytest.mark.large),
        pytest.param(2, "cwtm", marks=pytest.mark.large),
    ],
)
def test_a_run_stopped_in_any_generation_ends_as_an_undisturbed_one(tmp_path, epoch, variant):
    run_it = functools.partial(run, variant=variant, generations=1 + (epoch == 2))
    expected, history = run_it(tmp_path / "whole")
    with pytest.raises(Stopped):
        run_it(tmp_path / "stopped", callbacks=[StopIn(epoch)])
    keras.utils.set_random_seed(epoch)  # Another process would have other random numbers.
    students, again = run_it(tmp_path / "stopped")
    assert again == history
    assert_same(students, expected)
    others = {
        "temperature": 3.0,
        "optimizer": keras.optimizers.Adam(0.5),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
    }
    for name, value in others.items():
        with pytest.raises(ValueError, match="choose another directory"):
            run_it(tmp_path / "stopped", **{name: value})
    run_it(tmp_path / "stopped", optimizer=keras.optimizers.Adam(name="as_by_name"))


def test_seeds_of_layers_are_drawn_anew():
    seeded = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(4, kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
            keras.layers.Dropout(0.5, seed=2),
            keras.layers.Dense(3),
        ]
    )
    state = random.getstate()
    models = [seeded, *(with_new_weights(seeded, seed) for seed in "aba")]
    assert random.getstate() == state
    kernels = [model.get_weights()[0].tobytes() for model in models]
    assert len(set(kernels)) == 3
    assert kernels[1] == kernels[3]
    seeds = [model.layers[1].seed for model in models]
    assert len(set(seeds)) == 3
    assert seeds[1] == seeds[3]


def test_weights_that_training_does_not_change_are_kept():
    adapted = keras.layers.Normalization()
    adapted.adapt(X * 9 + 5)
    frozen = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)], name="frozen")
    frozen.trainable = False
    student = keras.Sequential([keras.Input((6,)), adapted, frozen, keras.layers.Dense(3)])
    made = with_new_weights(student, "a")
    expected = (X - X.mean(0)) / X.std(0)
    np.testing.assert_allclose(made.layers[0](X * 9 + 5), expected, rtol=1e-4, atol=1e-4)
    assert_same([made.layers[1]], [frozen])
    assert not made.layers[1].trainable_weights
    assert np.abs(made.get_weights()[-2] - student.get_weights()[-2]).min() > 0


@pytest.mark.tensorflow
def test_generation_0_is_accelerated_as_the_others_are(tmp_path):
    students, _ = run(tmp_path, generations=1)
    assert "call" in vars(students[0].get_layer("norm"))  # As `kdzoo.accelerate` leaves it.


def test_a_function_makes_models_of_other_classes(tmp_path):
    class Own(keras.Model):
        def __init__(self, seed):
            super().__init__()
            keras.utils.set_random_seed(seed)
            self.dense = keras.layers.Dense(3)
            self(X)

        def call(self, inputs):
            return self.dense(inputs)

    students, history = run(tmp_path, Own, teacher=net(9, 5), generations=1)
    assert [type(model) for model in students] == [Own]
    assert len(history["loss"]) == EPOCHS
    with pytest.raises(ValueError, match="pass a function that returns a fresh model"):
        run(tmp_path / "own", Own(0))


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Expected generations to be a positive integer"):
        run(tmp_path, generations=0)
    with pytest.raises(ValueError, match="Did you mean 'cwtm'"):
        run(tmp_path, variant="cwt")
    with pytest.raises(ValueError, match="Expected `temperature` to be above 0"):
        run(tmp_path, temperature=0)
    with pytest.raises(ValueError, match=r"`student` to be a `keras\.Model`"):
        run(tmp_path, 5)
    with pytest.raises(ValueError, match="same classes"):
        run(tmp_path, teacher=net(9, 5, classes=4))
    with pytest.raises(ValueError, match="Expected `loss`"):
        run(tmp_path, loss=None)
    frozen = net(6, 1, "frozen")
    frozen.trainable = False
    with pytest.raises(ValueError, match="Expected `student` to have weights to train"):
        run(tmp_path, frozen)
    with pytest.raises(ValueError, match=r"Expected `student\(0\)` to have weights to train"):
        run(tmp_path, lambda number: frozen)
    student = net(6, 1)
    softened = keras.Model(student.input, keras.layers.Softmax()(student.output))
    with pytest.raises(ValueError, match="as_logits"):
        run(tmp_path, softened)
    assert not list(tmp_path.iterdir())  # All of it was found before anything was trained.
