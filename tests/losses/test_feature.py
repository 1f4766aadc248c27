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


@pytest.mark.tensorflow  # The same operations of Keras; JAX compiles each for long.
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
        losses.VariationalInformation("a", "b", hidden_channels=3, initial_variance=2.0),
    ],
    ids=lambda loss: loss.name,
)
def test_configs_round_trip(loss):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()


def numpy_information(teacher, predicted, variance):
    """Equation 5 without its constant, as the mean of RepDistiller's code."""
    values = 0.5 * (
        (teacher - predicted) ** 2 / variance + np.log(variance) * np.ones(teacher.shape)
    )
    return values.reshape(len(teacher), -1).mean(-1)


VARIANCES = {"number": 0.3, "channels": np.array([0.01, 1.0, 40.0, 2.0])}


@pytest.mark.parametrize("variance", VARIANCES.values(), ids=VARIANCES)
def test_information_equals_the_formula_in_value_and_gradient(variance, check_gradient):
    teacher, predicted = random_pair([(5, 3, 2, 4), (5, 3, 2, 4)])
    value = ops.convert_to_numpy(losses.variational_information(teacher, predicted, variance))
    np.testing.assert_allclose(value, numpy_information(teacher, predicted, variance), rtol=1e-5)
    check_gradient(
        lambda s: losses.variational_information(teacher, s, variance),
        lambda s: numpy_information(teacher, s, variance),
        predicted,
    )
    best = ops.convert_to_numpy(losses.variational_information(teacher, teacher, variance))
    assert (best < value).all()
    np.testing.assert_allclose(best, 0.5 * np.mean(np.log(variance)), rtol=1e-5)


def test_the_slope_of_the_variance_is_the_formulas(check_gradient):
    teacher, predicted = random_pair([(5, 4), (5, 4)])
    check_gradient(
        lambda v: losses.variational_information(teacher, predicted, v),
        lambda v: numpy_information(teacher, predicted, v),
        np.array([0.5, 1.0, 4.0, 2.0]),
    )


@pytest.mark.parametrize(
    ("shapes", "hidden"),
    [
        (((4, 6, 6, 5), (4, 3, 3, 2)), None),
        (((4, 3, 3, 5), (4, 6, 5, 2)), 7),
        (((4, 3, 3, 5), (4, 3, 3, 2)), None),
        (((4, 5), (4, 9)), 3),
    ],
    ids=str,
)
def test_the_information_of_the_class_is_of_its_regressor_and_variance(shapes, hidden):
    teacher, student = random_pair(shapes)
    loss = losses.VariationalInformation(hidden_channels=hidden, initial_variance=2.5)
    loss.build((None, *shapes[0][1:]), (None, *shapes[1][1:]))
    assert [tuple(weight.shape) for weight in loss.trainable_weights] == [
        (5,),
        (student.shape[-1], hidden or 5),
        (hidden or 5,) * 2,
        (hidden or 5, 5),
    ]
    np.testing.assert_allclose(loss.variance, np.full(5, 2.5), rtol=1e-6)
    loss.raw_variance.assign([-3.0, -1.0, 0.0, 1.0, 30.0])
    variance = np.log1p(np.exp([-3.0, -1.0, 0.0, 1.0, 30.0])) + 1e-5
    np.testing.assert_allclose(loss.variance, variance, rtol=1e-5)
    if teacher.ndim == 4:
        size = tuple(np.minimum(teacher.shape[1:3], student.shape[1:3]))
        teacher_features, predicted = numpy_pool(teacher, size), numpy_pool(student, size)
    else:
        teacher_features, predicted = teacher, student
    kernels = [ops.convert_to_numpy(layer.kernel) for layer in loss.regressor]
    for number, kernel in enumerate(kernels, start=1):
        predicted = predicted @ kernel
        predicted = predicted if number == 3 else np.maximum(predicted, 0)
    expected = numpy_information(teacher_features, predicted, variance)
    np.testing.assert_allclose(loss(teacher, student), expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_information_stays_finite_and_in_float32(scale, dtype, gradient_of):
    teacher, student = (ops.cast(scale * part, dtype) for part in random_pair([(4, 5), (4, 3)]))
    loss = losses.VariationalInformation()
    value = loss(teacher, student)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert np.isfinite(ops.convert_to_numpy(value)).all()
    slope = gradient_of(lambda s: loss(teacher, ops.cast(s, dtype)), ops.convert_to_numpy(student))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda: losses.variational_information(np.ones((2, 3)), np.ones((2, 4))),
            r"same shape.*class `VariationalInformation`",
        ),
        (
            lambda: losses.variational_information(np.ones((2, 3)), np.ones((2, 3)), [1.0, 0.0, 2]),
            "`variance` to be above 0 and finite",
        ),
        (
            lambda: losses.variational_information(np.ones((2, 3)), np.ones((2, 3)), [1.0, 2.0]),
            "one for each of 3 channels",
        ),
        (lambda: losses.VariationalInformation(initial_variance=1e-6), "above 1e-05"),
        (lambda: losses.VariationalInformation(hidden_channels=0), "hidden_channels=0"),
        (lambda: losses.VariationalInformation(["a", "b"], ["c", "d"]), "one loss for each pair"),
        (
            lambda: losses.VariationalInformation().build((None, 4, 4, 3), (None, 9)),
            "both images .* or both vectors",
        ),
    ],
)
def test_bad_arguments_of_the_information_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()
