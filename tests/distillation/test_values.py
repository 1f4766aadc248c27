"""Values that `fit` looks at: probabilities for logits are refused, odd images are warned of."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import kdzoo
from kdzoo.distillation.data_checks import check_data
from kdzoo.losses import DecoupledSoftTargets, LogitRegression, SoftTargets

X = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
Y = np.arange(8) % 3


class OwnSoftmax(layers.Layer):
    def call(self, inputs):
        return ops.softmax(inputs)


class Subclassed(keras.Model):
    """A classifier whose layers Keras does not see."""

    def __init__(self, activation="softmax", classes=3):
        super().__init__()
        self.head = layers.Dense(classes, activation)

    def call(self, inputs):
        return self.head(inputs)


def model(end=None):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    logits = layers.Dense(3, name="last")(inputs)
    return keras.Model(inputs, logits if end is None else end(logits))


def subclassed(activation="softmax"):
    made = Subclassed(activation)
    made(X)
    return made


ENDS = {
    "lambda": lambda: model(layers.Lambda(lambda logits: ops.softmax(logits))),
    "own_layer": lambda: model(OwnSoftmax()),
    "times_1": lambda: model(lambda logits: layers.Softmax()(logits) * 1.0),
    "average": lambda: model(
        lambda logits: layers.Average()([layers.Softmax()(logits), layers.Softmax()(-logits)])
    ),
    "subclassed": subclassed,
    "half": lambda: model(lambda logits: OwnSoftmax(dtype="mixed_bfloat16")(logits)),
}


def fitted(teacher, student, loss=None, run_eagerly=True, **kwargs):
    """The history of a `fit`; a step that is not compiled is the quicker one of two steps."""
    loss = SoftTargets(2.0) if loss is None else loss
    distiller = kdzoo.Distiller(teacher, student, loss, student_loss_weight=0.0, **kwargs)
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=run_eagerly)
    return distiller.fit(X, batch_size=4, verbose=0).history


@pytest.mark.parametrize("end", ENDS)
def test_a_softmax_that_cannot_be_seen_is_refused(end):
    is_seen = end == "average"
    said = "ends in a softmax" if is_seen else r"teacher's logits, which 'soft_targets' reads"
    with pytest.raises(ValueError, match=said):
        fitted(ENDS[end](), model(), run_eagerly=end != "lambda")


def test_a_batch_of_one_does_not_tell_probabilities_from_logits():
    inputs = keras.Input((5,))
    teacher, student = (keras.Model(inputs, layers.Dense(2)(inputs)) for _ in range(2))
    teacher.set_weights([np.zeros((5, 2)), np.array([0.3, 0.705])])
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(2.0), student_loss_weight=0.0)
    distiller.compile("sgd", run_eagerly=True)
    assert np.isfinite(distiller.train_on_batch(X[:1], return_dict=True)["loss"])


class Heads(keras.Model):
    """Binary labels, behind a sigmoid that cannot be seen, and logits of classes."""

    def __init__(self):
        super().__init__()
        self.a, self.b = layers.Dense(5), layers.Dense(3)

    def call(self, inputs):
        return [ops.sigmoid(3 * self.a(inputs)), self.b(inputs)]


@pytest.mark.large_on_jax
def test_a_sigmoid_is_looked_for_by_what_each_output_means():
    x = np.random.default_rng(1).normal(size=(32, 5)).astype("float32")
    teacher = Heads()
    teacher(x)
    inputs = keras.Input((5,))
    student = keras.Model(inputs, [layers.Dense(5)(inputs), layers.Dense(3)(inputs)])
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(2.0))
    losses = keras.losses.BinaryCrossentropy, keras.losses.SparseCategoricalCrossentropy
    distiller.compile("sgd", [loss(from_logits=True) for loss in losses], run_eagerly=True)
    with pytest.warns(UserWarning, match="teacher's outputs, which 'soft_targets' reads") as caught:
        distiller.train_on_batch(x, [np.zeros((32, 5)), np.zeros(32, "int32")])
    assert len(caught) == 1
    # By the activation that the student had.
    teacher = Subclassed("sigmoid")
    teacher(x)
    student = kdzoo.as_logits(keras.Model(inputs, layers.Dense(3, "sigmoid")(inputs)))
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(2.0), student_loss_weight=0.0)
    distiller.compile("sgd", run_eagerly=True)
    with pytest.warns(UserWarning, match="without its sigmoid"):
        distiller.train_on_batch(3 * x)


def test_the_students_softmax_is_refused_too():
    with pytest.raises(ValueError, match=r"the student's logits"):
        fitted(model(), subclassed())


def test_probabilities_of_a_tapped_layer_are_refused():
    loss = SoftTargets(2.0, teacher_layer="last", student_layer="last")
    teacher = model()
    teacher.get_layer("last").activation = lambda logits: ops.softmax(logits)
    with pytest.raises(ValueError, match=r"the teacher's logits"):
        fitted(teacher, model(), loss)


def test_a_refusal_leaves_a_model_that_can_be_used(cross_entropy):
    student = model()
    distiller = kdzoo.Distiller(subclassed(), student, SoftTargets(2.0))
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match="check_values=False"):
        distiller.fit(X, Y, verbose=0)
    assert np.isfinite(student.predict(X, verbose=0)).all()
    distiller.teacher = subclassed(None)
    logs = distiller.fit(X, Y, verbose=0).history
    assert set(logs) == {"loss", "student_loss", "distillation_loss"}


def test_a_switch_takes_outputs_as_they_are():
    teacher, student = subclassed(), model()
    outputs, probs = student.predict(X, verbose=0), teacher.predict(X, verbose=0)
    loss = LogitRegression("logits")
    distiller = kdzoo.Distiller(teacher, student, loss, student_loss_weight=0.0, check_values=False)
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    found = distiller.fit(X, verbose=0).history
    assert set(found) == {"loss", "student_loss", "distillation_loss"}
    expected = np.square(outputs.astype("float64") - probs).sum(-1).mean() / 2
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    ending = model(layers.Softmax())
    assert kdzoo.Distiller(ending, model(), loss, check_values=False).teacher is ending


def test_a_sigmoid_that_cannot_be_seen_is_a_warning():
    x = 3 * np.random.default_rng(1).normal(size=(32, 5)).astype("float32")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    for activation, given in (("sigmoid", {}), ("sigmoid", {"check_values": False}), (None, {})):
        teacher = Subclassed(activation)
        teacher(x)
        distiller = kdzoo.Distiller(teacher, model(), LogitRegression("logits"), **given)
        distiller.compile("sgd", loss, run_eagerly=True)
        if activation and not given:
            with pytest.warns(UserWarning, match="without its sigmoid") as caught:
                distiller.fit(x, np.zeros((32, 3)), epochs=2, verbose=0)
            assert len(caught) == 1
        else:
            distiller.fit(x, np.zeros((32, 3)), verbose=0)


def test_one_batch_by_itself_is_looked_at():
    distiller = kdzoo.Distiller(subclassed(), model(), SoftTargets(2.0), student_loss_weight=0.0)
    distiller.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match="the teacher's logits"):
        distiller.train_on_batch(X)


def batches(x, y, drawn):
    """A generator of batches, which says what was drawn from it."""
    for start in range(0, len(x), 4):
        drawn.append(start)
        yield x[start : start + 4], {"label": y[start : start + 4], "teacher": PROBS[:4]}


PROBS = np.full((8, 3), 1 / 3, "float32")


def test_recorded_outputs_are_looked_at_without_drawing_a_batch(cross_entropy):
    distiller = kdzoo.Distiller(None, model(), SoftTargets(2.0))
    distiller.compile("sgd", cross_entropy, run_eagerly=True)
    drawn = []
    with pytest.raises(ValueError, match="the teacher's logits"):
        distiller.fit(batches(X, Y, drawn), shuffle=False, verbose=0)
    assert drawn in ([0], [0, 4])  # Keras reads ahead of the step.
    with pytest.raises(ValueError, match=r"teacher's logits. Received: probabilities"):
        distiller.fit(X, {"label": Y, "teacher": PROBS}, verbose=0)
    numbers = kdzoo.Distiller(None, model(), LogitRegression())
    numbers.compile("sgd", "mse", run_eagerly=True)
    numbers.fit(X, {"label": PROBS, "teacher": PROBS}, verbose=0)


@pytest.mark.tensorflow
def test_a_stream_is_looked_at(cross_entropy):
    import tensorflow as tf

    distiller = kdzoo.Distiller(subclassed(), model(), SoftTargets(2.0))
    distiller.compile("sgd", cross_entropy)
    stream = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    with pytest.raises(ValueError, match="the teacher's logits"):
        distiller.fit(stream, shuffle=False, verbose=0)


@pytest.mark.tensorflow
def test_a_saved_models_dictionary_of_one_output_teaches(tmp_path):
    teacher = model()
    teacher.export(tmp_path, verbose=False)
    layer = layers.TFSMLayer(str(tmp_path), call_endpoint="serving_default")
    inputs = keras.Input((5,))
    found = fitted(keras.Model(inputs, layer(inputs)), kdzoo.as_logits(model()))
    np.testing.assert_allclose(found["loss"], fitted(teacher, model())["loss"], atol=1e-6)


def test_outputs_of_a_dictionary_go_by_number_and_by_name():
    inputs = keras.Input((5,))
    one, two = layers.Dense(3, name="one"), layers.Dense(3, name="two")
    parts = [one(inputs), two(inputs)]
    by_number = keras.Model(inputs, dict(zip(["output_0", "output_1"], parts, strict=True)))
    by_name = keras.Model(inputs, {"zebra": parts[0], "apple": parts[1]})
    student = keras.Model(
        inputs, [layers.Dense(3, name="zebra")(inputs), layers.Dense(3, name="apple")(inputs)]
    )
    start = student.get_weights()
    found = []
    for teacher in (by_number, by_name, keras.Model(inputs, parts)):
        student.set_weights(start)
        found += fitted(teacher, student)["loss"]
    np.testing.assert_allclose(found, found[-1:] * 3, rtol=1e-6)


def image_model(first=None, outputs=3):
    inputs = keras.Input((6, 6, 2))
    x = inputs if first is None else first(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    return keras.Model(inputs, layers.Dense(outputs)(x))


IMAGES = np.random.default_rng(0).random((16, 6, 6, 2), dtype="float32")


def check(student, images=IMAGES, y=None, loss="mse", losses=None, **kwargs):
    """Runs the checks that `fit` makes before it trains."""
    losses = SoftTargets(2.0) if losses is None else losses
    distiller = kdzoo.Distiller(None, student, losses, **kwargs)
    distiller.compile("sgd", loss)
    check_data(images, np.zeros((16, 3)) if y is None else y, distiller)


class Divides(layers.Layer):
    def call(self, inputs):
        return inputs / 255


class SubclassedStudent(keras.Model):
    def __init__(self):
        super().__init__()
        self.net = image_model()

    def call(self, inputs):
        return self.net(inputs / 255)


@pytest.mark.parametrize("high", [80, 255])
def test_images_that_look_like_pixels_are_one_warning(high):
    with pytest.warns(UserWarning, match=r"look like raw pixels.*check_values=False") as caught:
        check(image_model(), IMAGES * high)
    assert len(caught) == 1
    check(image_model(), IMAGES * high, check_values=False)
    with pytest.warns(UserWarning, match="divide the images by 255"):
        check(image_model(), (IMAGES * high).astype("uint8"))


@pytest.mark.parametrize(
    "first",
    [
        layers.LayerNormalization(),
        layers.GroupNormalization(1),
        layers.BatchNormalization(),
        layers.Rescaling(1 / 255),
        Divides(),
        lambda images: images / 255,
    ],
)
def test_a_student_that_may_rescale_takes_pixels_in_silence(first):
    check(image_model(first), IMAGES * 255)


def test_a_subclassed_student_and_signed_images_take_theirs_in_silence():
    student = SubclassedStudent()
    student(IMAGES)
    check(student, IMAGES * 255)
    check(image_model(), IMAGES * 2 - 1)


def test_integers_that_no_loss_takes_for_classes_may_be_any():
    many = np.arange(16) * 100
    check(image_model(), y=many, loss=lambda y, outputs: ops.mean(outputs, axis=-1))
    check(image_model(), y=many, loss="mae")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"loss": "sparse_categorical_crossentropy"},
        {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        {"loss": "mse", "losses": DecoupledSoftTargets()},
    ],
)
@pytest.mark.filterwarnings("ignore:The loss 'sparse_categorical")  # Of probabilities, on logits.
def test_integers_that_a_loss_takes_for_classes_are_refused(kwargs):
    with pytest.raises(ValueError, match=r"labels from 0 to 2.*number the classes from 0"):
        check(image_model(), y=np.arange(16), **kwargs)


@pytest.mark.parametrize("names", [("label", "index"), ("label", "teacher"), ("teacher", "index")])
def test_labels_of_outputs_that_are_named_as_parts_of_a_batch(names, cross_entropy):
    def made(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((5,))
        return keras.Model(inputs, {name: layers.Dense(3, name=name)(inputs) for name in names})

    student = made(1)
    distiller = kdzoo.Distiller(made(0), student, SoftTargets(2.0), student_loss_weight=1.0)
    distiller.compile("sgd", dict.fromkeys(names, cross_entropy), run_eagerly=True)
    labels = {names[0]: Y, names[1]: Y[::-1]}
    outputs = student.predict(X, verbose=0)
    expected = sum(
        -np.log(np.take_along_axis(_softmax(outputs[name]), labels[name][:, None], 1)).mean()
        for name in names
    )
    found = distiller.evaluate(X, labels, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = distiller.fit(X, labels, batch_size=8, verbose=0, validation_data=(X, labels))
    np.testing.assert_allclose(found.history["loss"], expected, rtol=1e-5)
    carried = {"label": labels, "teacher": made(0).predict(X, verbose=0)}
    assert np.isfinite(distiller.fit(X, carried, batch_size=8, verbose=0).history["loss"])


def _softmax(logits):
    exponentials = np.exp(logits.astype("float64"))
    return exponentials / exponentials.sum(-1, keepdims=True)


def test_a_teacher_of_tf_keras_is_named_as_such():
    tf_keras = pytest.importorskip("tf_keras")
    teacher = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(5,))])
    with pytest.raises(ValueError, match=r"of tf_keras, which is Keras 2"):
        kdzoo.Distiller(teacher, model(), SoftTargets(2.0))


def test_decoupled_soft_targets_say_what_serves_positions():
    logits = np.zeros((2, 4, 4, 3), "float32")
    with pytest.raises(ValueError, match="class for each position; use `SoftTargets`"):
        DecoupledSoftTargets()(logits, logits, labels=np.zeros((2, 4, 4), "int32"))


def test_a_sample_of_weight_0_needs_no_label():
    inputs = keras.Input((5,))
    teacher, student = (keras.Model(inputs, layers.Dense(3)(inputs)) for _ in range(2))
    distiller = kdzoo.Distiller(teacher, student, DecoupledSoftTargets(), student_loss_weight=0.0)
    distiller.compile(keras.optimizers.SGD(0.1))
    labels, weights = np.arange(8) % 3, np.ones(8, "float32")
    labels[:2], weights[:2] = -1, 0
    before = student.get_weights()
    found = distiller.train_on_batch(X, labels, weights, return_dict=True)["distillation_loss"]
    after = student.get_weights()
    student.set_weights(before)
    distiller.reset_metrics()
    expected = distiller.train_on_batch(X[2:], labels[2:], return_dict=True)["distillation_loss"]
    np.testing.assert_allclose(found, expected * 6 / 8, rtol=1e-5)
    for start, one, other in zip(before, after, student.get_weights(), strict=True):
        np.testing.assert_allclose(one - start, (other - start) * 6 / 8, rtol=1e-3, atol=1e-6)


def test_a_teachers_logits_that_are_nan_cost_nothing_at_weight_0():
    student = model()
    distiller = kdzoo.Distiller(None, student, SoftTargets(2.0), student_loss_weight=0.0)
    distiller.compile("sgd", run_eagerly=True)
    logits, weights = 2 * X[:, :3], np.ones(8, "float32")
    logits[3], weights[3] = np.nan, 0
    logs = distiller.train_on_batch(X, {"teacher": logits}, weights, return_dict=True)
    assert np.isfinite(logs["loss"])
    assert all(np.isfinite(weight).all() for weight in student.get_weights())
