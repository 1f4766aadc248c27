"""Folders of images by class: what Keras reads from them, and what is odd in them."""

import os
import pathlib
import re
import shutil
import struct
import zlib

import keras
import numpy as np
import pytest
from picture_folders import write_pictures
from PIL import Image

import kdzoo
from kdzoo.data import from_directory
from kdzoo.utils import heavy_libraries

SIZE = 8


@pytest.fixture
def folder(tmp_path):
    """A folder of two classes with ten pictures each."""
    return write_pictures(tmp_path / "pictures", 10, SIZE, ("b", "a"))


def all_of(data):
    """Path -> (image, label), of all splits."""
    found = {}
    for split in (data.train, data.validation, data.test):
        if split is not None:
            images, labels = split.examples(slice(None))
            assert len(split.paths) == len(split)
            pairs = zip(images, labels, strict=True)
            found.update(zip(split.paths, pairs, strict=True))
    return found


def by_keras(folder, **options):
    """The same by `image_dataset_from_directory`."""
    dataset = keras.utils.image_dataset_from_directory(
        folder, batch_size=None, shuffle=False, image_size=(SIZE, SIZE), verbose=False, **options
    )
    paths = [pathlib.Path(path).relative_to(folder).as_posix() for path in dataset.file_paths]
    images = [(np.asarray(image), int(label)) for image, label in dataset]
    return dict(zip(paths, images, strict=True)), tuple(dataset.class_names)


@pytest.mark.tensorflow
@pytest.mark.parametrize("crop", [False, True])
def test_is_what_keras_reads(folder, crop):
    wide = np.random.default_rng(1).integers(0, 256, (SIZE, 3 * SIZE, 3)).astype("uint8")
    if crop:  # A part of it as it is; stretched, it depends on how pixels are averaged.
        Image.fromarray(wide).save(folder / "a" / "wide.png")
    (folder / "a" / "below").mkdir()
    Image.fromarray(wide[:, :SIZE]).save(folder / "a" / "below" / "x.bmp")
    data = from_directory(folder, SIZE, crop_to_aspect_ratio=crop)
    expected, names = by_keras(folder, crop_to_aspect_ratio=crop)
    found = all_of(data)
    assert data.class_names == names == ("a", "b")
    assert sorted(found) == sorted(expected)
    for path, (image, label) in expected.items():
        np.testing.assert_array_equal(found[path][0], image)
        assert found[path][1] == label


def test_a_stretched_gradient_stays_one(tmp_path):
    gradient = np.linspace(0, 255, 64)[None, :, None] * np.ones((20, 1, 3))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            picture = Image.fromarray(gradient.astype("uint8"))
            picture.save(tmp_path / name / f"{number}.jpg", quality=98)
    data = from_directory(tmp_path, (4, SIZE), validation=0, test=0.34)
    assert data.input_shape == (4, SIZE, 3)
    expected = gradient[0, :, 0].reshape(SIZE, -1).mean(1)
    assert np.abs(data.train.examples([0])[0][0, 2, :, 1] - expected).max() < 5


def test_splits_are_held_out_in_proportion_and_always_the_same(folder):
    data, again = (from_directory(folder, SIZE) for _ in range(2))
    assert [len(split) for split in (data.train, data.validation, data.test)] == [14, 2, 4]
    for split, other in ((data.train, again.train), (data.validation, again.validation)):
        assert split.paths == other.paths
        assert len(set(np.bincount(split.examples(slice(None))[1]))) == 1
    assert len(all_of(data)) == 20
    assert data.name == "pictures"
    assert data.version == again.version
    Image.new("RGB", (SIZE, SIZE)).save(folder / "a" / "0000.png")
    assert from_directory(folder, SIZE).version != data.version


def test_own_splits_are_taken(folder, tmp_path):
    parts = tmp_path / "parts"
    for part in ("train", "val", "test"):
        write_pictures(parts / part, 2, SIZE, ("b", "a"), seed=len(part))
    data = from_directory(parts, SIZE)
    assert data.test.paths == [f"test/{name}/000{n}.png" for name in "ab" for n in (0, 1)]
    assert {path.partition("/")[0] for path in data.validation.paths} == {"val"}
    with pytest.raises(ValueError, match="test=None for a folder with test images of its own"):
        from_directory(parts, SIZE, test=0.5)
    shutil.rmtree(parts / "test" / "b")  # Of a class there may be nothing to test with.
    assert from_directory(parts, SIZE).test.labels.tolist() == [0, 0]
    (parts / "test" / "a").rename(parts / "test" / "c")
    with pytest.raises(ValueError, match=r"test/c, of another class"):
        from_directory(parts, SIZE)
    (parts / "other").mkdir()
    with pytest.raises(ValueError, match="'other' beside 'train'"):
        from_directory(parts, SIZE)


@pytest.mark.parametrize(
    "names", [("Train", "Test"), ("TRAINING", "TESTING", "VAL"), ("training", "testing", "Valid")]
)
def test_own_splits_have_the_usual_names(names, tmp_path):
    for part in names:
        write_pictures(tmp_path / "parts" / part, 2, SIZE, ("b", "a"), seed=len(part))
    data = from_directory(tmp_path / "parts", SIZE, **({} if names[2:] else {"validation": 0.5}))
    assert data.class_names == ("a", "b")
    assert {path.partition("/")[0] for path in data.train.paths} == {names[0]}
    assert {path.partition("/")[0] for path in data.test.paths} == {names[1]}
    assert {path.partition("/")[0] for path in data.validation.paths} == {(*names, names[0])[2]}
    (tmp_path / "parts" / "train" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"'train' beside '|beside 'train'"):
        from_directory(tmp_path / "parts", SIZE)


def test_paths_stay_with_their_images(folder):
    data = from_directory(folder, SIZE)
    known = all_of(data)
    for other in (data.resplit(3), data.enlarged(2)):
        for path, (image, label) in all_of(other).items():
            step = len(image) // SIZE
            np.testing.assert_array_equal(image[::step, ::step], known[path][0])
            assert label == known[path][1]
    assert data.train.subset([3, 1]).paths == [data.train.paths[3], data.train.paths[1]]
    assert kdzoo.data.load("digits").train.paths is None


def grey(value):
    return np.full((SIZE, SIZE), value)


def _with_alpha():
    return Image.new("RGBA", (SIZE, SIZE), (200, 100, 50, 0))


def _palette():
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.info["transparency"] = bytes([0, 128])
    return image


def _animated(path):
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in ((200, 100, 50), (0, 0, 0))]
    frames[0].save(path, save_all=True, append_images=frames[1:])


MODES = {
    "grey.png": (Image.fromarray(grey(100).astype("uint8")), (100, 100, 100)),
    "black_and_white.png": (Image.new("1", (SIZE, SIZE), 1), (255, 255, 255)),
    "sixteen.png": (Image.fromarray((grey(100) * 257).astype("uint16")), (100, 100, 100)),
    "alpha.png": (_with_alpha(), (200, 100, 50)),
    "alpha.webp": (Image.new("RGB", (SIZE, SIZE), (200, 100, 50)), (200, 100, 50)),
    "palette.png": (_palette(), (200, 100, 50)),
    "cmyk.jpg": (Image.new("CMYK", (SIZE, SIZE), (0, 127, 255, 0)), (255, 128, 0)),
    "DÉJÀ vu 図.BMP": (Image.new("RGB", (SIZE, SIZE), (200, 100, 50)), (200, 100, 50)),
}


@pytest.mark.parametrize("name", [*MODES, "moving.gif", "sixteen_of_three.png"])
def test_images_of_any_mode(name, folder):
    place = folder / "a" / name
    if name == "moving.gif":
        colour = (200, 100, 50)
        _animated(place)
    elif name == "sixteen_of_three.png":
        colour = (200, 100, 50)
        place.write_bytes(png_of_16_bits(colour))
    else:
        image, colour = MODES[name]
        image.save(place)
    pixels = all_of(from_directory(folder, SIZE))[f"a/{name}"][0]
    assert np.abs(pixels.astype(int) - colour).max() <= 4
    single = from_directory(folder, SIZE, color_mode="grayscale")
    assert single.input_shape == (SIZE, SIZE, 1)
    expected = np.dot(colour, (0.299, 0.587, 0.114))
    assert np.abs(all_of(single)[f"a/{name}"][0] - expected).max() <= 4


def png_of_16_bits(colour):
    """A PNG file of three channels of 16 bits, which Pillow cannot write."""

    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    row = b"\0" + struct.pack(">3H", *(257 * part for part in colour)) * SIZE
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", SIZE, SIZE, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row * SIZE))
        + chunk(b"IEND", b"")
    )


def test_what_is_no_image_is_left_out(folder):
    before = from_directory(folder, SIZE)
    for name in ("Thumbs.db", ".hidden.png", "._0000.png", "readme.txt"):
        (folder / "a" / name).write_bytes(b"nothing")
    for name in (".git", "__MACOSX"):
        (folder / name).mkdir()
    (folder / "a" / "loop").symlink_to(folder / "a", target_is_directory=True)
    (folder / "notes.txt").write_text("nothing")
    assert from_directory(folder, SIZE).version == before.version
    Image.new("RGB", (SIZE, SIZE)).save(folder / "a" / "x.tiff")
    with pytest.warns(UserWarning, match=r"Left out 1 images .* such as .*x\.tiff") as said:
        from_directory(folder, SIZE)
    assert said[0].filename == __file__


def _cut_off(folder):
    place = folder / "a" / "0003.png"
    place.write_bytes(place.read_bytes()[:-60])


def _empty_file(folder):
    (folder / "b" / "0003.png").write_bytes(b"")


def _bomb(folder):
    """A small file that says that it has 10,000 times 10,000 pixels."""
    place = folder / "a" / "0003.png"
    content = place.read_bytes()
    header = b"IHDR" + struct.pack(">II", 10_000, 10_000) + content[24:29]
    place.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])


def _pipe(folder):
    (folder / "a" / "0003.png").unlink()
    os.mkfifo(folder / "a" / "0003.png")


def _link_to_itself(folder):
    (folder / "a" / "x.png").symlink_to(folder / "a" / "x.png")


def _link_above(folder):
    (folder / "c").symlink_to(folder, target_is_directory=True)


def _one_class(folder):
    (folder / "b").rename(folder.parent / "b")


def _no_class(folder):
    for place in [*folder.glob("*/*.png")]:
        place.rename(folder / f"{place.parent.name}{place.name}")
    for name in ("a", "b"):
        (folder / name).rmdir()


def _empty_class(folder):
    (folder / "c").mkdir()


def _other_format(folder):
    (folder / "c").mkdir()
    Image.new("RGB", (SIZE, SIZE)).save(folder / "c" / "x.tiff")


def _few(folder):
    (folder / "c").mkdir()
    Image.new("RGB", (SIZE, SIZE)).save(folder / "c" / "x.png")
    for place in [*folder.glob("[ab]/*.png")]:
        if place.name > "0000.png":
            place.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut_off, r"a/0003\.png, of which"),
        (_empty_file, r"b/0003\.png, which is no image in PNG"),
        (_bomb, r"a/0003\.png, whose pixels are more than 89,478,485"),
        (_pipe, r"a/0003\.png.*a pipe"),
        (_link_to_itself, r"a/x\.png, of which the system says: "),
        (_link_above, r"pictures/c, a link to .*, which has .*pictures in it"),
        (_one_class, r"at least 2.* with 1 folders$"),
        (_no_class, r"at least 2.* with 0 folders, and 20 images beside them"),
        (_empty_class, r"pictures/c, without any$"),
        (_other_format, r"c/x\.tiff is in another format"),
        (_few, r"where none is left to train on of "),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_a_folder_that_cannot_be_read_is_a_sentence(damage, message, folder):
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        from_directory(folder, SIZE, test=0.5)
    assert "\n" not in str(caught.value)


def test_all_that_is_broken_is_counted(folder):
    for place in folder.glob("a/*.png"):
        place.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a/0000\.png.*a/0002\.png, [^;]*; and 7 more"):
        from_directory(folder, SIZE)


@pytest.mark.parametrize("size", [0, 8.5, (8, 8, 3), "8", None, 5000, True])
def test_wrong_sizes_are_refused(size, folder):
    with pytest.raises(ValueError, match="Expected image_size"):
        from_directory(folder, size)


def test_no_folder_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape("none there")):
        from_directory(tmp_path / "nothing", SIZE)


def test_classes_by_any_name(tmp_path):
    """In the order of Keras, which sorts by the numbers of characters; also what is no text."""
    names = ("Zèbre", "10", "9", "été", "图", "a b", os.fsdecode(b"\xff"))
    data = from_directory(write_pictures(tmp_path / "x", 3, SIZE, names[:5]), SIZE)
    assert data.class_names == tuple(sorted(names[:5])) == ("10", "9", "Zèbre", "été", "图")
    data = from_directory(write_pictures(tmp_path / "y", 3, SIZE, names[5:]), SIZE)
    assert data.class_names == ("a b", "\N{REPLACEMENT CHARACTER}")


def test_a_known_name_is_not_taken(tmp_path):
    folder = write_pictures(tmp_path / "cifar10", 5, SIZE, ("b", "a"))
    assert from_directory(folder, SIZE).name == "./cifar10"


def test_photographs_are_decoded_small(tmp_path, monkeypatch):
    """And look like what is decoded whole and then resized."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            small = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype("uint8"))
            photograph = small.resize((960, 640), Image.Resampling.BICUBIC)
            photograph.save(tmp_path / name / f"{number}.jpg")
    found = all_of(from_directory(tmp_path, 16))
    for path, (image, _) in found.items():
        whole = Image.open(tmp_path / path).resize((16, 16), Image.Resampling.BILINEAR)
        assert np.abs(image.astype(int) - np.asarray(whole)).mean() < 2
    drafted = []
    pillow = heavy_libraries.pillow()
    usual = pillow.Image.resize
    monkeypatch.setattr(
        pillow.Image,
        "resize",
        lambda self, *rest, **more: drafted.append(self.size) or usual(self, *rest, **more),
    )
    from_directory(tmp_path, 16)
    assert set(drafted) == {(120, 80)}
