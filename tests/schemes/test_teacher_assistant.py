"""Teacher assistants: the chain, its losses, its sizes, and a stop at any place of it."""

import itertools

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
from kdzoo.schemes import assistant_sizes, teacher_assistant

EPOCHS = (1, 2)


def chain(dropout=0.2, other=0):
    """A teacher, and two models of which others have other initial weights."""
    seeds = (12, 8 + other, 4 + other)
    return [
        net(width, seed, f"width_{width}", dropout)
        for width, seed in zip((12, 8, 4), seeds, strict=True)
    ]


def run(directory, models=None, **arguments):
    arguments = {
        "data": batches,
        "epochs": EPOCHS,
        "loss": CROSS_ENTROPY,
        "verbose": 0,
        **arguments,
    }
    teacher, *others = chain() if models is None else models
    return teacher_assistant(teacher, others, arguments.pop("data"), directory, **arguments)


def test_each_model_is_taught_by_the_one_before(tmp_path):
    models = chain(dropout=0)
    student, history = run(
        tmp_path,
        models,
        data=Rows(24),
        epochs=1,
        distillation_loss=kdzoo.losses.SoftTargets(3.0),
        student_loss_weight=0.3,
        optimizer=keras.optimizers.SGD(0.0),
    )
    assert student is models[-1]
    assert history["stage"] == [1, 2]
    expected = []
    for teacher, model in itertools.pairwise(models):
        theirs, ours = teacher.predict(X, verbose=0) / 3, logits_in_training(model)
        soft = 9 * kl(softmax(theirs), softmax(ours / 3))
        expected.append(np.mean(0.3 * cross_entropy(softmax(ours), Y) + 0.7 * soft))
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-4)


@pytest.mark.large
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_stopped_in_any_stage_ends_as_an_undisturbed_one(tmp_path, epoch):
    models, again = chain(), chain(other=50)
    _, expected = run(tmp_path / "whole", models, metrics=["accuracy"])
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", metrics=["accuracy"], callbacks=[StopIn(epoch)])
    _, history = run(tmp_path / "stopped", again, metrics=["accuracy"])
    assert history == expected
    assert history["stage"] == [1, 2, 2]
    assert_same(again, models)
    with pytest.raises(ValueError, match="choose another directory"):
        run(tmp_path / "stopped", student_loss_weight=0.1)


@pytest.mark.large
@pytest.mark.large_on_jax
def test_a_stage_that_ended_early_is_not_gone_on_with(tmp_path):
    class StopEarly(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    def run_it(directory, models, *callbacks):
        return run(directory, models, epochs=3, callbacks=[StopEarly(), *callbacks])[1]

    models, again = chain(), chain()
    expected = run_it(tmp_path / "whole", models)
    with pytest.raises(Stopped):  # In the first epoch of the second stage.
        run_it(tmp_path / "stopped", chain(), StopIn(2))
    assert run_it(tmp_path / "stopped", again) == expected
    assert expected["stage"] == [1, 1, 2, 2]
    assert_same(again, models)


@pytest.mark.large_on_jax
def test_a_teacher_of_other_inputs_and_a_loss_with_weights(tmp_path):
    teacher = net(20, 1, inputs=3)
    hint = kdzoo.losses.Hint("features", "features")
    _, history = run(
        tmp_path,
        [teacher, *chain()[1:]],
        teacher_transform=lambda x: x[:, ::2],
        distillation_loss=hint,
    )
    assert np.isfinite(history["loss"]).all()
    assert not hint.built  # Every stage has a regressor of its own.


def test_sizes_are_even_in_logarithms():
    assert assistant_sizes(1_000_000, 10_000) == [100_000]
    sizes = np.array([3_000_000, *assistant_sizes(3_000_000, 1_000, 4), 1_000])
    np.testing.assert_allclose(sizes[1:] / sizes[:-1], 3000 ** (-1 / 5), rtol=1e-3)
    assert assistant_sizes(7, 7, 2) == [7, 7]
    with pytest.raises(ValueError, match="at most the teacher's parameters"):
        assistant_sizes(10, 11)


def test_bad_arguments_are_refused(tmp_path):
    teacher, large, small = chain()
    with pytest.raises(ValueError, match=r"'width_8' with \d+ parameters, after 'width_4'"):
        run(tmp_path, [teacher, small, large])
    frozen = [*chain()]
    for number in (1, 2):
        frozen[number].trainable = False
        message = rf"Expected `models\[{number - 1}\]` to have weights to train"
        with pytest.raises(ValueError, match=message):
            run(tmp_path, frozen)
        frozen[number].trainable = True
    with pytest.raises(ValueError, match=r"'width_12' with \d+ parameters, after 'width_8'"):
        run(tmp_path, [large, teacher])
    with pytest.raises(ValueError, match="a list of assistants with the student at its end"):
        run(tmp_path, [teacher])
    with pytest.raises(ValueError, match="as a list of 2, one for each model"):
        run(tmp_path, epochs=[1, 2, 3])
    with pytest.raises(ValueError, match="one distillation loss"):
        run(tmp_path, distillation_loss=[kdzoo.losses.SoftTargets(2.0)] * 2)
    with pytest.raises(ValueError, match="Expected an optimizer"):
        run(tmp_path, optimizer=None)
    with pytest.raises(ValueError, match="same classes"):
        run(tmp_path, [teacher, large, net(4, 1, classes=2)], epochs=1)
    assert not list(tmp_path.iterdir())  # All of it was found before anything was trained.
