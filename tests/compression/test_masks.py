"""Masks: which weights go, that they stay zero in any training, and files without kdzoo."""

import zipfile

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.compression import apply_masks, magnitude_masks, masks_of, random_masks, strip_masks
from kdzoo.compression.smallest_weights import masks_after_rounds

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(16, 6)).astype("float32"), RNG.integers(0, 3, 16)
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
O = keras.optimizers  # noqa: E741


def net(seed=0):
    """A network with a nested one, and what else changes in a training."""
    keras.utils.set_random_seed(seed)
    within = keras.Sequential([keras.Input((8,)), keras.layers.Dense(7, name="inner")], name="body")
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, "relu", kernel_regularizer="l2", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(within(x))
    x = keras.layers.Dropout(0.2, name="dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))


@pytest.fixture(scope="module")
def model():
    return net()


NAMES = {"first/kernel": (6, 8), "body/inner/kernel": (8, 7), "logits/kernel": (7, 3)}


def kernels(model):
    """Name -> the kernel as the model keeps it, of all that NAMES has."""
    arrays = [np.asarray(weight) for weight in model.get_weights()]
    found = {}
    for name, shape in NAMES.items():
        (found[name],) = [array for array in arrays if array.shape == shape]
    return found


def by_numpy(kernel, kept, fraction):
    """The paper's rule: of the weights that are left, the round(fraction · n) smallest go."""
    order = np.sort(np.abs(kernel[kept]))
    count = round(fraction * kept.sum())
    return kept & (np.abs(kernel) >= order[count])


def test_each_kernel_loses_its_smallest_weights(model):
    masks, before = None, {name: np.ones(shape, bool) for name, shape in NAMES.items()}
    for _ in range(3):
        masks = magnitude_masks(model, 0.2, output_fraction=0.1, masks=masks)
        for name, kernel in kernels(model).items():
            before[name] = by_numpy(kernel, before[name], 0.1 if name == "logits/kernel" else 0.2)
            np.testing.assert_array_equal(masks[name], before[name])
    assert list(masks) == list(NAMES)
    # 48 - 10 - 8 - 6 weights, 56 - 11 - 9 - 7, 21 - 2 - 2 - 2.
    assert [int(mask.sum()) for mask in masks.values()] == [24, 29, 15]


def test_all_kernels_together_lose_their_smallest_weights(model):
    masks, found = magnitude_masks(model, 0.5, scope="global"), kernels(model)
    flat = np.concatenate([found[name].ravel() for name in NAMES])
    threshold = np.sort(np.abs(flat))[round(0.5 * flat.size)]
    for name in NAMES:
        np.testing.assert_array_equal(masks[name], np.abs(found[name]) >= threshold)
    apart = magnitude_masks(model, 0.5, scope="global", output_fraction=0.0)
    assert apart["logits/kernel"].all()
    assert apart["first/kernel"].sum() + apart["body/inner/kernel"].sum() == 52


def test_of_equal_weights_the_first_go_and_one_stays():
    layer = keras.layers.Dense(3, kernel_initializer="ones", name="a")
    ones = keras.Sequential([keras.Input((2,)), layer])
    mask = magnitude_masks(ones, 0.5)["a/kernel"]
    np.testing.assert_array_equal(mask, [[False] * 3, [True] * 3])
    assert magnitude_masks(ones, 0.999)["a/kernel"].sum() == 1


@pytest.mark.tensorflow  # It is NumPy.
@pytest.mark.parametrize(
    ("zeros", "rounds", "scope"),
    [(0.5, 100, "layer"), (0.3, 100, "layer"), (0.5, 100, "global")],
)
def test_many_rounds_of_few_weights_arrive(zeros, rounds, scope):
    """Rounded from all weights, in each round those that are the smallest then."""
    rng, fraction = np.random.default_rng(0), 1 - (1 - zeros) ** (1 / rounds)
    layer = keras.layers.Dense(10, name="a")
    trained = keras.Sequential([keras.Input((7,)), layer, keras.layers.Dense(9, name="b")])
    masks, sizes = {}, {"a/kernel": 70, "b/kernel": 90}
    begun = {"b/kernel": np.arange(90).reshape(10, 9) >= 5}  # Of which 5 are no longer there.
    left = {"a/kernel": np.ones((7, 10), bool), **begun}
    for number in range(1, rounds + 1):
        trained.set_weights([rng.normal(size=w.shape) for w in trained.get_weights()])
        found = {"a/kernel": trained.get_weights()[0], "b/kernel": trained.get_weights()[2]}
        masks = masks_after_rounds(
            trained, number, masks or begun, begun, fraction=fraction, scope=scope
        )
        groups = [list(sizes)] if scope == "global" else [[name] for name in sizes]
        for names in groups:
            whole = sum(sizes[name] - 5 * (name == "b/kernel") for name in names)
            wanted = round((1 - fraction) ** number * whole)
            magnitudes = np.concatenate([np.abs(found[name][left[name]]) for name in names])
            threshold = np.sort(magnitudes)[len(magnitudes) - wanted]
            for name in names:
                left[name] = left[name] & (np.abs(found[name]) >= threshold)
                np.testing.assert_array_equal(masks[name], left[name])
    if scope == "layer":
        assert abs(masks["a/kernel"].sum() - (1 - zeros) * 70) <= 0.5
        assert abs(masks["b/kernel"].sum() - (1 - zeros) * 85) <= 0.5 + 1e-9
    else:
        assert abs(sum(mask.sum() for mask in masks.values()) - (1 - zeros) * 155) <= 0.5 + 1e-9


def test_random_masks_have_as_many_weights_elsewhere(model):
    masks = magnitude_masks(model, 0.7)
    one, again, other = random_masks(masks, 1), random_masks(masks, 1), random_masks(masks, 2)
    for name, mask in masks.items():
        assert one[name].sum() == mask.sum()
        assert (one[name] == again[name]).all()
        assert (one[name] != mask).any()
        assert (one[name] != other[name]).any()


class Watch(keras.callbacks.Callback):
    """Counts after every step the weights that should be zero and are not."""

    def __init__(self, masks, student):
        super().__init__()
        self.masks, self.student, self.steps, self.wrong = masks, student, 0, 0

    def on_train_batch_end(self, batch, logs=None):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        found = kernels(self.student)
        self.steps += 1
        self.wrong += sum(np.count_nonzero(found[name][~self.masks[name]]) for name in NAMES)


OPTIMIZERS = {
    "sgd": lambda: O.SGD(0.1, momentum=0.9, nesterov=True),
    "adamw": lambda: O.AdamW(0.01, weight_decay=0.3, clipnorm=1.0),
    "lion": lambda: O.Lion(0.01, weight_decay=0.3),
    "averaged": lambda: O.AdamW(0.01, use_ema=True, ema_overwrite_frequency=3),
    "accumulating": lambda: O.SGD(0.1, momentum=0.9, use_ema=True, gradient_accumulation_steps=2),
    "scaled": lambda: O.LossScaleOptimizer(O.SGD(0.1, momentum=0.9)),
    "muon": lambda: O.Muon(0.01),
    "adafactor": lambda: O.Adafactor(0.01, epsilon_1=1e-15),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.large] if name in ("scaled", "adafactor") else [])
        for name in OPTIMIZERS
    ],
)
def test_masked_weights_are_zero_after_every_step_and_at_the_end(model, name):
    masks = magnitude_masks(model, 0.5)
    sparse = apply_masks(model, masks)
    before = kernels(sparse)
    sparse.compile(OPTIMIZERS[name](), CROSS_ENTROPY)
    watch = Watch(masks, sparse)
    history = sparse.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[watch]).history
    assert watch.steps == 8
    assert watch.wrong == 0
    assert np.isfinite(history["loss"]).all()
    for kernel_name, kernel in kernels(sparse).items():
        np.testing.assert_array_equal(kernel != 0, masks[kernel_name])
        assert np.abs(kernel - before[kernel_name]).max() > 1e-3


def test_averages_of_an_optimizer_that_mixes_weights_do_not_reach_what_is_computed(model):
    sparse = apply_masks(model, magnitude_masks(model, 0.5))
    sparse.compile(O.Muon(0.01, use_ema=True), CROSS_ENTROPY)
    sparse.fit(X, Y, batch_size=4, epochs=1, verbose=0)
    plain = strip_masks(sparse)
    for name, kernel in kernels(plain).items():
        assert (kernel[~masks_of(sparse)[name]] == 0).all()
    outputs = [part.predict(X, verbose=0) for part in (plain, sparse)]
    np.testing.assert_array_equal(*outputs)


def test_a_sparse_student_of_a_distiller_stays_sparse(model):
    masks = magnitude_masks(model, 0.5)
    student = apply_masks(model, masks)
    distiller = kdzoo.Distiller(net(1), student, kdzoo.losses.SoftTargets(2.0))
    distiller.compile(OPTIMIZERS["averaged"](), CROSS_ENTROPY)
    watch = Watch(masks, student)
    distiller.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=[watch])
    assert (watch.steps, watch.wrong) == (4, 0)
    for name, kernel in kernels(student).items():
        np.testing.assert_array_equal(kernel != 0, masks[name])


def test_one_step_is_that_of_the_masked_kernels_by_hand():
    """Of plain gradient descent on a linear model, whose gradient NumPy can say."""
    layer = keras.layers.Dense(1, use_bias=False, name="a", kernel_constraint="non_neg")
    linear = keras.Sequential([keras.Input((6,)), layer])
    kernel = np.array([[0.5], [0.1], [0.7], [0.9], [0.2], [0.4]], "float32")
    linear.set_weights([kernel])
    masks = magnitude_masks(linear, 0.5)
    sparse = apply_masks(linear, masks)
    sparse.compile(O.SGD(0.5), "mse")
    sparse.fit(X, X.sum(1, keepdims=True), batch_size=16, epochs=1, verbose=0)
    start = np.where(masks["a/kernel"], kernel, 0)
    gradient = 2 * X.T @ (X @ start - X.sum(1, keepdims=True)) / len(X)
    after = np.maximum(start - 0.5 * gradient, 0) * masks["a/kernel"]
    np.testing.assert_allclose(sparse.get_weights()[0], after, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(linear.get_weights()[0], kernel)


def test_a_sparse_model_computes_what_plain_layers_with_zeros_do(model):
    before = model.get_weights()
    masks = magnitude_masks(model, 0.5)
    sparse = apply_masks(model, masks)
    zeroed = net()
    zeroed.set_weights(
        [
            next((w * masks[name] for name, shape in NAMES.items() if shape == w.shape), w)
            for w in before
        ]
    )
    np.testing.assert_array_equal(sparse.predict(X, verbose=0), zeroed.predict(X, verbose=0))
    assert sparse.count_params() == model.count_params()
    assert [layer.name for layer in sparse.layers] == [layer.name for layer in model.layers]
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Regularizers count once, dropout draws, and its seed moves on.
    assert len(sparse.losses) == 1
    drawn = [np.asarray(keras.ops.convert_to_numpy(sparse(X, training=True))) for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 0


def test_other_masks_take_the_place_of_those_before(model):
    sparse = apply_masks(model, magnitude_masks(model, 0.5))
    fewer = magnitude_masks(sparse, 0.5)
    assert int(fewer["first/kernel"].sum()) == 12
    again = apply_masks(sparse, {"first/kernel": fewer["first/kernel"]})
    assert list(masks_of(again)) == ["first/kernel"]
    assert np.count_nonzero(kernels(again)["first/kernel"]) == 12
    assert np.count_nonzero(kernels(again)["logits/kernel"]) == 11


def test_files_keep_masks_and_need_no_kdzoo_once_stripped(model, tmp_path):
    masks = magnitude_masks(model, 0.5)
    sparse = apply_masks(model, masks)
    sparse.compile(O.SGD(0.1, momentum=0.9), CROSS_ENTROPY)
    sparse.optimizer.build(sparse.trainable_variables)
    sparse.save(tmp_path / "sparse.keras")
    loaded = keras.saving.load_model(tmp_path / "sparse.keras")
    assert {name: mask.tolist() for name, mask in masks_of(loaded).items()} == {
        name: mask.tolist() for name, mask in masks.items()
    }
    loaded.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    assert all((kernels(loaded)[name][~mask] == 0).all() for name, mask in masks.items())
    plain = strip_masks(loaded)
    plain.save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as file:
        assert "kdzoo" not in file.read("config.json").decode()
    outputs = keras.saving.load_model(tmp_path / "plain.keras").predict(X, verbose=0)
    np.testing.assert_allclose(outputs, loaded.predict(X, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_model_with_masks_is_not_shared(model, tmp_path):
    sparse = apply_masks(model, magnitude_masks(model, 0.5))
    with pytest.raises(ValueError, match=r"pass the result of .*`strip_masks`"):
        kdzoo.save_pretrained(sparse, tmp_path / "shared")


@pytest.mark.parametrize("kind", ["recurrent", "convolutions"])
def test_layers_with_several_kernels_are_masked(kind):
    inputs = keras.Input((5, 4))
    if kind == "recurrent":
        masked = keras.layers.Masking()(inputs)
        x = keras.layers.GRU(3, recurrent_dropout=0.3, name="gru")(masked)
        names = {"gru/kernel": 36, "gru/recurrent_kernel": 27}
    else:
        x = keras.layers.SeparableConv1D(3, 2, name="sep")(inputs)
        x = keras.layers.MultiHeadAttention(2, 2, name="mha")(query=x, value=x, key=x)
        x = keras.layers.Flatten()(x)
        names = {"sep/depthwise_kernel": 8, "sep/pointwise_kernel": 12}
        names |= {f"mha/kernel_{number}": 12 for number in (0, 2, 4, 6)}
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    masks = magnitude_masks(model, 0.5)
    assert {name: mask.size for name, mask in masks.items() if "logits" not in name} == names
    sparse = apply_masks(model, masks)
    x = RNG.normal(size=(16, 5, 4)).astype("float32")
    x[:, 3:] = 0  # Left out by `Masking`.
    plain = strip_masks(sparse)
    np.testing.assert_allclose(
        sparse.predict(x, verbose=0), plain.predict(x, verbose=0), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_array_equal(
        [np.count_nonzero(w) for w in plain.get_weights() if w.ndim > 1 and w.any()],
        [mask.sum() for mask in masks.values()],
    )


class Own(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda m: magnitude_masks(m, 1.0), r"fraction to lie in \[0, 1\)\. Received: fraction=1"),
        (lambda m: magnitude_masks(m, output_fraction=1), "output_fraction to lie in"),
        (lambda m: magnitude_masks(m, scope="net"), "Unknown scope"),
        (lambda m: magnitude_masks(Own()), "which has a graph"),
        (
            lambda m: magnitude_masks(keras.Sequential([keras.Input((2,)), keras.layers.ReLU()])),
            "model with kernels",
        ),
        (lambda m: magnitude_masks(m, masks={"a": 1}), "Unknown kernel: 'a'"),
        (lambda m: apply_masks(m, {"first/kernel": np.ones((6, 8))}), "of booleans"),
        (lambda m: apply_masks(m, {"first/kernel": np.ones((6, 7), bool)}), "mask of shape"),
        (lambda m: apply_masks(m, [1]), "masks as a dictionary"),
        (lambda m: strip_masks(m), "that `apply_masks` made"),
        (lambda m: random_masks({"a": np.ones(3)}), "of booleans"),
        (
            lambda m: magnitude_masks(
                keras.Model(m.input, keras.layers.PReLU()(m.output)), output_fraction=0.1
            ),
            "ends in a layer with a kernel",
        ),
    ],
)
def test_bad_input_is_one_sentence(model, call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call(model)


@pytest.mark.parametrize("bits", ["", "AAAA", 5, "ä", None, [1]])
def test_bits_of_a_file_are_checked(model, bits):
    sparse = apply_masks(model, magnitude_masks(model, 0.5))
    config = sparse.get_layer("first").get_config()
    masked = type(sparse.get_layer("first"))
    with pytest.raises(ValueError, match="bits of a mask of shape"):
        masked.from_config({**config, "masks": {"kernel": bits}})
    with pytest.raises(ValueError, match="Unknown weight"):
        masked.from_config({**sparse.get_layer("first").get_config(), "masks": {"kernal": bits}})
