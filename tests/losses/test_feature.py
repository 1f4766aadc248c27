"""Feature losses against their formulas in NumPy, float64, written from the papers."""

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo import losses


def numpy_pool(features, size):
    """Averages over the bins [floor(i H / h), ceil((i + 1) H / h)), as adaptive pooling does."""
    batch, height, width, channels = features.shape
    pooled = np.zeros((batch, *size, channels))
    for i, j in np.ndindex(*size):
        rows = slice(i * height // size[0], -(-(i + 1) * height // size[0]))
        columns = slice(j * width // size[1], -(-(j + 1) * width // size[1]))
        pooled[:, i, j] = features[:, rows, columns].mean((1, 2))
    return pooled


def numpy_attention(teacher, student, power=2.0):
    size = tuple(np.minimum(teacher.shape[1:3], student.shape[1:3]))
    maps = []
    for features in (teacher, student):
        pooled = numpy_pool(features, size)
        energy = (np.abs(pooled) ** power).mean(-1).reshape(len(features), -1)
        maps.append(energy / np.sqrt((energy**2).sum(-1, keepdims=True)))
    return ((maps[0] - maps[1]) ** 2).mean(-1)


def numpy_hint(teacher, student):
    return 0.5 * ((teacher - student) ** 2).reshape(len(teacher), -1).sum(-1)


SHAPES = [
    ((5, 4, 4, 6), (5, 4, 4, 3)),
    ((5, 3, 3, 2), (5, 6, 6, 4)),
    ((5, 7, 5, 2), (5, 3, 4, 3)),
    ((5, 2, 4, 2), (5, 4, 2, 2)),
]


def random_pair(shapes, seed=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("power", [2.0, 1.0, 3.0])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_attention_equals_the_formula(shapes, power):
    teacher, student = random_pair(shapes)
    value = ops.convert_to_numpy(losses.attention_transfer(teacher, student, power))
    assert value.shape == (5,)
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, numpy_attention(teacher, student, power), rtol=1e-5)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_attention_gradient_equals_finite_differences(shapes, check_gradient):
    teacher, student = random_pair(shapes)
    check_gradient(
        lambda s: losses.attention_transfer(teacher, s),
        lambda s: numpy_attention(teacher, s),
        student,
    )


def test_attention_ignores_scale_and_is_zero_at_equality(gradient_of):
    teacher, _ = random_pair(SHAPES[0])
    np.testing.assert_allclose(
        ops.convert_to_numpy(losses.attention_transfer(teacher, 7 * teacher)), 0, atol=1e-12
    )
    slope = gradient_of(lambda s: losses.attention_transfer(teacher, s), teacher)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


@pytest.mark.tensorflow
def test_attention_on_maps_of_unknown_size_is_refused():
    import tensorflow as tf

    maps = tf.TensorSpec((None, None, None, 2))
    step = tf.function(lambda t, s: losses.attention_transfer(t, s), input_signature=[maps, maps])
    with pytest.raises(ValueError, match=r"known height and width.*fixed input size"):
        step(tf.zeros((1, 4, 4, 2)), tf.zeros((1, 4, 4, 2)))


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e4])
def test_attention_stays_finite(scale, gradient_of):
    teacher, student = random_pair(SHAPES[1])
    student = scale * student
    assert np.isfinite(ops.convert_to_numpy(losses.attention_transfer(teacher, student))).all()
    assert np.isfinite(gradient_of(lambda s: losses.attention_transfer(teacher, s), student)).all()


def test_hint_equals_the_formula_in_value_and_gradient(check_gradient):
    teacher, student = random_pair([(5, 3, 2, 4), (5, 3, 2, 4)])
    expected = numpy_hint(teacher, student)
    np.testing.assert_allclose(
        ops.convert_to_numpy(losses.hint(teacher, student)), expected, rtol=1e-5
    )
    mean = ops.convert_to_numpy(losses.hint(teacher, student, "mean"))
    np.testing.assert_allclose(mean, expected / 24, rtol=1e-5)
    check_gradient(lambda s: losses.hint(teacher, s), lambda s: numpy_hint(teacher, s), student)


HALVES = {
    "hint": (losses.hint, numpy_hint, [(5, 3, 2, 4), (5, 3, 2, 4)]),
    "attention": (losses.attention_transfer, numpy_attention, SHAPES[0]),
    "attention, pooled": (losses.attention_transfer, numpy_attention, SHAPES[2]),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", HALVES)
def test_half_precision_features_are_computed_in_float32(case, dtype):
    ours, formula, shapes = HALVES[case]
    halves = [ops.cast(part, dtype) for part in random_pair(shapes)]
    rounded = [ops.convert_to_numpy(ops.cast(half, "float32")).astype("float64") for half in halves]
    value = ours(*halves)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(value), formula(*rounded), rtol=1e-5)


@pytest.mark.parametrize(
    ("hint_shape", "guided_shape", "kernel"),
    [
        ((8, 8, 6), (8, 8, 4), (1, 1, 4, 6)),
        ((4, 6, 5), (10, 8, 3), (7, 3, 3, 5)),
        ((10, 8, 5), (4, 6, 3), (7, 3, 5, 3)),
        ((12,), (7,), (7, 12)),
    ],
    ids=["same", "larger", "smaller", "vectors"],
)
def test_the_regressor_fits_the_shapes_it_meets(hint_shape, guided_shape, kernel):
    loss = losses.Hint()
    loss.build((None, *hint_shape), (None, *guided_shape))
    assert tuple(loss.regressor.kernel.shape) == kernel
    teacher, student = random_pair([(3, *hint_shape), (3, *guided_shape)])
    predicted = ops.convert_to_numpy(loss.regressor(student.astype("float32")))
    assert predicted.shape == teacher.shape
    value = ops.convert_to_numpy(loss(teacher, student))
    np.testing.assert_allclose(value, numpy_hint(teacher, predicted.astype("float64")), rtol=1e-5)


def numpy_valid(student, kernel, size):
    """Equation 3: every output sees a window of guided - hint + 1 positions and no padding."""
    (height, width), predicted = kernel.shape[:2], np.zeros((len(student), *size, kernel.shape[3]))
    for i, j in np.ndindex(*size):
        window = student[:, i : i + height, j : j + width]
        predicted[:, i, j] = np.einsum("bhwc,hwco->bo", window, kernel)
    return predicted


def numpy_transposed(student, kernel, size):
    """The same the other way round: every input adds to a window of outputs."""
    (height, width), predicted = kernel.shape[:2], np.zeros((len(student), *size, kernel.shape[2]))
    for i, j in np.ndindex(*student.shape[1:3]):
        added = np.einsum("bc,hwoc->bhwo", student[:, i, j], kernel)
        predicted[:, i : i + height, j : j + width] += added
    return predicted


def numpy_dense(student, kernel, size):
    return student @ kernel


REGRESSORS = {
    "larger": ((2, 2, 3), (4, 3, 2), numpy_valid),
    "smaller": ((4, 3, 2), (2, 2, 3), numpy_transposed),
    "vectors": ((5,), (3,), numpy_dense),
}


ACTIVATIONS = {None: lambda x: x, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("case", REGRESSORS)
def test_the_regressor_and_its_gradient_are_the_papers(case, activation, check_gradient):
    hint_shape, guided_shape, formula = REGRESSORS[case]
    loss = losses.Hint(activation=activation)
    loss.build((None, *hint_shape), (None, *guided_shape))
    kernel = np.asarray(ops.convert_to_numpy(loss.regressor.kernel), "float64")
    teacher, student = random_pair([(2, *hint_shape), (2, *guided_shape)])

    def expected(student):
        predicted = formula(student, kernel, hint_shape[:-1])
        return numpy_hint(teacher, ACTIVATIONS[activation](predicted))

    value = ops.convert_to_numpy(loss(teacher, student))
    np.testing.assert_allclose(value, expected(student), rtol=1e-5)
    check_gradient(lambda s: loss(teacher, s), expected, student)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_hint_in_half_precision_is_regressed_in_float32(dtype):
    loss = losses.Hint(activation="relu")
    loss.build((None, 2, 2, 3), (None, 4, 3, 2))
    kernel = np.asarray(ops.convert_to_numpy(loss.regressor.kernel), "float64")
    halves = [ops.cast(part, dtype) for part in random_pair([(2, 2, 2, 3), (2, 4, 3, 2)])]
    rounded = [ops.convert_to_numpy(ops.cast(half, "float32")).astype("float64") for half in halves]
    expected = numpy_hint(rounded[0], np.maximum(numpy_valid(rounded[1], kernel, (2, 2)), 0))
    value = loss(*halves)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(value), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("hint_shape", "guided_shape", "complaint"),
    [
        ((4, 4, 3), (9,), "both images"),
        ((4, 8, 3), (8, 4, 3), "larger than the hint in both"),
        ((None, None, 3), (8, 8, 3), "of fixed size"),
    ],
)
def test_layers_that_do_not_fit_are_refused(hint_shape, guided_shape, complaint):
    with pytest.raises(ValueError, match=complaint):
        losses.Hint().build((None, *hint_shape), (None, *guided_shape))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: losses.hint(np.ones((2, 3)), np.ones((2, 4))), r"same shape.*class `Hint`"),
        (lambda: losses.hint(np.ones((2, 3)), np.ones((2, 3)), "max"), "reduction='max'"),
        (lambda: losses.Hint(reduction="none"), "reduction='none'"),
        (lambda: losses.AttentionTransfer(power=0.5), "`power` to be at least 1"),
        (lambda: losses.AttentionTransfer(power=-1), "`power` to be above 0"),
        (
            lambda: losses.attention_transfer(np.ones((2, 3)), np.ones((2, 4, 4, 3))),
            r"teacher \(2, 3\); tap a layer before the pooling",
        ),
        (lambda: losses.AttentionTransfer(["a", "b"], ["a"]), "as many layers"),
        (lambda: losses.AttentionTransfer(["a"], None), "as many layers"),
        (lambda: losses.Hint(["a", "b"], ["c", "d"]), r"`Hint` has weights.*one loss for each"),
        (lambda: losses.Hint(["a"], ["c"]), "Expected one layer of each model"),
    ],
)
def test_bad_arguments_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


def test_several_pairs_are_summed():
    first, second = random_pair(SHAPES[0]), random_pair(SHAPES[2], seed=4)
    loss = losses.AttentionTransfer(["a", "b"], ["c", "d"])
    value = ops.convert_to_numpy(loss([first[0], second[0]], [first[1], second[1]]))
    expected = numpy_attention(*first) + numpy_attention(*second)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        losses.Hint("a", "b/c", activation="relu", reduction="mean", name="mine"),
        losses.AttentionTransfer(["a", "b"], ("c", "d"), power=3.0),
    ],
    ids=lambda loss: loss.name,
)
def test_configs_round_trip(loss):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
