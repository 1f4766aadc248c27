"""A recorded teacher teaches as the live one does, and no other record is taken for it."""

import contextlib
import json

import keras
import numpy as np
import pytest

import kdzoo
import kdzoo.data
from kdzoo.data import Augmentation, record_teacher, with_recorded_teacher
from kdzoo.teacher_cache import record, record_shards, recording

AUGMENTATION = Augmentation(shift=1, flip=True)


@pytest.fixture(scope="module")
def split():
    images = np.random.default_rng(0).integers(0, 256, (100, 6, 6, 2)).astype("uint8")
    return kdzoo.data.from_arrays(images, np.arange(100) % 5, validation=0).train


@pytest.fixture
def net():
    def make(seed, width=6):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((6, 6, 2))
        x = keras.layers.Conv2D(width, 3, name="conv")(inputs)
        x = keras.layers.BatchNormalization(name="stage1")(x)
        x = keras.layers.GlobalAveragePooling2D(name="features")(x)
        return keras.Model(inputs, keras.layers.Dense(5, name="logits")(x), name="net")

    return make


def as_seen(split, view, seed=7):
    images = AUGMENTATION(split.images, np.arange(len(split)), seed, view)
    return images.astype("float32") / 255


def batches_of(batches):
    """Every batch's images, labels and teacher outputs, in the order of the stream."""
    return [keras.tree.map_structure(np.asarray, (images, targets)) for images, targets in batches]


@pytest.mark.parametrize("layers", [(), ("conv", "features")])
@pytest.mark.parametrize("large", [False, True])
def test_outputs_are_those_of_the_images_they_come_with(
    layers, large, split, net, tmp_path, monkeypatch
):
    """Read a view at a time or record by record, from several files."""
    monkeypatch.setattr(recording, "samples_a_shard", lambda fields: 32)
    for module in (record, record_shards):
        monkeypatch.setattr(module, "SMALL_RECORD", 0 if large else 1 << 20)
    teacher = net(0)
    record_teacher(
        teacher,
        split,
        tmp_path,
        views=3,
        layers=layers,
        augmentation=AUGMENTATION,
        seed=7,
        dtype="float32",
        batch_size=24,
    )
    assert len(list(tmp_path.glob("*.arrayrecord"))) == 3 * 4
    taught = with_recorded_teacher(split, tmp_path, teacher)
    assert (len(taught), taught.views) == (100, 3)
    batches = taught.batches(32, shuffle=True, seed=1, indices=True, initial_epoch=1)
    for epoch in (1, 2, 3, 4):
        images_seen, seen = as_seen(split, epoch % 3), []
        expected = {"logits": keras.ops.convert_to_numpy(teacher(images_seen, training=False))}
        for path in layers:
            part = keras.Model(teacher.input, teacher.get_layer(path).output)
            expected[path] = keras.ops.convert_to_numpy(part(images_seen, training=False))
        for images, targets in batches_of(batches):
            index = targets["index"]
            np.testing.assert_array_equal(images, images_seen[index])
            np.testing.assert_array_equal(targets["label"], split.labels[index])
            outputs = targets["teacher"] if layers else {"logits": targets["teacher"]}
            assert set(outputs) == set(expected)
            for name, array in outputs.items():
                np.testing.assert_allclose(array, expected[name][index], rtol=1e-5, atol=1e-6)
            seen += list(index)
        assert sorted(seen) == list(range(100))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("float32", 1e-5)])
def test_students_learn_as_from_the_live_teacher(dtype, tolerance, split, net, tmp_path):
    """From logits of about 10, as trained teachers give them, and from a layer."""
    teacher = net(0, 12)
    logits = teacher.get_layer("logits")
    logits.kernel.assign(30 * logits.kernel)
    assert np.abs(teacher(split.arrays()[0])).max() > 8
    settings = {"views": 2, "augmentation": AUGMENTATION, "dtype": dtype, "layers": "conv"}
    record_teacher(teacher, split, tmp_path, **settings)
    histories = []
    for live in (True, False):
        student = net(1)
        keras.utils.set_random_seed(2)  # Of the hint's own weights.
        losses = [kdzoo.losses.SoftTargets(2.0), kdzoo.losses.Hint("conv", "conv")]
        distiller = kdzoo.Distiller(teacher if live else None, student, losses)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        distiller.compile(keras.optimizers.SGD(0.003, momentum=0.9), loss)
        some = with_recorded_teacher(split, tmp_path).batches(25)
        distiller.prepare(*batches_of(some)[0])
        values = []
        for epoch in range(4):
            if live:
                # The same order and the same view of the images.
                batches = with_recorded_teacher(split, tmp_path)
                batches = batches.batches(25, shuffle=True, seed=3, initial_epoch=epoch)
                batches = [(x, y["label"]) for x, y in batches_of(batches)]
            else:
                batches = with_recorded_teacher(split, tmp_path, teacher)
                batches = batches_of(batches.batches(25, True, seed=3, initial_epoch=epoch))
            for x, y in batches:
                logs = distiller.train_on_batch(x, y, return_dict=True)
                values.append(float(logs["loss"]))
                distiller.reset_metrics()
        histories.append(values)
    np.testing.assert_allclose(histories[1], histories[0], rtol=0, atol=tolerance)
    # It learns: an epoch is four batches.
    assert np.mean(histories[0][-4:]) < np.mean(histories[0][:4]) - 0.01


def test_of_many_classes_the_largest_are_enough(split, net, tmp_path):
    teacher = net(0)
    record_teacher(teacher, split, tmp_path, top_k=2, dtype="float32")
    (_, targets) = batches_of(with_recorded_teacher(split, tmp_path).batches(100))[0]
    logits = keras.ops.convert_to_numpy(teacher(split.arrays()[0], training=False))
    found = targets["teacher"]
    order = np.argsort(-logits, -1)
    for row, kept, true in zip(order, found, logits, strict=True):
        np.testing.assert_allclose(kept[row[:2]], true[row[:2]], rtol=1e-5)
        assert len(np.unique(kept[row[2:]])) == 1
        np.testing.assert_allclose(np.exp(kept).sum(), np.exp(true).sum(), rtol=1e-5)


def test_a_record_that_was_broken_off_is_gone_on_with(split, net, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "samples_a_shard", lambda fields: 20)
    teacher, whole, part = net(0), tmp_path / "whole", tmp_path / "part"
    settings = {"views": 2, "augmentation": AUGMENTATION, "batch_size": 20}
    record_teacher(teacher, split, whole, **settings)
    usual, written = recording.write_shard, []

    def breaking(path, records):
        if len(written) == 4:
            raise KeyboardInterrupt
        usual(path, records)
        written.append(path.name)

    monkeypatch.setattr(recording, "write_shard", breaking)
    with pytest.raises(KeyboardInterrupt):
        record_teacher(teacher, split, part, **settings)
    with pytest.raises(ValueError, match="which was broken off; call `record_teacher` again"):
        with_recorded_teacher(split, part)
    monkeypatch.setattr(recording, "write_shard", lambda path, records: usual(path, records))
    before = {path.name: path.stat().st_mtime_ns for path in part.glob("*.arrayrecord")}
    assert len(before) == 4
    record_teacher(teacher, split, part, **{**settings, "batch_size": 7})
    for name, time in before.items():
        assert (part / name).stat().st_mtime_ns == time
    # The same shards, but for the last bit of outputs that were computed in other batches.
    shards = [
        json.loads((directory / "index.json").read_text())["shards"] for directory in (whole, part)
    ]
    for of_record in shards:
        for shard in of_record.values():
            del shard["sha256"]
    assert shards[0] == shards[1]
    taken = [
        batches_of(with_recorded_teacher(split, directory).batches(100))
        for directory in (whole, part)
    ]
    for (_, one), (_, other) in zip(*taken, strict=True):
        np.testing.assert_allclose(one["teacher"], other["teacher"], rtol=2e-3)
    # A shard that is lost later is predicted again.
    lost = next(part.glob("*.arrayrecord"))
    lost.unlink()
    record_teacher(teacher, split, part, **settings)
    with_recorded_teacher(split, part, teacher)


def test_more_views_are_added_to_a_record(split, net, tmp_path):
    """What there is stays, and the whole is what is recorded at once."""
    teacher, grown, whole = net(0), tmp_path / "grown", tmp_path / "whole"
    settings = {"augmentation": AUGMENTATION}
    record_teacher(teacher, split, grown, 2, **settings)
    before = {path: path.stat().st_mtime_ns for path in grown.glob("*.arrayrecord")}
    record_teacher(teacher, split, grown, 3, **settings)
    record_teacher(teacher, split, whole, 3, **settings)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert with_recorded_teacher(split, grown).views == 3
    for epoch in range(3):
        ours, theirs = (
            batches_of(with_recorded_teacher(split, directory).batches(100, initial_epoch=epoch))
            for directory in (grown, whole)
        )
        for (_, one), (_, other) in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one["teacher"], other["teacher"])


def test_a_complete_record_is_left_alone(split, net, tmp_path):
    teacher = net(0)
    settings = {"top_k": np.int64(2), "seed": np.int64(3), "layers": "conv"}
    augmentation = Augmentation(shift=np.int64(1))
    record_teacher(teacher, split, tmp_path, augmentation=augmentation, **settings)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    record_teacher(teacher, split, tmp_path, augmentation=augmentation, **settings)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_the_teacher_in_half_precision_is_the_same_one(split, net, tmp_path):
    """A process may have another policy, too: it is not the teacher's."""
    teacher = net(0)
    record_teacher(teacher, split, tmp_path / "usual", dtype="float32")
    usual = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        record_teacher(teacher, split, tmp_path / "policy", dtype="float32")
        half = net(0)
    finally:
        keras.config.set_dtype_policy(usual)
    assert half.get_layer("conv").compute_dtype == "bfloat16"
    found = [
        batches_of(with_recorded_teacher(split, tmp_path / directory, half).batches(100))[0][1]
        for directory in ("usual", "policy")
    ]
    np.testing.assert_allclose(found[0]["teacher"], found[1]["teacher"], rtol=1e-6)


@pytest.fixture
def beside_another(split, net, tmp_path, monkeypatch):
    """The errors of a second recording, which begins while the first writes; they come up here."""
    monkeypatch.setattr(recording, "samples_a_shard", lambda fields: 50)
    usual, errors = recording.write_shard, []

    def write(path, records):
        usual(path, records)
        monkeypatch.setattr(recording, "write_shard", usual)
        try:
            record_teacher(net(0), split, tmp_path)
        except ValueError as error:
            errors.append(str(error))

    monkeypatch.setattr(recording, "write_shard", write)
    return errors


def test_two_processes_do_not_mix_their_records(beside_another, split, net, tmp_path):
    pytest.importorskip("fcntl")
    record_teacher(net(0), split, tmp_path)
    [error] = beside_another
    assert "in which another process works" in error
    with_recorded_teacher(split, tmp_path, net(0))


def test_nor_do_they_where_there_are_no_locks(beside_another, split, net, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "one_process", contextlib.nullcontext)
    with pytest.raises(ValueError, match="no other process to record into"):
        record_teacher(net(0), split, tmp_path)
    assert not beside_another
    with_recorded_teacher(split, tmp_path, net(0))


def test_an_augmentation_of_another_class_is_refused(split, net, tmp_path):
    """Read from a record it would be another: what it does is not written there."""

    class Inverted(Augmentation):
        def __call__(self, images, *arguments):
            return 255 - super().__call__(images, *arguments)

    for augmentation in (Inverted(shift=1), Inverted()):
        with pytest.raises(ValueError, match=r"of kdzoo's own class.*Inverted"):
            record_teacher(net(0), split, tmp_path / "new", augmentation=augmentation)
    assert not (tmp_path / "new").exists()


def test_a_record_whose_growth_was_broken_off_says_how_many_views(
    split, net, tmp_path, monkeypatch
):
    settings = {"augmentation": AUGMENTATION}
    record_teacher(net(0), split, tmp_path, views=2, **settings)
    usual = recording.write_shard

    def killed(path, records):
        if "view-0003" in path.name:
            raise KeyboardInterrupt
        usual(path, records)

    monkeypatch.setattr(recording, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        record_teacher(net(0), split, tmp_path, views=6, **settings)
    with pytest.raises(ValueError, match="`record_teacher` again, for 6 views"):
        with_recorded_teacher(split, tmp_path)
    with pytest.raises(ValueError, match="a record of 6 views; record as many"):
        record_teacher(net(0), split, tmp_path, views=2, **settings)


def test_layers_are_handed_out_as_they_are_wanted(split, net, tmp_path):
    teacher = net(0)
    record_teacher(teacher, split, tmp_path, top_k=2, layers=["conv", "features"])
    read = with_recorded_teacher(split, tmp_path)
    outputs = {
        layers: batches_of(read.batches(100, layers=layers))[0][1]["teacher"]
        for layers in (None, (), ("features",))
    }
    assert set(outputs[None]) == {"logits", "conv", "features"}
    assert set(outputs["features",]) == {"logits", "features"}
    np.testing.assert_array_equal(outputs[()], outputs[None]["logits"])
    for layers in ("features", iter(["features"])):
        one = batches_of(read.batches(100, layers=layers))[0][1]["teacher"]
        assert set(one) == {"logits", "features"}
    with pytest.raises(ValueError, match="Did you mean 'features'"):
        read.batches(100, layers=["feature"])
    with pytest.raises(ValueError, match=r"paths of layers\. Received: layers=5"):
        read.batches(100, layers=5)
    # A loss on logits alone takes them from among the layers.
    losses = []
    for layers in (None, ()):
        distiller = kdzoo.Distiller(None, net(1), kdzoo.losses.SoftTargets(2.0))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        distiller.compile("sgd", loss)
        ((x, y),) = batches_of(read.batches(100, layers=layers))
        losses.append(float(distiller.train_on_batch(x, y, return_dict=True)["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_layers_that_cannot_be_recorded(split, net, tmp_path):
    """One named "logits" that is no output would take the place of the teacher's outputs."""
    inputs = keras.Input(split.images.shape[1:])
    inner = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(inputs))
    teacher = keras.Model(inputs, keras.layers.Rescaling(10.0, name="scaled")(inner))
    for layers, message in (
        (["scaled", "logits"], "besides 'logits', a name under which"),
        (["scale"], "Did you mean 'scaled'"),
        ([1], "Received: 1"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            record_teacher(teacher, split, tmp_path / "new", layers=layers)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()
    record_teacher(teacher, split, tmp_path, layers=["scaled", "scaled"], dtype="float32")
    outputs = batches_of(with_recorded_teacher(split, tmp_path).batches(100))[0][1]["teacher"]
    np.testing.assert_array_equal(outputs["logits"], outputs["scaled"])


@pytest.mark.parametrize("content", ['{"my": "site"}', "<html>"])
def test_a_directory_of_somebody_else_is_not_recommended_for_deletion(
    split, net, tmp_path, content
):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(ValueError, match="into another directory") as error:
        record_teacher(net(0), split, tmp_path)
    assert "delete" not in str(error.value)


def test_another_record_is_refused(split, net, tmp_path):
    teacher = net(0)
    settings = {"views": 2, "augmentation": AUGMENTATION}
    record_teacher(teacher, split, tmp_path, **settings)
    other = kdzoo.data.from_arrays(split.images[::-1].copy(), split.labels, validation=0).train
    again, kind = {"views": 2, "augmentation": AUGMENTATION}, "another type or of other layers"
    for complaint, arguments in {
        "another teacher": (net(1), split, tmp_path, again),
        "another data set": (teacher, other, tmp_path, again),
        "another augmentation": (teacher, split, tmp_path, {**again, "augmentation": "default"}),
        "2 views; record as many": (
            teacher,
            split,
            tmp_path,
            {**again, "views": 1},
        ),
        "another seed": (teacher, split, tmp_path, {**again, "seed": 1}),
        kind: (teacher, split, tmp_path, {**again, "layers": ["conv"]}),
        "another top_k": (teacher, split, tmp_path, {**again, "top_k": 2}),
    }.items():
        *positional, keywords = arguments
        if keywords.get("augmentation") == "default":
            keywords["augmentation"] = Augmentation(shift=2)
        with pytest.raises(ValueError, match=complaint):
            record_teacher(*positional, **keywords)
    brighter = kdzoo.data.Split(split.images, split.labels, scale=100)
    relabelled = kdzoo.data.Split(split.images, split.labels[::-1])
    flat = kdzoo.data.Split(split.images.reshape(len(split), 6, 12, 1), split.labels)
    for wrong in (other, brighter, relabelled, flat):
        with pytest.raises(ValueError, match="record of this data set"):
            with_recorded_teacher(wrong, tmp_path)
    with pytest.raises(ValueError, match="record of this teacher"):
        with_recorded_teacher(split, tmp_path, net(1))
    with pytest.raises(FileNotFoundError, match="record of a teacher"):
        with_recorded_teacher(split, tmp_path / "nowhere")


def test_a_record_is_of_one_precision(split, net, tmp_path):
    settings = {"augmentation": AUGMENTATION, "dtype": "float32"}
    teacher = net(0)
    record_teacher(teacher, split, tmp_path, views=1, **settings)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = net(0)
    half.set_weights(teacher.get_weights())
    keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="a record of another precision of the teacher"):
        record_teacher(half, split, tmp_path, views=2, **settings)
    record_teacher(teacher, split, tmp_path, views=2, **settings)
    assert with_recorded_teacher(split, tmp_path, half).views == 2  # It is the same teacher.


@pytest.mark.parametrize(
    ("transform", "complaint"),
    [
        (5, "teacher_transform to be a function"),
        (lambda images: images[:1], "an image that teacher_transform gives for each of 4 images"),
        (lambda images: np.concatenate([images, images]), r"for each of 1 images.*\(2, 6, 6, 2\)"),
        (lambda images: images.mean(), r"for each of 1 images.*shape \(\)"),
    ],
)
def test_each_image_has_its_output(transform, complaint, split, net, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        record_teacher(net(0), split, tmp_path / "new", teacher_transform=transform)
    assert not (tmp_path / "new").exists()


def test_layers_have_something_for_each_image(split, tmp_path):
    inputs = keras.Input((6, 6, 2))
    of_all = keras.layers.Lambda(lambda x: keras.ops.mean(x, 0, keepdims=True), name="of_all")
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Subtract()([x, of_all(x)])
    teacher = keras.Model(inputs, keras.layers.Dense(5)(x))
    with pytest.raises(ValueError, match=r"in 'of_all' for each of 4 images.*\(1, 72\)"):
        record_teacher(teacher, split, tmp_path / "new", layers="of_all")
    assert not (tmp_path / "new").exists()


def test_teachers_of_the_same_weights_are_told_apart(split, net, tmp_path):
    teacher = net(0)
    record_teacher(teacher, split, tmp_path)
    for other, transform in (
        (teacher, lambda images: 1 - images),
        (keras.models.clone_model(teacher, clone_function=_with_relu), None),
    ):
        other.set_weights(teacher.get_weights())
        with pytest.raises(ValueError, match="a record of another teacher"):
            record_teacher(other, split, tmp_path, teacher_transform=transform)
        with pytest.raises(ValueError, match="Expected the record of this teacher"):
            with_recorded_teacher(split, tmp_path, other, transform)
    transformed = tmp_path / "transformed"
    record_teacher(teacher, split, transformed, teacher_transform=lambda images: 1 - images)
    with_recorded_teacher(split, transformed, teacher, lambda images: 1 - images)


def _with_relu(layer):
    change = {"activation": "relu"} if layer.name == "conv" else {}
    return type(layer).from_config({**layer.get_config(), **change})


@pytest.mark.parametrize("damage", ["altered", "truncated", "missing"])
def test_damaged_files_are_refused(damage, split, net, tmp_path):
    record_teacher(net(0), split, tmp_path)
    (path,) = tmp_path.glob("*.arrayrecord")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content if damage == "altered" else content[:-1])
    with pytest.raises(ValueError, match="missing or altered"):
        with_recorded_teacher(split, tmp_path)
    # What is no longer as it was is predicted again.
    record_teacher(net(0), split, tmp_path)
    assert with_recorded_teacher(split, tmp_path).views == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "to be the index of a record"),
        (b"{", "to be the index of a record"),
        (b"[]", "to be the index of a record"),
        (b"\xff\xfe\x00", "to be the index of a record"),
        (b'{"format": 2}', "that was altered"),
        (None, "that was altered"),
    ],
)
def test_a_damaged_index_is_refused(content, complaint, split, net, tmp_path):
    record_teacher(net(0), split, tmp_path)
    path = tmp_path / "index.json"
    changed = path.read_bytes().replace(b'"seed": 0', b'"seed": 1')
    path.write_bytes(changed if content is None else content)
    for use in (
        lambda: with_recorded_teacher(split, tmp_path),
        lambda: record_teacher(net(0), split, tmp_path),
    ):
        with pytest.raises(ValueError, match=complaint):
            use()


def test_a_newer_format_is_refused(split, net, tmp_path):
    record_teacher(net(0), split, tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**index, "format": 3}))
    with pytest.raises(ValueError, match="in format 3; record again"):
        with_recorded_teacher(split, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"views": 2}, "one view of images that are not augmented"),
        ({"views": 0}, "views"),
        ({"top_k": 5}, "below the number of classes, 5"),
        ({"dtype": "float64"}, "Unknown dtype: 'float64'"),
        ({"layers": ["cnov"]}, "Did you mean 'conv'"),
        ({"layers": "cnov"}, "Did you mean 'conv'"),
        ({"layers": 5}, "paths of layers. Received: layers=5"),
        ({"augmentation": "usual"}, "'default' or None"),
        ({"seed": 1.5}, r"seed to be an integer. Received: seed=1\.5"),
        ({"teacher": "wide_resnet_16_4/cifar10"}, r"`kdzoo\.load\(name\)`.*'wide_resnet_16_4"),
    ],
)
def test_bad_arguments_are_refused(arguments, complaint, split, net, tmp_path):
    arguments = {"teacher": net(0), **arguments}
    with pytest.raises(ValueError, match=complaint):
        record_teacher(data=split, directory=tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_teachers_and_data_of_another_kind_are_refused(split, net, tmp_path):
    teacher = net(0)
    sure = keras.Sequential([keras.Input((6, 6, 2)), teacher, keras.layers.Softmax()])
    with pytest.raises(ValueError, match=r"probabilities.*kdzoo.as_logits\(teacher\)"):
        record_teacher(sure, split, tmp_path / "new")
    two = keras.Model(teacher.input, [teacher.output, teacher.get_layer("conv").output])
    with pytest.raises(ValueError, match="a teacher with one output"):
        record_teacher(two, split, tmp_path / "new")
    larger = keras.Sequential([keras.Input((8, None, 2)), keras.layers.Flatten()])
    said = r"images of \(6, 6, 2\), or a teacher_transform .*for \(8, None, 2\)"
    with pytest.raises(ValueError, match=said):
        record_teacher(larger, split, tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"Expected a directory\. Received: .*, a file"):
        record_teacher(teacher, split, tmp_path / "file")
    record_teacher(teacher, split, tmp_path / "right")
    with pytest.raises(ValueError, match=r"kdzoo\.load\(name\)"):
        with_recorded_teacher(split, tmp_path / "right", "wide_resnet_16_4/cifar10")
    whole = kdzoo.data.from_arrays(split.images, split.labels, validation=0)
    for use in (record_teacher, lambda _, *rest: with_recorded_teacher(*rest)):
        with pytest.raises(ValueError, match=r"e\.g\. `data\.train`.*type Dataset"):
            use(teacher, whole, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_outputs_too_large_for_half_precision_are_refused(split, net, tmp_path):
    teacher = net(0)
    teacher.get_layer("logits").bias.assign([1e5, 0, 0, 0, 0])
    with pytest.raises(ValueError, match=r"float16 can hold. Received: 1000.*record in float32"):
        record_teacher(teacher, split, tmp_path)
    record_teacher(teacher, split, tmp_path, dtype="float32")


def test_what_outputs_mean_decides_what_is_recorded(split, tmp_path):
    def ending(units, activation):
        start = [keras.Input((6, 6, 2)), keras.layers.Flatten()]
        return keras.Sequential([*start, keras.layers.Dense(units, activation)])

    with pytest.raises(ValueError, match=r"ends in a sigmoid; pass `kdzoo.as_logits\(teacher\)`"):
        record_teacher(ending(1, "sigmoid"), split, tmp_path / "new")
    answers = kdzoo.as_logits(ending(3, "sigmoid"))
    with pytest.raises(ValueError, match=r"Expected top_k=None.*of the type 'binary'"):
        record_teacher(answers, split, tmp_path / "new", top_k=1)
    assert not (tmp_path / "new").exists()
    numbers = ending(1, "sigmoid")
    record_teacher(numbers, split, tmp_path, dtype="float32", output_type="numbers")
    batches = with_recorded_teacher(split, tmp_path).batches(100)
    recorded = batches_of(batches)[0][1]["teacher"]
    images = split.arrays()[0]
    np.testing.assert_allclose(recorded, numbers.predict(images, verbose=0), rtol=1e-4)
    # The loss that the teacher was compiled with tells too, and its one output may have a name.
    numbers.compile(loss="mse")
    record_teacher(numbers, split, tmp_path / "told", dtype="float32")
    named = keras.Model(numbers.inputs, {"output_0": numbers.outputs[0]})
    record_teacher(named, split, tmp_path / "named", dtype="float32", output_type="numbers")
    for name in ("told", "named"):
        found = with_recorded_teacher(split, tmp_path / name).batches(100)
        np.testing.assert_array_equal(batches_of(found)[0][1]["teacher"], recorded)
