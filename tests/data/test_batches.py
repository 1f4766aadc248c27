"""`fit` sees the epochs it should, whatever it does with iterators on the way."""

import random

import keras
import numpy as np
import pytest

import kdzoo.data
from kdzoo.data import Augmentation, randomness
from kdzoo.data.batches import Batches, BatchMaker, make, tf_dataset
from kdzoo.data.teacher_outputs_base import TeacherOutputs

AUGMENTATION = Augmentation(shift=1, flip=True)


@pytest.fixture(scope="module")
def split():
    images = np.random.default_rng(0).integers(0, 256, (50, 5, 5, 1)).astype("uint8")
    return kdzoo.data.from_arrays(images, np.arange(50) % 10, validation=0).train


def expected_epoch(split, epoch, batch_size=16, seed=3, shuffle=True):
    """The batches of an epoch, made one example at a time."""
    hashes = randomness.hash64(np.arange(len(split)), seed, epoch, 0)
    order = sorted(range(len(split)), key=lambda index: hashes[index])
    order = order if shuffle else range(len(split))
    images = [AUGMENTATION(split.images[[i]], np.array([i]), seed, epoch)[0] for i in order]
    images = np.array(images).astype("float32") / 255
    labels = split.labels[list(order)]
    starts = range(0, len(split), batch_size)
    return [(images[i : i + batch_size], labels[i : i + batch_size]) for i in starts]


def read(batches):
    return [(np.array(images), np.array(labels)) for images, labels in batches]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for (images, labels), (expected_images, expected_labels) in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


class Recorder(keras.Model):
    """A small model that Keras builds itself, from a batch, unless told otherwise."""

    def __init__(self, built):
        super().__init__()
        self.dense = keras.layers.Dense(10)
        if built:
            self(np.zeros((1, 5, 5, 1), "float32"))

    def call(self, x):
        return self.dense(keras.ops.reshape(x, (-1, 25)))


def fingerprint(y_true, y_pred):
    """Depends on which labels stand where in a batch."""
    labels = keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "float32")
    places = keras.ops.cast(keras.ops.arange(keras.ops.shape(labels)[0]), "float32")
    return keras.ops.sin(labels * 1.7 + places) + 0.0 * keras.ops.sum(y_pred, axis=-1)


def expected_fingerprint(split, epoch, **options):
    values = [
        np.sin(labels * 1.7 + np.arange(len(labels)))
        for _, labels in expected_epoch(split, epoch, **options)
    ]
    return float(np.concatenate(values).mean())


def fit(model, batches, **options):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True), metrics=[fingerprint])
    options = {"verbose": 0, "shuffle": keras.config.backend() != "tensorflow"} | options
    return model.fit(batches, **options).history


def batches_of(split, **options):
    arguments = {"batch_size": 16, "shuffle": True, "augmentation": AUGMENTATION, "seed": 3}
    return split.batches(**(arguments | options))


def test_every_pass_is_the_next_epoch(split):
    batches = batches_of(split, initial_epoch=5)
    assert len(batches) == 4
    for epoch in (5, 6, 7):
        assert_same(read(batches), expected_epoch(split, epoch))


def test_types_and_length(split):
    images, labels = next(iter(split.batches(16)))
    assert images.shape == (16, 5, 5, 1)
    assert keras.backend.standardize_dtype(images.dtype) == "float32"
    assert keras.backend.standardize_dtype(labels.dtype) == "int32"
    assert len(split.batches(16, drop_remainder=True)) == 3
    assert [len(labels) for _, labels in read(split.batches(16, drop_remainder=True))] == [16] * 3


@pytest.mark.tensorflow
def test_both_forms_deliver_the_same(split):
    makers = [BatchMaker(split, 16, True, AUGMENTATION, 3, False) for _ in range(2)]
    ours, theirs = Batches(makers[0], 1), tf_dataset(makers[1], 1)
    for _ in range(3):
        assert_same(read(ours), read(theirs))
    assert theirs.element_spec[0].shape.as_list() == [None, 5, 5, 1]
    # With the tuner, the end of an epoch would wait for up to as long as the epoch took.
    assert theirs.options().autotune.enabled is False


def test_form_fits_the_backend(split):
    import kdzoo.data.batches

    maker = BatchMaker(split, 16, True, AUGMENTATION, 3, False)
    name = "tf_dataset" if keras.config.backend() == "tensorflow" else "Batches"
    expected = getattr(kdzoo.data.batches, name)(maker, 0)
    assert type(make(maker, 0)) is type(expected)


@pytest.mark.parametrize("built", [True, False], ids=["built", "unbuilt"])
@pytest.mark.parametrize(("batch_size", "steps"), [(16, 1), (16, 2), (50, 1)])
def test_fit_sees_one_epoch_after_the_other(split, built, steps, batch_size):
    validation = split.subset(range(20))
    model = Recorder(built)
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(True),
        metrics=[fingerprint],
        steps_per_execution=steps,
    )
    history = model.fit(
        batches_of(split, batch_size=batch_size),
        epochs=3,
        validation_data=validation.batches(20),
        verbose=0,
        shuffle=keras.config.backend() != "tensorflow",
    ).history
    expected = [expected_fingerprint(split, epoch, batch_size=batch_size) for epoch in range(3)]
    np.testing.assert_allclose(history["fingerprint"], expected, atol=1e-5)
    labels = validation.arrays()[1]
    held_out = np.sin(labels * 1.7 + np.arange(20)).mean()
    np.testing.assert_allclose(history["val_fingerprint"], [held_out] * 3, atol=1e-5)


def test_resumed_fit_sees_what_the_undisturbed_one_sees(split):
    whole = fit(Recorder(True), batches_of(split), epochs=4)["fingerprint"]
    rest = fit(Recorder(False), batches_of(split, initial_epoch=2), epochs=4, initial_epoch=2)
    np.testing.assert_allclose(rest["fingerprint"], whole[2:], atol=1e-6)


def test_global_random_state_does_not_matter(split):
    random.seed(1)
    np.random.seed(1)
    first = fit(Recorder(True), batches_of(split), epochs=2)["fingerprint"]
    random.seed(2)
    np.random.seed(2)
    second = fit(Recorder(True), batches_of(split), epochs=2)["fingerprint"]
    np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("built", [True, False], ids=["built", "unbuilt"])
@pytest.mark.parametrize("batch_size", [16, 50])
def test_a_second_fit_goes_on_with_the_next_epoch(split, built, batch_size):
    batches = batches_of(split, batch_size=batch_size)
    fit(Recorder(False), batches, epochs=2)
    history = fit(Recorder(built), batches, epochs=2)["fingerprint"]
    expected = [expected_fingerprint(split, epoch, batch_size=batch_size) for epoch in (2, 3)]
    np.testing.assert_allclose(history, expected, atol=1e-5)


def test_steps_per_epoch_reads_on(split):
    history = fit(Recorder(False), batches_of(split), epochs=4, steps_per_epoch=2)["fingerprint"]
    values = []
    for epoch in (0, 1):
        labels = [labels for _, labels in expected_epoch(split, epoch)]
        for pair in (labels[:2], labels[2:]):
            parts = [np.sin(part * 1.7 + np.arange(len(part))) for part in pair]
            values.append(np.concatenate(parts).mean())
    np.testing.assert_allclose(history, values, atol=1e-5)


def test_part_of_the_validation_is_always_the_same_part(split):
    history = fit(
        Recorder(False),
        batches_of(split),
        epochs=3,
        validation_data=split.batches(16),
        validation_steps=2,
    )["val_fingerprint"]
    assert len(set(np.round(history, 6))) == 1


def test_evaluate_and_predict_see_everything_in_order(split):
    model = Recorder(True)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(True), metrics=[fingerprint])
    values = [
        np.sin(split.labels[i : i + 16] * 1.7 + np.arange(len(split.labels[i : i + 16])))
        for i in range(0, 50, 16)
    ]
    batches = split.batches(16)
    for _ in range(2):
        result = model.evaluate(batches, verbose=0, return_dict=True)
        np.testing.assert_allclose(result["fingerprint"], np.concatenate(values).mean(), atol=1e-5)
        logits = model.predict(batches, verbose=0)
        np.testing.assert_allclose(logits, model.predict(split.arrays()[0], verbose=0), atol=1e-5)


def test_where_nothing_is_made_ahead_a_late_break_starts_the_epoch_again(split):
    batches = Batches(BatchMaker(split, 16, True, AUGMENTATION, 3, False), 1)
    for count, _ in enumerate(batches, start=1):
        if count == len(batches) - 1:
            break
    assert_same(read(batches), expected_epoch(split, 1))


def test_a_broken_off_epoch_starts_again(split):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    images = np.zeros((400, 5, 5, 1), "uint8")
    many = kdzoo.data.from_arrays(images, np.arange(400) % 10, validation=0).train
    batches = batches_of(many)
    model = Recorder(True)
    with pytest.raises(KeyboardInterrupt):
        fit(model, batches, callbacks=[Stop()])
    history = fit(model, batches, epochs=2)["fingerprint"]
    expected = [expected_fingerprint(many, epoch) for epoch in (0, 1)]
    np.testing.assert_allclose(history, expected, atol=1e-5)


def test_teacher_outputs_come_with_their_samples(split):
    """Each output says which sample it is for, so a mix-up shows."""
    rows = np.arange(len(split), dtype="float32")
    outputs = {"logits": rows[:, None], "stage1": rows[:, None, None].astype("float16")}
    for given in (outputs, outputs["logits"]):
        batches = split.batches(16, shuffle=True, seed=3, teacher_outputs=given, indices=True)
        seen = []
        for images, targets in batches:
            index, taught = np.array(targets["index"]), targets["teacher"]
            np.testing.assert_array_equal(np.array(images), split.images[index] / np.float32(255))
            for part in keras.tree.flatten(taught):
                np.testing.assert_array_equal(np.array(part).ravel(), index)
            seen += list(index)
        assert sorted(seen) == list(range(50))
        if given is outputs:
            assert str(np.array(taught["stage1"]).dtype) == "float16"


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        (np.zeros((49, 10)), r"each of the 50 samples. Received: teacher_outputs of .*\(49, 10\)"),
        (np.float32(1), r"Received: teacher_outputs of shape \(\)"),
        (
            {"logits": np.zeros((50, 10)), "stage1": np.zeros((5, 2))},
            r"shape \(5, 2\) under 'stage1'",
        ),
        ({}, "teacher_outputs={}"),
        ("logits", "an array of numbers"),
    ],
)
def test_teacher_outputs_that_do_not_fit_are_refused(split, outputs, complaint):
    with pytest.raises(ValueError, match=complaint):
        split.batches(16, teacher_outputs=outputs)


def test_teacher_outputs_are_those_of_plain_images(split):
    with pytest.raises(ValueError, match="no augmentation beside `teacher_outputs`"):
        split.batches(16, augmentation=AUGMENTATION, teacher_outputs=np.zeros((50, 10)))


def test_the_old_name_of_teacher_outputs_is_understood(split):
    outputs = np.arange(50.0)[:, None]
    with pytest.warns(DeprecationWarning, match="`answers` is called `teacher_outputs`"):
        batches = split.batches(50, answers=outputs)
    positional = split.batches(50, False, None, 0, 0, False, False, outputs)
    for (_, targets), (_, expected) in zip(batches, positional, strict=True):
        np.testing.assert_array_equal(targets["teacher"], outputs)
        np.testing.assert_array_equal(expected["teacher"], outputs)


class Drawn(TeacherOutputs):
    """Teacher outputs that come from no array, for images that the teacher saw turned around."""

    def at(self, indices, epoch):
        return np.stack([indices, np.full_like(indices, epoch)], axis=-1).astype("float32")

    def spec(self):
        return (2,), "float32"

    def images(self, images, indices, epoch):
        return images[:, ::-1]


def test_any_source_of_teacher_outputs_serves(split):
    batches = split.batches(50, initial_epoch=3, teacher_outputs=Drawn())
    ((images, targets),) = batches
    np.testing.assert_array_equal(np.array(images), split.arrays()[0][:, ::-1])
    np.testing.assert_array_equal(
        np.array(targets["teacher"]), np.stack([np.arange(50), np.full(50, 3)], axis=-1)
    )
