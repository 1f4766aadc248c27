"""The records of several teachers are averaged as NumPy averages what these give."""

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.data import Augmentation, record_teacher, with_recorded_teacher

AUGMENTATION = Augmentation(shift=1, flip=True)


@pytest.fixture(scope="module")
def split():
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 2)).astype("uint8")
    return kdzoo.data.from_arrays(images, np.arange(40) % 5, validation=0).train


def net(seed, columns=5):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Flatten(name="features")(inputs)
    # Logits of about 3, so that the two means differ.
    return keras.Model(inputs, 3 * keras.layers.Dense(columns, name="logits")(x))


@pytest.fixture(scope="module")
def members():
    return [net(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def directories(members, split, tmp_path_factory):
    made = []
    for member in members:
        path = tmp_path_factory.mktemp("member")
        made.append(
            record_teacher(member, split, path, 2, augmentation=AUGMENTATION, dtype="float32")
        )
    return made


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


MEANS = {
    "logits": lambda logits: np.mean(logits, 0),
    "probabilities": lambda logits: np.log(np.mean([softmax(part) for part in logits], 0)),
}


@pytest.mark.parametrize("average", MEANS)
def test_outputs_are_the_mean_of_what_the_teachers_give(average, members, directories, split):
    recorded = with_recorded_teacher(split, directories, members, average=average)
    assert (len(recorded), recorded.views) == (40, 2)
    batches = recorded.batches(40, shuffle=True, indices=True, initial_epoch=1)
    ((images, targets),) = [
        keras.tree.map_structure(np.asarray, batch) for batch in list(batches)[:1]
    ]
    seen = AUGMENTATION(split.images, np.arange(40), 0, 1)[targets["index"]] / 255
    np.testing.assert_allclose(images, seen, atol=1e-6)
    given = [keras.ops.convert_to_numpy(member(images)).astype("float64") for member in members]
    np.testing.assert_allclose(targets["teacher"], MEANS[average](given), rtol=1e-4, atol=1e-5)
    ensemble = kdzoo.Ensemble(members, average)
    live = keras.ops.convert_to_numpy(ensemble(images))
    np.testing.assert_allclose(targets["teacher"], live, rtol=1e-4, atol=1e-5)
    assert np.abs(MEANS["logits"](given) - MEANS["probabilities"](given)).max() > 0.1


def test_an_ensemble_is_known_by_its_members(members, directories, split):
    with_recorded_teacher(split, directories, kdzoo.Ensemble(members))
    with pytest.raises(ValueError, match="record of this teacher"):
        with_recorded_teacher(split, directories, [*members[:2], net(7)])


@pytest.mark.parametrize(
    ("directories_of", "more", "complaint"),
    [
        (lambda found: [], {}, "one or more directories"),
        (lambda found: found, {"teacher": []}, "as many teachers or none"),
        (lambda found: found, {"average": "median"}, "Unknown average"),
    ],
)
def test_bad_arguments_are_refused(directories_of, more, complaint, directories, split):
    with pytest.raises(ValueError, match=complaint):
        with_recorded_teacher(split, directories_of(directories), **more)


@pytest.mark.parametrize(
    ("columns", "settings", "average", "complaint"),
    [
        (5, {"views": 1, "augmentation": AUGMENTATION}, "logits", "the same views"),
        (5, {"views": 2, "augmentation": Augmentation(2)}, "logits", "the same views"),
        (4, {"views": 2, "augmentation": AUGMENTATION}, "logits", "the same views"),
        (5, {"layers": "features"}, "logits", "records of logits alone"),
    ],
)
def test_records_of_another_kind_are_not_averaged(
    columns, settings, average, complaint, directories, split, tmp_path
):
    other = record_teacher(net(9, columns), split, tmp_path, **settings)
    with pytest.raises(ValueError, match=complaint):
        with_recorded_teacher(split, [directories[0], other], average=average)


def test_one_column_has_no_softmax(split, tmp_path):
    record = record_teacher(net(0, 1), split, tmp_path, output_type="numbers")
    with pytest.raises(ValueError, match="of one column"):
        with_recorded_teacher(split, [record, record], average="probabilities")


def test_layers_of_several_are_not_handed_out(directories, split):
    recorded = with_recorded_teacher(split, directories)
    with pytest.raises(ValueError, match="no layers of several"):
        recorded.batches(4, layers="features")
