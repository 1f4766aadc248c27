"""Pairs: every one fits together, and becomes a Distiller in one line."""

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.data.catalog import DATASETS
from kdzoo.zoo import Pair, pairs
from kdzoo.zoo.manifest import read_manifest


@pytest.mark.parametrize("name", kdzoo.list_pairs())
def test_every_pair_names_what_there_is(name):
    found = kdzoo.pair(name)
    assert found.name == name
    student = kdzoo.zoo.architecture(found.student)
    assert student.name in kdzoo.list_models()
    if found.teacher.startswith("keras.applications."):
        build = found.teacher.rpartition(".")[2]
        module = getattr(keras.applications, found.teacher_module)
        assert getattr(module, build) is getattr(keras.applications, build)
    else:
        architecture, _, dataset = found.teacher.partition("/")
        assert architecture in kdzoo.list_models()
        assert dataset == found.dataset
        assert dataset in DATASETS
    made = [type(loss).__name__ for loss in found.make_losses()]
    assert made == [name for name, _, _ in found.losses]


SHIPPED = [name for name in kdzoo.list_pairs() if kdzoo.pair(name).teacher in read_manifest()]


@pytest.mark.tensorflow  # The same operations of Keras; JAX compiles each for long.
@pytest.mark.parametrize("name", SHIPPED)
def test_a_distiller_in_one_line(name):
    found = kdzoo.pair(name)
    distiller = found.distiller()
    assert distiller.teacher.name == found.teacher.partition("/")[0]
    assert distiller.student.name == found.student
    assert distiller.student.output_shape == (None, found.classes)
    assert distiller.student_loss_weight == found.student_loss_weight
    if name != SHIPPED[0]:  # One trains a step for all.
        return
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).random((2, *found.input_shape), "float32")
    logs = distiller.train_on_batch(images, np.array([0, 1]), return_dict=True)
    assert np.isfinite(float(logs["loss"]))


@pytest.mark.large_on_jax
def test_teachers_of_keras_applications_see_what_they_were_trained_on(monkeypatch):
    def teacher(classifier_activation):
        assert classifier_activation is None
        inputs = keras.Input((32, 32, 3))
        x = keras.layers.GlobalAveragePooling2D()(inputs)
        return keras.Model(inputs, keras.layers.Dense(4)(x))

    monkeypatch.setattr(keras.applications, "ResNet50", teacher)
    made = Pair(
        "x", "keras.applications.ResNet50", "separable_025", "x", 4, (32, 32, 3),
        teacher_module="resnet", losses=(("SoftTargets", {"temperature": 2.0}, 0.25),),
    )  # fmt: skip
    transform = made.teacher_transform()
    images = np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    expected = keras.applications.resnet.preprocess_input(255 * images)
    np.testing.assert_allclose(transform(images), expected, rtol=1e-6, atol=1e-4)
    distiller = made.distiller()
    np.testing.assert_array_equal(distiller.teacher_transform(images), transform(images))
    assert distiller.distillation_loss_weights == (0.25,)
    assert distiller.distillation_losses[0].temperature == 2.0
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(float(distiller.train_on_batch(images, np.array([0, 1]))[0]))
    # Another teacher may need another preprocessing, or none.
    mine = distiller.teacher
    with pytest.raises(ValueError, match="Expected `teacher_transform` beside `teacher`"):
        made.distiller(mine)
    assert made.distiller(mine, teacher_transform=None).teacher_transform is None


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "first_value"),
    [
        # What keras.applications documents: pixels up to 255; in BGR, less ImageNet's mean.
        ("imagenet2012_separable_050", lambda image: 255 * image[..., 0]),
        ("imagenet2012_separable_100", lambda image: 255 * image[..., 2] - 103.939),
    ],
)
def test_the_pairs_for_imagenet_train_and_are_exported(name, first_value, tmp_path, monkeypatch):
    """Fresh weights stand in for those that Keras would download."""
    found = kdzoo.pair(name)
    architecture = found.teacher.rpartition(".")[2]
    build = getattr(keras.applications, architecture)
    monkeypatch.setattr(
        keras.applications, architecture, lambda **settings: build(weights=None, **settings)
    )
    distiller = found.distiller()
    images = np.random.default_rng(0).random((2, 224, 224, 3), "float32")
    seen = keras.ops.convert_to_numpy(distiller.teacher_transform(images))
    np.testing.assert_allclose(seen[..., 0], first_value(images), atol=1e-3)
    logits = keras.ops.convert_to_numpy(distiller.teacher(seen))
    assert logits.shape == (2, 1000)
    assert (logits < 0).any()  # No softmax is left.
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    logs = distiller.train_on_batch(images, np.array([0, 999]), return_dict=True)
    assert np.isfinite(float(logs["loss"]))
    if keras.backend.backend() == "tensorflow":
        report = kdzoo.export.to_litert(distiller.student, tmp_path / "s.tflite", None, images)
        assert report.argmax_agreement == 1.0


def test_taps_of_losses_on_layers():
    made = Pair(
        "x", "a", "b", "c", 2, (8, 8, 1),
        losses=(
            ("AttentionTransfer", {"teacher_layer": "stage2", "student_layer": "stage1"}, 1.0),
            ("SoftTargets", {}, 1.0),
        ),
    )  # fmt: skip
    assert ("stage2", "stage1") in made.taps


def test_other_losses_come_with_their_own_weights():
    found = kdzoo.pair("mnist_mlp_2x800")
    losses = [kdzoo.losses.SoftTargets(2.0), kdzoo.losses.LogitRegression()]
    distiller = found.distiller(distillation_losses=losses, student_loss_weight=0.3)
    assert len(distiller.distillation_losses) == 2
    assert distiller.student_loss_weight == 0.3


def test_a_teacher_that_does_not_ship(monkeypatch):
    monkeypatch.setattr(pairs, "read_manifest", dict)
    with pytest.raises(ValueError, match="does not ship it yet; pass `teacher=`"):
        kdzoo.pair("mnist_mlp_2x800").distiller()


@pytest.mark.parametrize("name", ["imagenet2012_separable_050", "cifar10_separable_025"])
def test_students_fit_their_images(name):
    found = kdzoo.pair(name)
    student = found.create_student()
    assert student.input_shape[1:] == found.input_shape
    assert student.output_shape == (None, found.classes)


def test_pairs_are_not_shared():
    found = kdzoo.pair("mnist_separable_025")
    found.losses[0][1]["temperature"] = 99
    found.arguments["halvings"] = 9
    again = kdzoo.pair("mnist_separable_025")
    assert again.losses[0][1]["temperature"] == 4.0
    assert again.arguments == {"halvings": 1}


@pytest.mark.parametrize("wrong", [["cifar10"], 3])
def test_filters_that_are_no_names(wrong):
    for list_names in (
        kdzoo.list_pairs,
        kdzoo.list_models,
        kdzoo.list_pretrained,
        lambda family: kdzoo.list_pretrained(family=family),
    ):
        with pytest.raises(ValueError, match=r"Unknown (data set|family)"):
            list_names(wrong)


def test_a_misspelt_pair():
    with pytest.raises(ValueError, match="Did you mean 'mnist_mlp_2x800'"):
        kdzoo.pair("mnist_mlp_2x80")
    with pytest.raises(ValueError, match="Did you mean 'cifar10'"):
        kdzoo.list_pairs("cifar01")
    students = ["separable_025", "separable_050", "separable_100", "fitnet_1", "wide_resnet_16_1"]
    assert kdzoo.list_pairs("cifar10") == [f"cifar10_{student}" for student in students]
