import numpy as np
import pytest

from kdzoo.data import from_arrays, transfer_set
from kdzoo.data.split import Split


def make_data(name="made", count=200, seed=0, dtype="uint8"):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 4, 4, 1)).astype(dtype)
    if dtype == "float32":
        images /= 255
    return from_arrays(images, np.arange(count) % 10, validation=0, name=name)


@pytest.fixture(scope="module")
def data():
    return make_data()


def test_a_class_that_is_left_out_takes_its_samples_with_it(data):
    images, labels = data.train.arrays()
    split = transfer_set(data, without=[3])
    kept = labels != 3
    np.testing.assert_array_equal(split.arrays()[0], images[kept])
    np.testing.assert_array_equal(split.arrays()[1], labels[kept])
    assert split.images is data.train.images


def test_only_some_classes_are_kept(data):
    images, labels = data.train.arrays()
    kept = (labels == 7) | (labels == 8)
    np.testing.assert_array_equal(transfer_set(data.train, only=(7, 8)).arrays()[0], images[kept])


@pytest.mark.parametrize(("options", "each"), [({"fraction": 0.1}, 2), ({"per_class": 3}, 3)])
def test_every_class_gives_as_many(data, options, each):
    labels = transfer_set(data, **options).arrays()[1]
    assert np.bincount(labels).tolist() == [each] * 10
    again, other = (transfer_set(data, **options, seed=seed).arrays()[0] for seed in (0, 1))
    np.testing.assert_array_equal(again, transfer_set(data, **options).arrays()[0])
    assert not np.array_equal(again, other)


def test_the_indices_of_a_split_are_kept():
    data = make_data()
    half = data.train.subset(np.arange(0, 200, 2))
    images, labels = half.arrays()
    np.testing.assert_array_equal(
        transfer_set(half, without=[0, 2]).arrays()[0], images[(labels != 0) & (labels != 2)]
    )


def test_a_mix_has_each_source_by_its_weight_and_labels_of_the_first_alone(data):
    other = make_data("other", 50, seed=1)
    split = transfer_set(data, other, weights=[3, 1], size=400)
    images, labels = split.examples(slice(None))
    assert len(split) == 400
    assert (labels >= 0).sum() == 300
    assert (labels == -1).sum() == 100
    of_first = {image.tobytes() for image in data.train.images}
    of_other = [image.tobytes() for image in other.train.images]
    assert {image.tobytes() for image in images[labels >= 0]} <= of_first
    # 100 of 50 images: each twice.
    drawn = [image.tobytes() for image in images[labels == -1]]
    assert sorted(drawn) == sorted(of_other * 2)


def test_images_without_labels_and_of_other_types_are_mixed_as_floats(data):
    noise = np.random.default_rng(2).random((20, 4, 4, 1), "float32")
    split = transfer_set(data, noise)
    images, labels = split.arrays()
    np.testing.assert_array_equal(images[:200], data.train.arrays()[0])
    np.testing.assert_array_equal(images[200:], noise)
    assert labels[200:].tolist() == [-1] * 20
    assert split.name == "made"


def test_a_fraction_keeps_its_labels_and_all_images_stay(data):
    split = transfer_set(data, labelled=0.1)
    labels = split.arrays()[1]
    assert len(split) == 200
    assert np.bincount(labels[labels >= 0]).tolist() == [2] * 10
    right = data.train.arrays()[1]
    assert (labels[labels >= 0] == right[labels >= 0]).all()
    assert data.train.labels.min() == 0  # The data set is as it was.
    assert (transfer_set(data, labelled=0).arrays()[1] == -1).all()


SMALL = np.zeros((9, 4, 4, 1), "uint8")


@pytest.mark.parametrize(
    ("others", "options", "message"),
    [
        (["mnist"], {}, "Received: 'mnist'"),
        ([np.zeros((3, 5, 5, 1), "uint8")], {}, r"one shape.*\(5, 5, 1\) of 'unlabelled'"),
        ([iter([SMALL])], {}, r"Received: a list_iterator; record a teacher, and make batches, of"),
        ([], {"without": range(10)}, "a class that is left"),
        ([], {"without": [12]}, "from 0 to 9. Received: 12"),
        ([], {"without": 3}, "a list of classes"),
        ([], {"fraction": 0}, "above 0"),
        ([], {"fraction": 0.001}, "leaves one"),
        ([], {"per_class": 21}, "at most 20, the samples of class 0"),
        ([], {"per_class": 2, "fraction": 0.5}, "a fraction or a number"),
        ([], {"weights": [1, 2]}, "for each of 1 sources"),
        ([], {"weights": [0.0]}, "above 0 for each"),
        ([], {"size": 10}, "weights beside a size"),
        ([SMALL], {"weights": [1, 1e-9]}, "every source"),
        ([], {"labelled": 1.5}, r"lie in \[0, 1\]"),
        ([], {"seed": -1}, "seed"),
    ],
)
def test_what_is_wrong_is_said(data, others, options, message):
    with pytest.raises(ValueError, match=message):
        transfer_set(data, *others, **options)


def test_nothing_makes_no_transfer_set():
    with pytest.raises(ValueError, match="at least one source"):
        transfer_set()


def test_the_labels_that_are_kept_are_those_of_the_same_fraction(data):
    images, labels = transfer_set(data, labelled=0.1).arrays()
    few, of_few = transfer_set(data, fraction=0.1).arrays()
    np.testing.assert_array_equal(images[labels >= 0], few)
    np.testing.assert_array_equal(labels[labels >= 0], of_few)
    held_out = from_arrays(data.train.images, data.train.labels, validation=0.2)
    images, labels = transfer_set(held_out, labelled=0.1).arrays()
    np.testing.assert_array_equal(
        images[labels >= 0], transfer_set(held_out, fraction=0.1).arrays()[0]
    )


def test_a_sample_that_comes_several_times_has_its_label_each_time_or_never(data):
    split = transfer_set(data, weights=[1.0], size=800, labelled=0.2)
    labels = split.arrays()[1]
    assert (labels >= 0).sum() == 0.2 * 800


def copies(split):
    """The labels of each distinct image, in any order."""
    images, labels = split.arrays()
    found = {}
    for image, label in zip(images, labels.tolist(), strict=True):
        found.setdefault(image.tobytes(), []).append(label)
    return list(found.values())


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_so_it_does_in_a_mix_that_repeats_it(data, dtype):
    other = make_data("other", 50, seed=1, dtype=dtype)
    split = transfer_set(data, other, weights=[3, 1], size=1600, labelled=0.2)
    found = copies(split)
    assert len(found) == 250
    assert {len(labels) for labels in found} == {6, 8}  # 1200 of 200, 400 of 50.
    assert all(len(set(labels)) == 1 for labels in found)
    kept = [labels[0] for labels in found if labels[0] >= 0]
    assert np.bincount(kept).tolist() == [4] * 10
    assert len(split.images) == 250  # Each is stored once.
    assert split.images.dtype == dtype
    right = {image.tobytes(): label for image, label in zip(*data.train.arrays(), strict=True)}
    assert all(
        label in (right.get(image.tobytes(), -1), -1)
        for image, label in zip(*split.arrays(), strict=True)
    )


def test_so_it_does_in_sources_that_share_it_and_in_a_mix_of_a_mix(data):
    halves = data.train.subset(slice(150)), data.train.subset(slice(50, 200))
    noise = np.ones((20, 4, 4, 1), "uint8")
    mix = transfer_set(data, noise, weights=[3, 1], size=800)
    for split in (transfer_set(*halves, labelled=0.2), transfer_set(mix, labelled=0.2)):
        found = [labels for labels in copies(split) if len(labels) < 100]  # All noise is alike.
        assert len(found) == 200
        assert all(len(set(labels)) == 1 for labels in found)
        assert sum(labels[0] >= 0 for labels in found) == 40


def test_data_sets_without_a_name_are_not_taken_for_one(data):
    mine, other = (make_data("arrays", seed=seed) for seed in (0, 1))
    with pytest.raises(ValueError, match="two by the default name 'arrays'; give both a `name=`"):
        transfer_set(mine, other)
    same = from_arrays(mine.train.images, mine.train.labels)
    labels = transfer_set(same.train, same.validation).arrays()[1]
    assert np.bincount(labels).tolist() == [20] * 10
    unlabelled = transfer_set(other, labelled=0)
    assert (transfer_set(mine, unlabelled).arrays()[1] >= 0).sum() == 200
    named = transfer_set(data, make_data(seed=1)).arrays()[1]
    assert np.bincount(named).tolist() == [40] * 10


def test_a_source_without_samples_is_refused(data):
    empty = Split(data.train.images[:0], data.train.labels[:0], name="x")
    for sources in ([empty], [data, empty]):
        with pytest.raises(ValueError, match=r"in each source. Received: none of 'x'"):
            transfer_set(*sources)


@pytest.mark.parametrize("options", [{"without": [3]}, {"only": [3]}, {"per_class": 2}])
def test_classes_of_images_without_labels_cannot_be_chosen(options):
    with pytest.raises(ValueError, match="a first source with labels"):
        transfer_set(SMALL, **options)


def test_labels_of_samples_without_any_cannot_be_kept_in_part():
    with pytest.raises(ValueError, match="without any"):
        transfer_set(np.zeros((4, 4, 4, 1), "uint8"), labelled=0.5)


def test_files_of_a_folder_stay_with_their_samples():
    images = np.arange(4, dtype="uint8").reshape(4, 1, 1, 1)
    split = Split(images, np.array([0, 0, 1, 1], "int32"), paths=["a", "b", "c", "d"])
    assert transfer_set(split, only=[1], labelled=0.5).paths == ["c", "d"]
