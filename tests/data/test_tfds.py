"""tfds data sets: one that is written here, and none that needs the network."""

import io
import pathlib
import urllib.request

import numpy as np
import pytest

import kdzoo.data

pytestmark = [
    pytest.mark.tensorflow,
    # tfds and what it imports, not kdzoo.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SIZES = {"train": 40, "validation": 10, "test": 20}


def examples(part, size):
    for index in range(size):
        image = np.full((6, 5, 3), (index * 3 + len(part)) % 256, "uint8")
        yield {"image": image, "label": index % 4}


def store(directory, parts, name="tiny", features=None):
    """Writes a prepared tfds data set."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = features or tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(6, 5, 3)),
            "label": tfds.features.ClassLabel(names=["a", "b", "c", "d"]),
        }
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        data_dir=directory,
        features=features,
        split_datasets={part: list(enumerate(examples(part, SIZES[part]))) for part in parts},
        disable_shuffling=True,
    )


def test_prepared_set(tmp_path, monkeypatch):
    store(tmp_path, ["train", "test"])
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for data_dir in (tmp_path, None):
        data = kdzoo.data.load("tiny", data_dir)
        assert (data.name, data.class_names) == ("tiny", ("a", "b", "c", "d"))
        assert data.version == "1.0.0"
        assert data.input_shape == (6, 5, 3)
        assert [len(s) for s in (data.train, data.validation, data.test)] == [36, 4, 20]
        images, labels = data.test.arrays()
        stored = list(examples("test", 20))
        np.testing.assert_array_equal(labels, [sample["label"] for sample in stored])
        expected = np.array([sample["image"] for sample in stored]).astype("float32") / 255
        np.testing.assert_array_equal(images, expected)


def test_exported_set_is_the_same(tmp_path):
    store(tmp_path / "tfds", ["train", "test"])
    kdzoo.data.export("tiny", tmp_path / "npy", data_dir=tmp_path / "tfds")
    first = kdzoo.data.load("tiny", tmp_path / "tfds")
    second = kdzoo.data.load(tmp_path / "npy")
    assert second.version == first.version
    for part in ("train", "validation", "test"):
        for ours, theirs in zip(
            getattr(first, part).arrays(), getattr(second, part).arrays(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_own_validation_split(tmp_path):
    store(tmp_path, ["train", "validation", "test"])
    data = kdzoo.data.load("tiny", tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [40, 10, 20]
    data = kdzoo.data.load("tiny", tmp_path, validation=0.5)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [20, 20, 20]


def test_validation_split_tests_where_there_is_no_test(tmp_path):
    store(tmp_path, ["train", "validation"])
    data = kdzoo.data.load("tiny", tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [36, 4, 10]


def test_no_test_split_is_refused(tmp_path):
    store(tmp_path, ["train"])
    with pytest.raises(ValueError, match=r"'test' or 'validation'.*the splits \['train'\]"):
        kdzoo.data.load("tiny", tmp_path)


def test_images_of_several_sizes_are_refused(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=4),
        }
    )
    store(tmp_path, ["train", "test"], features=features)
    with pytest.raises(ValueError, match="Expected images of one size"):
        kdzoo.data.load("tiny", tmp_path)


def test_unknown_name_suggests_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"'fashion_mnits'\. Did you mean 'fashion_mnist'\?"):
        kdzoo.data.load("fashion_mnits", tmp_path)
    with pytest.raises(ValueError, match=r"Did you mean 'digits'\?"):
        kdzoo.data.load("digitss", tmp_path)
    with pytest.raises(ValueError, match=r"Did you mean 'cifar10'\?"):
        kdzoo.data.load("CIFAR10", tmp_path)
    with pytest.raises(ValueError, match=r"Did you mean 'svhn_cropped'\?"):
        kdzoo.data.load("svhn", tmp_path)


@pytest.mark.parametrize("name", ["qqqqqqqqqqqq", "nope"])  # Half of it is in "svhn_cropped".
def test_unknown_name_without_a_near_one_lists_a_few(tmp_path, name):
    with pytest.raises(ValueError, match=r"There are \d+, among them: .*digits.*mnist") as caught:
        kdzoo.data.load(name, tmp_path)
    assert len(str(caught.value)) < 300


def test_a_set_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"features 'image' and 'label'.*name='imdb_reviews'"):
        kdzoo.data.load("imdb_reviews", tmp_path)


def test_neither_prepared_nor_downloadable(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def no_network(*_, **__):
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", no_network)
    with pytest.raises(FileNotFoundError) as caught:
        kdzoo.data.load("svhn_cropped", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert tmp_path.is_dir()
    assert f"not prepared in '{tmp_path}/svhn_cropped/" in message
    assert "ConnectionError: no route to host" in message
    assert f"tfds build svhn_cropped --data_dir={tmp_path}" in message
    monkeypatch.setenv("KDZOO_TRACEBACK", "1")  # Who asks for the traceback sees the cause.
    with pytest.raises(FileNotFoundError) as caught:
        kdzoo.data.load("svhn_cropped", tmp_path)
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_download_is_shown(tmp_path, monkeypatch, capsys):
    """On standard error, where the store of tfds answers, and with some patience."""
    tfds = pytest.importorskip("tensorflow_datasets")
    downloader, asked = tfds.core.download.downloader, []

    def begin(*_, **__):
        print("Downloading")
        asked.append(downloader.MAX_RETRIES)
        raise ConnectionError("broken")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", begin)
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO())
    usual = downloader.MAX_RETRIES
    with pytest.raises(FileNotFoundError, match="broken") as caught:
        kdzoo.data.load("svhn_cropped", tmp_path)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # No traceback of the library stands before it.
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Downloading\n")
    assert (asked, downloader.MAX_RETRIES) == ([3], usual)
    monkeypatch.undo()
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", begin)
    with pytest.raises(FileNotFoundError, match="broken"):
        kdzoo.data.load("svhn_cropped", tmp_path)
    assert asked == [3, 0]
    assert capsys.readouterr().err == ""


def test_of_a_download_that_fails_nothing_stays(tmp_path, monkeypatch, capsys):
    """As tfds, which is told to, begins one in the directory that it makes."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def no_network(builder, *_, **__):
        print("Downloading")
        (pathlib.Path(builder.data_dir).parents[1] / "downloads").mkdir(parents=True)
        raise ConnectionError("HTTPSConnectionPool(host='data.example', port=443): retries")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", no_network)
    for data_dir in (tmp_path / "misspelt", tmp_path / "mis" / "spelt"):
        with pytest.raises(FileNotFoundError, match=r"\(no connection to data\.example\);"):
            kdzoo.data.load("svhn_cropped", data_dir)
        assert not list(tmp_path.iterdir())
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")  # Without a network, nothing but the error.
    begun = tmp_path / "new" / "downloads" / "begun"
    begun.mkdir(parents=True)

    def another_process(builder, *_, **__):
        (pathlib.Path(builder.data_dir) / "empty").mkdir(parents=True)
        (begun / "file").write_text("theirs")
        raise ConnectionError("no network")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", another_process)
    with pytest.raises(FileNotFoundError, match="no network"):
        kdzoo.data.load("svhn_cropped", begun.parent / "data")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [begun / "file"]
    assert not (begun.parent / "data").exists()


@pytest.mark.parametrize("name", ["mine", "my images/train"])
def test_a_directory_without_an_export_is_called_one(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"that `kdzoo data export` wrote.*without dataset\.json$"):
        kdzoo.data.load(name, tmp_path / "data")


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "shape", "classes", "sizes"),
    [
        ("mnist", (28, 28, 1), 10, (54000, 6000, 10000)),
        ("fashion_mnist", (28, 28, 1), 10, (54000, 6000, 10000)),
        ("cifar10", (32, 32, 3), 10, (45000, 5000, 10000)),
        ("cifar100", (32, 32, 3), 100, (45000, 5000, 10000)),
    ],
)
def test_real_sets(name, shape, classes, sizes):
    data = kdzoo.data.load(name)
    assert (data.input_shape, data.classes) == (shape, classes)
    assert tuple(len(s) for s in (data.train, data.validation, data.test)) == sizes
    counts = np.bincount(data.validation.arrays()[1], minlength=classes)
    shares = np.bincount(data.train.arrays()[1], minlength=classes) / 9
    assert np.abs(counts - shares).max() < 1.2
