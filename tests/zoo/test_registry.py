"""Names and what they stand for: listed without Keras, never overwritten, errors that help."""

import dataclasses
import re

import keras
import pytest

from kdzoo import zoo
from kdzoo.zoo import registry


@pytest.fixture
def own_registry(monkeypatch):
    """A copy of the registry, so that what a test registers is gone after it."""
    monkeypatch.setattr(registry, "_ARCHITECTURES", dict(registry._ARCHITECTURES))


def tiny(classes, input_shape=(8, 8, 1), units=4, name=None):
    inputs = keras.Input(input_shape)
    x = keras.layers.Dense(units)(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x), name=name)


def test_what_is_listed_is_not_shared(own_registry):
    zoo.architecture("separable_025").arguments["width"] = 0.5
    assert zoo.architecture("separable_025").arguments["width"] == 0.25
    arguments = {"units": [3]}
    zoo.register("tiny", tiny, arguments)
    arguments["units"].append(4)
    assert zoo.architecture("tiny").arguments == {"units": [3]}


@pytest.mark.parametrize("given", ["classes", "name"])
def test_what_create_gives_is_no_argument_of_an_architecture(given, own_registry):
    with pytest.raises(ValueError, match=f"without '{given}', which `create` passes"):
        zoo.register("tiny", tiny, {given: 5})
    assert "tiny" not in zoo.list_models()


def test_list_models_by_family():
    assert zoo.list_models("separable") == [
        "separable_025",
        "separable_050",
        "separable_075",
        "separable_100",
    ]
    assert zoo.list_models("wide_resnet") == [
        "wide_resnet_16_1",
        "wide_resnet_16_2",
        "wide_resnet_16_4",
        "wide_resnet_40_1",
        "wide_resnet_40_2",
    ]
    assert {"mlp_2x128", "mlp_2x800", "mlp_2x1200"} <= set(zoo.list_models("mlp"))
    assert zoo.list_models("resnet") == [f"resnet_{depth}" for depth in (20, 32, 44, 56, 110)]
    assert zoo.list_models("airbench") == ["airbench_94"]
    assert zoo.list_models("fitnet") == ["fitnet_1", "fitnet_2", "fitnet_3", "fitnet_4"]
    assert zoo.list_models("maxout") == ["maxout_mnist", "maxout_cifar"]
    assert zoo.list_models("vgg") == ["vgg_8", "vgg_13"]
    assert zoo.list_models("plain_cnn") == [f"plain_cnn_{count}" for count in (2, 4, 6, 8, 10)]
    assert zoo.list_models("shallow") == ["shallow_4000", "shallow_30000"]
    assert zoo.list_models("lenet") == ["lenet_300_100", "lenet_5"]
    families = (
        "separable",
        "wide_resnet",
        "resnet",
        "vgg",
        "plain_cnn",
        "airbench",
        "fitnet_mnist",
        "fitnet",
        "maxout",
    )
    families = (*families, "shallow", "mlp", "lenet")
    assert zoo.list_models() == [name for family in families for name in zoo.list_models(family)]


@pytest.mark.parametrize("name", zoo.list_models())
def test_every_row_is_complete(name):
    row = zoo.architecture(name)
    assert row.name == name
    assert name.startswith(row.family)
    assert re.fullmatch(r"[^\n]{10,100}\.", row.description)
    assert re.search(r"\d{4}, arXiv:\d{4}\.\d{4,5}$", row.paper)
    assert callable(row.load_builder())
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.name = "other"


def test_create_passes_everything_on():
    model = zoo.create("separable_025", classes=7, input_shape=(28, 28, 1), dropout=0.3)
    assert model.name == "separable_025"
    assert model.input_shape == (None, 28, 28, 1)
    assert model.output_shape == (None, 7)
    assert model.get_layer("dropout").rate == 0.3


def test_create_with_family_defaults():
    assert zoo.create("mlp_2x64").input_shape == (None, 28, 28, 1)
    assert zoo.create("separable_025").input_shape == (None, 32, 32, 3)
    assert zoo.create("maxout_mnist").input_shape == (None, 28, 28, 1)
    assert zoo.create("maxout_cifar").input_shape == (None, 32, 32, 3)
    assert zoo.create("maxout_cifar", input_shape=(8, 8, 1)).input_shape == (None, 8, 8, 1)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(
        ValueError, match=r"Unknown model: 'separable_50'. Did you mean 'separable_050'"
    ):
        zoo.create("separable_50")
    with pytest.raises(ValueError, match=r"Unknown family: 'seperable'. Did you mean 'separable'"):
        zoo.list_models("seperable")
    with pytest.raises(ValueError, match=r"Unknown model: 'zzz'. There are \d+, among them: "):
        zoo.architecture("zzz")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cifar10_separable_050", "separable_050/cifar10"),
        ("cifar10/separable_050", "separable_050/cifar10"),
        ("separable_05/cifar10", "separable_050/cifar10"),
    ],
)
def test_of_names_that_are_as_near_the_one_with_the_same_parts_is_suggested(name, nearest):
    with pytest.raises(ValueError, match=f"Did you mean '{nearest}'"):
        zoo.load(name)


@pytest.mark.parametrize(
    ("builder", "complaint"),
    [
        (lambda **_: None, "of 'odd' to return a keras.Model. Received: a NoneType"),
        ("nowhere.models:net", "of 'odd' to exist. Received: 'nowhere.models:net': No module"),
        ("kdzoo.models:nett", "of 'odd' to exist. Received: 'kdzoo.models:nett': module"),
    ],
)
def test_a_builder_that_builds_nothing_is_named(own_registry, builder, complaint):
    zoo.register("odd", builder)
    with pytest.raises(ValueError, match=f"Expected the builder {complaint}"):
        zoo.create("odd")


def test_what_a_builder_misses_is_not_taken_for_the_builder(own_registry, tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    zoo.register("odd", "half_there:net")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        zoo.create("odd")


def test_register_refuses_arguments_without_names(own_registry):
    with pytest.raises(ValueError, match="Expected arguments to be a dictionary"):
        zoo.register("odd", tiny, [1])


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="widht"):
        zoo.create("separable_050", widht=0.3)


def test_register_a_function(own_registry):
    zoo.register("tiny_8", tiny, {"units": 8}, "A test.")
    assert zoo.list_models("tiny") == ["tiny_8"]
    model = zoo.create("tiny_8", classes=3)
    assert (model.name, model.output_shape) == ("tiny_8", (None, 3))
    assert zoo.create("tiny_8", units=2).layers[-2].units == 2


def test_register_a_path(own_registry):
    zoo.register("mlp_3x32", "kdzoo.models.mlp:mlp", {"hidden": (32, 32, 32)})
    assert zoo.create("mlp_3x32").get_layer("stage3").units == 32


def test_register_never_overwrites(own_registry):
    with pytest.raises(
        ValueError, match=r"never replaces a model\. Received: name='separable_050'"
    ):
        zoo.register("separable_050", tiny)
    assert zoo.architecture("separable_050").family == "separable"


@pytest.mark.parametrize("name", [3, None, ""])
def test_register_refuses_other_names(own_registry, name):
    with pytest.raises(ValueError, match="Expected name to be a string"):
        zoo.register(name, tiny)


def test_register_refuses_names_like_those_of_pretrained_models(own_registry):
    with pytest.raises(ValueError, match=r"without '/'.*name='mine/net'"):
        zoo.register("mine/net", tiny)
    assert "mine/net" not in zoo.list_models()


@pytest.mark.parametrize("builder", [None, "kdzoo.models.mlp", ":mlp", "kdzoo.models.mlp:", 3])
def test_register_refuses_other_builders(own_registry, builder):
    with pytest.raises(ValueError, match="Expected builder to be a function or its path"):
        zoo.register("odd", builder)
    assert "odd" not in zoo.list_models()


def test_a_row_cannot_be_changed_through_the_arguments_it_was_given(own_registry):
    arguments = {"units": 8}
    zoo.register("tiny_8", tiny, arguments)
    arguments["units"] = 16
    assert zoo.create("tiny_8").layers[-2].units == 8


def test_networks_of_keras_have_names_too():
    name = "keras.applications.MobileNetV3Small"
    assert zoo.architecture(name).family == "keras_application"
    assert name not in zoo.list_models()
    with pytest.raises(ValueError, match=r"begins with one of .* Received: 'VGG16'"):
        zoo.create("keras.applications.VGG16")
    with pytest.raises(ValueError, match=r"size of at least 32, that of the images"):
        zoo.create(name, size=16)


@pytest.mark.large
def test_a_network_of_keras_sees_larger_images():
    model = zoo.create("keras.applications.MobileNetV3Small", 5, (32, 32, 3), size=96)
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 5))
    assert model.get_layer("conv").input.shape == (None, 96, 96, 3)
    assert model.get_layer("pixels").scale == 255
