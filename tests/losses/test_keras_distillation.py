"""Losses of keras.distillation, wrapped: the same numbers, one for each sample."""

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo.losses import KerasDistillation, soft_targets

LogitsDistillation = keras.distillation.LogitsDistillation
FeatureDistillation = keras.distillation.FeatureDistillation


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    return [ops.convert_to_tensor(rng.normal(size=(4, 3)), "float32") for _ in range(2)]


@pytest.mark.parametrize(
    "loss",
    [
        LogitsDistillation(3.0, loss=keras.losses.KLDivergence()),
        LogitsDistillation(2.0, loss="mse"),
        FeatureDistillation("mse"),
        FeatureDistillation(keras.losses.CosineSimilarity()),
    ],
)
def test_samples_average_to_keras_own_value(loss, pair):
    values = KerasDistillation(loss)(*pair)
    assert values.shape == (4,)
    expected = ops.convert_to_numpy(loss.compute_loss(*pair))
    np.testing.assert_allclose(ops.convert_to_numpy(values).mean(), expected, rtol=1e-5)
    # One value per sample: not the mean, repeated.
    assert np.ptp(ops.convert_to_numpy(values)) > 1e-3


def test_correct_keras_loss_equals_ours(pair):
    loss = LogitsDistillation(3.0, loss=keras.losses.KLDivergence())
    values = ops.convert_to_numpy(KerasDistillation(loss)(*pair))
    np.testing.assert_allclose(values, ops.convert_to_numpy(soft_targets(*pair, 3.0)), rtol=1e-3)


def test_the_default_is_pointed_out_and_is_indeed_wrong():
    loss = LogitsDistillation(3.0)
    with pytest.warns(UserWarning, match=r"SoftTargets\(temperature=3.0\)"):
        wrapped = KerasDistillation(loss)
    pair = ([[1.0, 2.0, 5.0]], [[0.5, 2.5, 0.0]])
    pair = [ops.convert_to_tensor(part) for part in pair]
    # What keras.distillation makes of it, and what T² · KL is.
    np.testing.assert_allclose(ops.convert_to_numpy(wrapped(*pair)), [16.20], atol=0.01)
    np.testing.assert_allclose(ops.convert_to_numpy(soft_targets(*pair, 3.0)), [3.194], atol=1e-3)


def test_own_compute_loss_gives_every_sample_the_batch_value(pair):
    class Custom(keras.distillation.DistillationLoss):
        def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
            return ops.mean(ops.abs(teacher_outputs - student_outputs))

    values = ops.convert_to_numpy(KerasDistillation(Custom())(*pair))
    expected = np.abs(np.subtract(*[ops.convert_to_numpy(part) for part in pair])).mean()
    np.testing.assert_allclose(values, np.full(4, expected), rtol=1e-6)


def test_a_batch_value_must_be_one_number(pair):
    class Rows(keras.distillation.DistillationLoss):
        def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
            return ops.mean(ops.abs(teacher_outputs - student_outputs), axis=-1)

    with pytest.raises(ValueError, match=r"Expected `Rows.compute_loss` to return one number"):
        KerasDistillation(Rows()).call(*pair)


def test_several_outputs_are_summed_and_none_is_skipped(pair):
    loss = FeatureDistillation(loss=["mse", None, "mae"])
    structures = [[part, part * 2, part * 3] for part in pair]
    values = KerasDistillation(loss).call(*structures)
    expected = ops.convert_to_numpy(loss.compute_loss(*structures))
    np.testing.assert_allclose(ops.convert_to_numpy(values).mean(), expected, rtol=1e-5)


def test_layers_and_config_are_kept():
    loss = FeatureDistillation(
        keras.losses.MeanSquaredError(), teacher_layer_name="a", student_layer_name="b"
    )
    wrapped = KerasDistillation(loss, name="mine")
    saved = keras.saving.serialize_keras_object(wrapped)
    for loss in (wrapped, keras.saving.deserialize_keras_object(saved)):
        assert (loss.teacher_layer, loss.student_layer, loss.name) == ("a", "b", "mine")


def test_anything_else_is_refused():
    with pytest.raises(ValueError, match=r"Expected a loss of `kdzoo.losses`.*Received: 'kl'"):
        KerasDistillation("kl")
