"""What outputs mean, found out by a Distiller: by their losses, their activations, or asked."""

import keras
import numpy as np
import pytest
from keras import layers

import kdzoo
from kdzoo.losses import DecoupledSoftTargets, LogitRegression, OutputRegression, SoftTargets

BINARY = keras.losses.BinaryCrossentropy(from_logits=True)
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def net(seed, *units, activation=None, shape=None, names=("first", "second")):
    """A network with a head of each number of units."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,))
    heads = [
        layers.Dense(number, activation, kernel_initializer="normal", name=name)(inputs)
        for number, name in zip(units, names, strict=False)
    ]
    heads = heads if shape is None else [layers.Reshape(shape)(head) for head in heads]
    return keras.Model(inputs, heads[0] if len(heads) == 1 else heads)


def bernoulli(teacher, student, temperature=2.0):
    """T² times the divergence, summed over the last axis; of positions and samples the mean."""
    teacher, student = (np.asarray(part, "float64") / temperature for part in (teacher, student))
    p, q = 1 / (1 + np.exp(-teacher)), 1 / (1 + np.exp(-student))
    values = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return temperature**2 * values.sum(-1).mean()


def softmax_divergence(teacher, student, temperature=2.0):
    parts = []
    for logits in (teacher, student):
        scaled = np.asarray(logits, "float64") / temperature
        parts.append(scaled - np.log(np.exp(scaled).sum(-1, keepdims=True)))
    p, q = parts
    return temperature**2 * (np.exp(p) * (p - q)).sum(-1).mean()


def step(teacher, student, loss, on_labels, x, y=None, given=None):
    """The distillation loss of the first step of a Distiller."""
    weight = 0.0 if on_labels is None else 0.5
    distiller = kdzoo.Distiller(teacher, student, loss, None, weight)
    distiller.compile(keras.optimizers.SGD(0.0), on_labels, run_eagerly=True)
    logs = distiller.train_on_batch(x, y if given is None else given, return_dict=True)
    return float(logs["distillation_loss"])


@pytest.mark.parametrize(("units", "shape"), [(1, None), (3, None), (6, (3, 2, 1)), (1, ())])
def test_the_loss_on_labels_tells_of_yes_and_no(x, units, shape):
    teacher, student = net(1, units, shape=shape), net(2, units, shape=shape)
    outputs = [np.asarray(part(x)) for part in (teacher, student)]
    y = np.zeros(outputs[0].shape, "float32")
    found = step(teacher, student, SoftTargets(2.0), BINARY, x, y)
    expected = bernoulli(*(part[:, None] if shape == () else part for part in outputs))
    assert found == pytest.approx(expected, rel=1e-4)


def test_one_unit_is_learnt_by_the_gradient_of_its_sigmoid(x):
    teacher, student = net(1, 1), net(2, 1)
    p, q = (1 / (1 + np.exp(-np.asarray(part(x), "float64") / 2.0)) for part in (teacher, student))
    expected = student.get_weights()[0] - 2.0 * (x * (q - p)).mean(0)[:, None]
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(2.0, output_type="binary"), None, 0.0)
    distiller.compile(keras.optimizers.SGD(1.0))
    distiller.train_on_batch(x)
    np.testing.assert_allclose(student.get_weights()[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", [SoftTargets(2.0), LogitRegression("kl")])
@pytest.mark.parametrize("on_labels", [None, "mse"])
def test_one_column_of_unknown_meaning_is_refused(x, loss, on_labels):
    with pytest.raises(ValueError, match=r'say `output_type="binary"`'):
        step(net(1, 1), net(2, 1), loss, on_labels, x, np.zeros((8, 1)))
    given = {"label": np.zeros((8, 1)), "teacher": np.ones((8, 1), "float32")}
    with pytest.raises(ValueError, match=r'say `output_type="binary"`'):
        step(None, net(2, 1), loss, on_labels, x, given=given)


def test_recorded_outputs_of_one_unit_are_taught(x):
    recorded, student = np.asarray(net(1, 1)(x)), net(2, 1)
    expected = bernoulli(recorded, student(x))
    given = {"label": np.zeros((8, 1)), "teacher": recorded}
    found = step(None, student, SoftTargets(2.0), BINARY, x, given=given)
    assert found == pytest.approx(expected, rel=1e-4)


def test_every_head_of_several_tasks_is_taught_by_its_meaning(x):
    teacher, student = net(1, 3, 1), net(2, 3, 1)
    teachers, students = teacher(x), student(x)
    expected = softmax_divergence(teachers[0], students[0]) + bernoulli(teachers[1], students[1])
    y = [np.zeros(8, "int32"), np.zeros((8, 1), "float32")]
    found = step(teacher, student, SoftTargets(2.0), [CLASSES, BINARY], x, y)
    assert found == pytest.approx(expected, rel=1e-4)

    def named(model):
        return keras.Model(model.input, dict(zip("ba", model.output, strict=True)))

    by_name = {"a": BINARY, "b": CLASSES}
    y = {"b": y[0], "a": y[1]}
    found = step(named(teacher), named(student), SoftTargets(2.0), by_name, x, y)
    assert found == pytest.approx(expected, rel=1e-4)


def test_what_a_teacher_with_names_means_goes_with_its_outputs(x):
    names = "species", "ill"  # In another order than by the alphabet.
    teacher, student = (net(seed, 3, 2, names=names) for seed in (1, 2))
    teachers, students = teacher(x), student(x)
    expected = softmax_divergence(teachers[0], students[0]) + bernoulli(teachers[1], students[1])
    named = keras.Model(teacher.input, dict(zip(names, teacher.output, strict=True)))
    named.compile(loss={"species": CLASSES, "ill": BINARY})
    assert step(named, student, SoftTargets(2.0), None, x) == pytest.approx(expected, rel=1e-4)


def test_a_tapped_head_means_what_its_output_does(x):
    teacher, student = net(1, 3, 1), net(2, 3, 1)
    tap = SoftTargets(2.0, teacher_layer="second", student_layer="second")
    expected = bernoulli(teacher(x)[1], student(x)[1])
    y = [np.zeros(8, "int32"), np.zeros((8, 1), "float32")]
    found = step(teacher, student, tap, [CLASSES, BINARY], x, y)
    assert found == pytest.approx(expected, rel=1e-4)
    # Before an activation of its own.
    ends = [
        keras.Model(model.input, layers.Activation("sigmoid")(model.output[1]))
        for model in (teacher, student)
    ]
    assert step(*ends, tap, None, x) == pytest.approx(expected, rel=1e-4)


def test_the_remedy_for_a_sigmoid_leads_to_right_numbers(x):
    teacher, student = net(1, 3, activation="sigmoid"), net(2, 3)
    with pytest.raises(ValueError, match=r"ends in a sigmoid; pass `kdzoo.as_logits\(teacher\)`"):
        kdzoo.Distiller(teacher, student, SoftTargets(2.0))
    teacher = kdzoo.as_logits(teacher)
    expected = bernoulli(teacher(x), student(x))
    assert step(teacher, student, SoftTargets(2.0), None, x) == pytest.approx(expected, rel=1e-4)
    ensemble = kdzoo.Ensemble([teacher])
    assert step(ensemble, student, SoftTargets(2.0), None, x) == pytest.approx(expected, rel=1e-4)
    # A teacher that was compiled, as one that is loaded is.
    teacher = net(1, 3)
    teacher.compile(loss=BINARY)
    assert step(teacher, student, SoftTargets(2.0), None, x) == pytest.approx(expected, rel=1e-4)


def test_classes_are_read_as_before(x):
    teacher, student = net(1, 3), net(2, 3)
    expected = softmax_divergence(teacher(x), student(x))
    softened = kdzoo.as_logits(net(1, 3, activation="softmax"))
    own = lambda y, logits: keras.ops.mean(keras.ops.square(logits), -1)  # noqa: E731
    for taught_by, on_labels in ((teacher, None), (softened, CLASSES), (teacher, own)):
        found = step(taught_by, student, SoftTargets(2.0), on_labels, x, np.zeros(8, "int32"))
        assert found == pytest.approx(expected, rel=1e-4)
    # What the caller says comes before the loss on the labels.
    said = SoftTargets(2.0, output_type="classes")
    y = np.zeros((8, 3), "float32")
    assert step(teacher, student, said, BINARY, x, y) == pytest.approx(expected, rel=1e-4)


def test_exclusive_classes_are_not_read_into_answers(x):
    y = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2, 0, 1]]
    with pytest.raises(ValueError, match=r'or say `output_type="classes"`'):
        step(net(1, 3), net(2, 3), DecoupledSoftTargets(), BINARY, x, y)


def test_a_loss_of_the_users_own_is_called_as_before(x):
    class Own(SoftTargets):
        def call(self, teacher, student, labels=None):
            return super().call(teacher, student, labels)

    teacher, student = net(1, 3), net(2, 3)
    expected = softmax_divergence(teacher(x), student(x))
    assert step(teacher, student, Own(2.0), None, x) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [None, (), (2, 3, 1)])
def test_numbers_are_learnt_without_labels_classes_or_images(x, shape):
    units = {None: 3, (): 1}.get(shape, 6)
    teacher = net(1, units, activation="sigmoid", shape=shape)  # Numbers in [0, 1].
    student = net(2, units, shape=shape)
    expected = np.square(np.asarray(teacher(x)) - np.asarray(student(x))).mean()
    found = step(teacher, student, OutputRegression(), None, x)
    assert found == pytest.approx(expected, rel=1e-5)
    numbers = LogitRegression(output_type="numbers")
    columns = 1 if shape == () else student.output.shape[-1]
    found = step(teacher, student, numbers, None, x)
    assert found == pytest.approx(0.5 * columns * expected, rel=1e-5)


def test_a_loss_on_numbers_lets_them_end_in_any_activation(x):
    teacher, student = (net(seed, 3, activation="sigmoid") for seed in (1, 2))
    with pytest.raises(ValueError, match="ends in a sigmoid"):
        kdzoo.Distiller(teacher, student, LogitRegression())
    teacher.compile(loss="mse")
    expected = 1.5 * np.square(np.asarray(teacher(x)) - np.asarray(student(x))).mean()
    found = step(teacher, student, LogitRegression(), "mse", x, np.zeros((8, 3)))
    assert found == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="ends in a sigmoid"):
        kdzoo.Distiller(teacher, student, SoftTargets(2.0))
    with pytest.raises(ValueError, match="ends in a sigmoid"):
        kdzoo.Distiller(teacher, student, LogitRegression(output_type="classes"))


def test_a_warning_of_numbers_is_at_the_users_line(x):
    with pytest.warns(UserWarning, match="takes 3 columns for exclusive classes") as caught:
        step(net(1, 3), net(2, 3), SoftTargets(2.0), "mse", x, np.zeros((8, 3)))
    assert {warning.filename for warning in caught} == {__file__}


def test_a_loss_on_probabilities_is_pointed_out_by_its_own_name():
    distiller = kdzoo.Distiller(net(1, 1), net(2, 1), SoftTargets(2.0))
    with pytest.warns(UserWarning, match=r"keras.losses.BinaryCrossentropy\(from_logits=True\)"):
        distiller.compile("sgd", "binary_crossentropy")
