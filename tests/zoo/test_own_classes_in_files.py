"""Files whose models are of classes, or have activation functions, that only their authors had."""

import keras
import numpy as np
import pytest
from old_files import quiet, randomize, written

import kdzoo

tf_keras = pytest.importorskip("tf_keras")
layers = tf_keras.layers
pytestmark = pytest.mark.tensorflow


class Adversarial(tf_keras.Model):
    """A functional model that trains in its own way, as examples of Keras have many."""

    def train_step(self, data):
        raise NotImplementedError


def adversarial(name):
    inputs = layers.Input((4,))
    return Adversarial(inputs, layers.Dense(3)(inputs), name=name)


def assert_outputs(model, given, expected):
    np.testing.assert_allclose(model(given[0], training=False), expected[0], rtol=1e-5, atol=1e-6)


def test_a_functional_model_of_its_own_class_opens_as_its_graph(tmp_path):
    given, expected = written(randomize(adversarial("outer")), tmp_path / "model.h5")
    with pytest.warns(UserWarning, match=r"'outer' is of the class 'Adversarial'.*its graph"):
        model = kdzoo.load_model(tmp_path / "model.h5")
    assert_outputs(model, given, expected)


def test_so_does_one_within_another(tmp_path):
    inputs = layers.Input((4,))
    inner = adversarial("inner")
    made = tf_keras.Model(inputs, layers.Dense(2)(inner(layers.Dense(4)(inputs))))
    given, expected = written(randomize(made), tmp_path / "model.h5")
    with pytest.warns(UserWarning, match=r"'inner' is of the class 'Adversarial'"):
        model = kdzoo.load_model(tmp_path / "model.h5")
    assert_outputs(model, given, expected)


def test_a_class_that_is_known_here_is_kept(tmp_path):
    class OfKeras3(keras.Model):
        pass

    OfKeras3.__name__ = "Adversarial"
    given, expected = written(randomize(adversarial("outer")), tmp_path / "model.h5")
    with keras.saving.custom_object_scope({"Adversarial": OfKeras3}):
        model = kdzoo.load_model(tmp_path / "model.h5")
    assert isinstance(model, OfKeras3)
    assert_outputs(model, given, expected)


def test_a_model_that_only_its_code_knows_is_named(tmp_path):
    class Tower(tf_keras.Sequential):
        pass

    written(Tower([layers.Input((4,)), layers.Dense(2)], name="own"), tmp_path / "model.h5")
    with pytest.raises(ValueError, match=r"'own', of the class 'Tower', .*`keras.Model\(inputs, "):
        kdzoo.load_model(tmp_path / "model.h5")


def squared(x):
    return x * x


@keras.saving.register_keras_serializable("kdzoo_tests_of_files")
class Squared(keras.layers.Layer):
    def call(self, inputs):
        return inputs * inputs


def recurrent_and_dense(library, activation):
    return library.Sequential(
        [
            library.layers.Input((5, 4)),
            library.layers.LSTM(3, recurrent_activation=activation),
            library.layers.Dense(2, activation=activation, name="inner"),
        ]
    )


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_an_activation_of_ones_own_is_named_and_opens_where_a_layer_computes_it(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    given, expected = written(randomize(recurrent_and_dense(tf_keras, squared)), path)
    with pytest.raises(ValueError, match=r"a LSTM, with recurrent_activation='squared'") as refused:
        kdzoo.load_model(path)
    assert "keras.saving.custom_object_scope({'squared': Layer})" in str(refused.value)
    with keras.saving.custom_object_scope({"squared": Squared}):
        model = kdzoo.load_model(path)
    assert_outputs(model, given, expected)
    model.save(tmp_path / "again.keras")
    assert_outputs(kdzoo.load_model(tmp_path / "again.keras"), given, expected)


def test_an_activation_of_ones_own_in_a_file_of_keras_3(tmp_path):
    made = recurrent_and_dense(keras, squared)
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    with quiet():
        made.save(tmp_path / "model.h5")
    with pytest.raises(
        ValueError, match=r"a LSTM, with recurrent_activation='squared', a function"
    ):
        kdzoo.load_model(tmp_path / "model.h5")
    with keras.saving.custom_object_scope({"squared": Squared}):
        model = kdzoo.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(model(x), made(x), rtol=1e-5, atol=1e-6)


def no_penalty(weights):
    return 0.0


def all_zeros(shape, dtype=None):
    import tensorflow as tf

    return tf.zeros(shape, dtype or "float32")


class Drawn(tf_keras.initializers.Initializer):
    def __call__(self, shape, dtype=None, **settings):
        return all_zeros(shape, dtype)

    def get_config(self):
        return {}


class Bounded(tf_keras.constraints.Constraint):
    def get_config(self):
        return {}


class BoundedOfKeras3(keras.constraints.Constraint):
    def __call__(self, weights):
        return weights

    def get_config(self):
        return {}


def with_part(**part):
    return tf_keras.Sequential([layers.Input((4,)), layers.Dense(2, name="inner", **part)])


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("initializer", [all_zeros, Drawn()])
def test_an_initializer_of_ones_own_does_not_matter(initializer, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    made = randomize(with_part(kernel_initializer=initializer))
    given, expected = written(made, path)
    assert_outputs(kdzoo.load_model(path), given, expected)


@pytest.mark.parametrize(
    ("argument", "part", "name"),
    [
        ("kernel_regularizer", no_penalty, "no_penalty"),
        ("kernel_regularizer", lambda weights: 0.0, "__lambda__"),
        ("bias_constraint", Bounded(), "Bounded"),
    ],
)
def test_another_part_of_ones_own_is_named_with_its_layer(argument, part, name, tmp_path):
    written(with_part(**{argument: part}), tmp_path / "model.h5")
    words = f"'inner', a Dense, with {argument}='{name}', .*: save the model without it"
    with pytest.raises(ValueError, match=words) as refused:
        kdzoo.load_model(tmp_path / "model.h5")
    scope = f"keras.saving.custom_object_scope({{'{name}': Class}})"
    assert (scope in str(refused.value)) == (name != "__lambda__")


@keras.saving.register_keras_serializable("kdzoo_tests_of_files")
class Holding(keras.layers.Layer):
    def __init__(self, kernel_constraint, **settings):
        super().__init__(**settings)
        self.kept = kernel_constraint

    def get_config(self):
        kept = keras.constraints.serialize(self.kept)
        return {**super().get_config(), "kernel_constraint": kept}


def test_so_is_one_of_a_layer_of_ones_own(tmp_path):
    made = keras.Sequential([keras.Input((4,)), Holding(BoundedOfKeras3(), name="inner")])
    with quiet():
        made.save(tmp_path / "model.h5")
    words = r"'inner', a Holding, with kernel_constraint='BoundedOfKeras3', .*import what registers"
    with pytest.raises(ValueError, match=words):
        kdzoo.load_model(tmp_path / "model.h5")
    made = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(2, kernel_constraint=no_penalty)]
    )
    with pytest.raises(ValueError, match=r"kernel_constraint= the function .* a registered class"):
        kdzoo.save_pretrained(made, tmp_path / "shared")


@pytest.mark.parametrize("constraint", [no_penalty, Bounded()])
def test_it_opens_where_a_class_of_keras_3_takes_its_place(constraint, tmp_path):
    name = getattr(constraint, "__name__", "Bounded")
    own = type(name, (BoundedOfKeras3,), {})
    given, expected = written(
        randomize(with_part(kernel_constraint=constraint)), tmp_path / "model.h5"
    )
    with keras.saving.custom_object_scope({name: own}):
        model = kdzoo.load_model(tmp_path / "model.h5")
    assert isinstance(model.layers[-1].kernel_constraint, own)
    assert_outputs(model, given, expected)
