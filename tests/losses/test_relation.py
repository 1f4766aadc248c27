"""Relational losses against their formulas in NumPy, float64, written from the papers."""

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo import losses


def huber(x):
    return np.where(np.abs(x) < 1, 0.5 * x**2, np.abs(x) - 0.5)


def numpy_distance(teacher, student):
    """Park et al., equations 5 to 8, one pair at a time; the authors' mean is over all b² pairs."""

    def relative(features):
        rows = features.reshape(len(features), -1)
        distances = np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])
        batch = len(rows)
        mean = distances.sum() / (batch * (batch - 1))
        return distances / mean

    return huber(relative(student) - relative(teacher)).mean(1)


def numpy_angle(teacher, student):
    """Park et al., equations 9 and 10, one triplet at a time."""

    def cosines(features):
        rows = features.reshape(len(features), -1)
        batch = len(rows)
        values = np.zeros((batch,) * 3)
        for i, j, k in np.ndindex(batch, batch, batch):
            if i not in (j, k):
                a, b = rows[j] - rows[i], rows[k] - rows[i]
                # The authors' `normalize` leaves a direction of length 0 at 0.
                length = np.linalg.norm(a) * np.linalg.norm(b)
                values[i, j, k] = a @ b / length if length else 0
        return values

    return huber(cosines(student) - cosines(teacher)).mean((1, 2))


def numpy_similarity(teacher, student):
    """Tung & Mori, equations 1 to 4, a row at a time; the mean over the batch is their loss."""

    def gram(features):
        rows = features.reshape(len(features), -1)
        products = rows @ rows.T
        return products / np.linalg.norm(products, axis=1, keepdims=True)

    return ((gram(teacher) - gram(student)) ** 2).mean(1)


def numpy_neighbours(teacher, student):
    """The authors' code, step by step; their mean is over all b² pairs."""
    probabilities = []
    for features in (teacher, student):
        rows = features.reshape(len(features), -1)
        rows = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-7)
        similarities = (rows @ rows.T + 1) / 2
        probabilities.append(similarities / similarities.sum(1, keepdims=True))
    p, q = probabilities
    return (p * np.log((p + 1e-7) / (q + 1e-7))).mean(1)


CASES = {
    "distance": (losses.relational_distance, numpy_distance),
    "angle": (losses.relational_angle, numpy_angle),
    "similarity": (losses.similarity_preserving, numpy_similarity),
    "neighbours": (losses.probabilistic_transfer, numpy_neighbours),
}
SHAPES = [((6, 5), (6, 9)), ((6, 3, 3, 4), (6, 2, 2, 2)), ((6, 8), (6, 4, 4, 3))]


def random_pair(shapes, seed=5, offset=0.0):
    rng = np.random.default_rng(seed)
    return [rng.normal(offset, size=shape) for shape in shapes]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_values_equal_the_formula(case, shapes):
    ours, formula = CASES[case]
    teacher, student = random_pair(shapes, offset=1.0)
    value = ops.convert_to_numpy(ours(teacher, student))
    assert value.shape == (6,)
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, formula(teacher, student), rtol=1e-5)


@pytest.mark.tensorflow  # The same operations of Keras; JAX compiles each for long.
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_finite_differences(case, shapes, check_gradient):
    ours, formula = CASES[case]
    teacher, student = random_pair(shapes)
    check_gradient(lambda s: ours(teacher, s), lambda s: formula(teacher, s), student)


@pytest.mark.parametrize("case", CASES)
def test_minimum_is_zero_at_equality(case, gradient_of):
    ours, _ = CASES[case]
    teacher, student = random_pair([(6, 5), (6, 5)])
    np.testing.assert_allclose(ops.convert_to_numpy(ours(teacher, teacher)), 0, atol=1e-10)
    np.testing.assert_allclose(gradient_of(lambda s: ours(teacher, s), teacher), 0, atol=1e-6)
    assert (ops.convert_to_numpy(ours(teacher, student)) > 0).all()


@pytest.mark.parametrize("case", ["distance", "angle"])
def test_relations_do_not_change_with_origin_scale_or_rotation(case):
    ours, _ = CASES[case]
    teacher, _ = random_pair([(6, 5), (6, 5)])
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    moved = 3 * teacher @ rotation + 10
    np.testing.assert_allclose(ops.convert_to_numpy(ours(teacher, moved)), 0, atol=1e-9)


ODD = {
    "one sample": np.ones((1, 4)),
    "duplicates": np.repeat(np.random.default_rng(2).normal(size=(3, 4)), 2, axis=0),
    "all alike": np.ones((5, 4)),
    "all zero": np.zeros((5, 4)),
    "one zero": np.concatenate([np.zeros((1, 4)), np.random.default_rng(3).normal(size=(4, 4))]),
    "huge": 1e4 * np.random.default_rng(4).normal(size=(5, 4)),
    "tiny": 1e-8 * np.random.default_rng(4).normal(size=(5, 4)),
}


@pytest.mark.tensorflow  # The same operations of Keras; JAX compiles each for long.
@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("case", CASES)
def test_odd_batches_give_finite_values_and_gradients(case, name, gradient_of):
    ours, _ = CASES[case]
    student = ODD[name]
    teacher = np.random.default_rng(9).normal(size=(len(student), 6))
    for pair in ((teacher, student), (np.tile(student, 2), student)):
        assert np.isfinite(ops.convert_to_numpy(ours(*pair))).all()
        assert np.isfinite(gradient_of(lambda s, t=pair[0]: ours(t, s), pair[1])).all()


@pytest.mark.parametrize("case", ["distance", "angle"])
def test_duplicates_have_no_distance_and_no_direction(case):
    ours, formula = CASES[case]
    student, teacher = ODD["duplicates"], random_pair([(6, 3), (6, 3)], seed=8)[0]
    value = ops.convert_to_numpy(ours(teacher, student))
    np.testing.assert_allclose(value, formula(teacher, student), rtol=1e-5)


def close_samples(spread):
    """Two clusters of samples, a spread from one another, in float32."""
    rng = np.random.default_rng(6)
    clusters = np.repeat(rng.normal(size=(2, 5)), 3, axis=0)
    return (clusters + spread * rng.normal(size=clusters.shape)).astype("float32")


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 3e-4])
def test_angles_between_samples_that_nearly_coincide(spread, check_gradient):
    teacher = np.random.default_rng(7).normal(size=(6, 4)).astype("float32")
    student = close_samples(spread)
    exact = teacher.astype("float64"), student.astype("float64")
    value = ops.convert_to_numpy(losses.relational_angle(teacher, student))
    np.testing.assert_allclose(value, numpy_angle(*exact), rtol=1e-5)
    step = 1e-3 * spread

    def scaled(function):  # So that the step of the differences is small beside the spread.
        return lambda moved: function(student + step * moved)

    check_gradient(
        scaled(lambda s: losses.relational_angle(teacher, s)),
        lambda moved: numpy_angle(exact[0], exact[1] + step * moved),
        np.zeros((6, 5)),
        tolerance=1e-4,
    )


@pytest.mark.large_on_jax
def test_opposite_samples_are_hardly_neighbours(gradient_of):
    teacher = random_pair([(4, 3), (4, 3)])[0]
    student = np.concatenate([ODD["one sample"][:, :3], -np.ones((3, 3))])
    value = ops.convert_to_numpy(losses.probabilistic_transfer(teacher, student))
    np.testing.assert_allclose(value, numpy_neighbours(teacher, student), rtol=0.05)
    slope = gradient_of(lambda s: losses.probabilistic_transfer(teacher, s), student)
    assert np.isfinite(slope).all()


@pytest.mark.large_on_jax
@pytest.mark.parametrize("is_compiled", [False, True])
def test_angles_in_chunks_equal_those_at_once(is_compiled, monkeypatch, gradient_of, caplog):
    teacher, student = random_pair([(7, 5), (7, 9)])
    expected = numpy_angle(teacher, student)
    slope = gradient_of(lambda s: losses.relational_angle(teacher, s), student)
    monkeypatch.setattr("kdzoo.losses.relation._CHUNK", 2 * 7 * 9)  # Two samples, four times.

    def angle(s):
        return losses.relational_angle(ops.cast(teacher, "float32"), s)

    if is_compiled and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        angle = tf.function(angle, input_signature=[tf.TensorSpec((None, None))])
    np.testing.assert_allclose(angle(student.astype("float32")), expected, rtol=1e-5)
    np.testing.assert_allclose(gradient_of(angle, student), slope, rtol=1e-4, atol=1e-8)
    assert "watched tensor" not in caplog.text  # Of positions there is no gradient.


@pytest.mark.tensorflow
def test_an_open_batch_of_one_chunk_is_computed_at_once(monkeypatch):
    import tensorflow as tf

    def is_chunked(anchors, teacher, student):
        return (
            tf.zeros_like(student[:, 0], "float32")
            if anchors is None
            else tf.ones_like(anchors, "float32")
        )

    monkeypatch.setattr("kdzoo.losses.relation._angle_losses", is_chunked)
    teacher, student = (part.astype("float32") for part in random_pair([(7, 5), (7, 9)]))
    for size, expected in ((1 << 22, 0.0), (2 * 7 * 9, 1.0)):
        monkeypatch.setattr("kdzoo.losses.relation._CHUNK", size)
        signature = [tf.TensorSpec((None, None))] * 2
        found = tf.function(losses.relational_angle, input_signature=signature)(teacher, student)
        np.testing.assert_array_equal(found, np.full(7, expected))


@pytest.mark.tensorflow
def test_angles_of_an_open_batch_are_compiled_by_xla():
    import tensorflow as tf

    teacher, student = (part.astype("float32") for part in random_pair([(7, 5), (7, 9)]))

    @tf.function(input_signature=[tf.TensorSpec((None, 9))], jit_compile=True)
    def value_and_slope(student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = losses.relational_angle(teacher, student)
        return value, tape.gradient(value, student)

    value, slope = value_and_slope(student)
    np.testing.assert_allclose(value, numpy_angle(teacher, student), rtol=1e-5)
    assert np.isfinite(slope).all()


def test_features_whose_squares_overflow_give_the_right_value_or_nan():
    teacher, student = random_pair([(6, 5), (6, 5)])
    for function, formula in ((losses.relational_distance, numpy_distance), CASES["angle"]):
        value = ops.convert_to_numpy(function(teacher, 1e25 * student))
        right = np.isclose(value, formula(teacher, student), rtol=1e-5)
        assert (right | np.isnan(value)).all()


@pytest.fixture
def few_digits(monkeypatch):
    """Multiplies matrices of 10 bits, as a GPU does with TF32: float16 has as many."""
    matmul = ops.matmul

    def rounded(x):
        return ops.cast(ops.cast(x, "float16"), "float32")

    monkeypatch.setattr(ops, "matmul", lambda a, b: matmul(rounded(a), rounded(b)))


@pytest.mark.parametrize("case", ["distance", "angle"])
def test_duplicates_and_the_sample_itself_stay_at_zero_in_few_digits(case, few_digits):
    ours, formula = CASES[case]
    student, teacher = ODD["duplicates"], random_pair([(6, 3), (6, 3)], seed=8)[0]
    value = ops.convert_to_numpy(ours(teacher, student))
    # 10 bits are half a thousandth; a distance of noise would be a hundredth.
    np.testing.assert_allclose(value, formula(teacher, student), rtol=2e-3)
    # Two samples are always at their mean distance, and at 0 from themselves.
    pair = random_pair([(2, 5), (2, 9)])
    # A cosine of 10 bits is off by half a thousandth, whose square counts.
    np.testing.assert_allclose(ops.convert_to_numpy(ours(*pair)), 0, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_features_are_computed_in_float32(case, dtype):
    ours, formula = CASES[case]
    halves = [ops.cast(part, dtype) for part in random_pair(SHAPES[0])]
    rounded = [ops.convert_to_numpy(ops.cast(half, "float32")).astype("float64") for half in halves]
    value = ours(*halves)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(value), formula(*rounded), rtol=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        losses.RelationalDistance("a", "b"),
        losses.RelationalAngle("a", "b", name="mine"),
        losses.SimilarityPreserving("a/b", "c"),
        losses.ProbabilisticTransfer("a", "b"),
    ],
    ids=lambda loss: loss.name,
)
def test_classes_compute_the_functions_and_round_trip(loss):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    function = {
        losses.RelationalDistance: numpy_distance,
        losses.RelationalAngle: numpy_angle,
        losses.SimilarityPreserving: numpy_similarity,
        losses.ProbabilisticTransfer: numpy_neighbours,
    }[type(loss)]
    pair = random_pair(SHAPES[0])
    np.testing.assert_allclose(ops.convert_to_numpy(copy(*pair)), function(*pair), rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "relational_distance",
        "relational_angle",
        "similarity_preserving",
        "probabilistic_transfer",
    ],
)
def test_one_number_a_sample_needs_no_axis(name):
    function, rng = getattr(losses, name), np.random.default_rng(0)
    teacher, student = rng.random((2, 5)).astype("float32")
    np.testing.assert_array_equal(
        np.array(function(teacher, student)), np.array(function(teacher[:, None], student[:, None]))
    )
