"""The builders' own arguments: bad ones in one sentence, names, and images of every size."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from kdzoo.models import (
    airbench,
    fitnet,
    fitnet_mnist,
    lenet,
    maxout,
    mlp,
    plain_cnn,
    resnet,
    separable,
    shallow,
    vgg,
    wide_resnet,
)

BUILDERS = [airbench, fitnet, fitnet_mnist, lenet, maxout, mlp, plain_cnn, resnet, separable]
BUILDERS += [shallow, vgg, wide_resnet]


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (wide_resnet, {"depth": 18}, r"depth to be 6n \+ 4 .* being 16 or 22. Received: depth=18"),
        (wide_resnet, {"depth": 41}, "being 40 or 46. Received: depth=41"),
        (wide_resnet, {"depth": 4}, "being 10 or 16. Received: depth=4"),
        (wide_resnet, {"depth": 16.0}, "Received: depth=16.0"),
        (wide_resnet, {"width": 0}, "width to be an integer of at least 1. Received: width=0"),
        (wide_resnet, {"width": 0.5}, "Received: width=0.5"),
        (separable, {"width": 0}, "width to be a positive number. Received: width=0"),
        (separable, {"width": float("nan")}, "Received: width=nan"),
        (separable, {"width": "0.5"}, "Received: width='0.5'"),
        (separable, {"halvings": -1}, "Received: halvings=-1"),
        (separable, {"halvings": 1.5}, re.escape("Received: halvings=1.5")),
        (separable, {"halvings": True}, "Received: halvings=True"),
        (resnet, {"depth": 18}, r"depth to be 6n \+ 2 .* being 14 or 20. Received: depth=18"),
        (resnet, {"depth": 2}, "being 8 or 14. Received: depth=2"),
        (resnet, {"depth": True}, "being 20 or 26. Received: depth=True"),
        (maxout, {"units": (48, 48)}, r"units to hold 3 integers of at least 1. .*\(48, 48\)"),
        (maxout, {"units": (48, 48, 0)}, re.escape("Received: units=(48, 48, 0)")),
        (maxout, {"padding": (0, 3, -1)}, "padding to hold 3 integers of at least 0"),
        (maxout, {"padding": 3}, "Received: padding=3"),
        (maxout, {"dense_units": 0}, "integer of at least 1. Received: dense_units=0"),
        (maxout, {"pieces": 1}, "pieces to be an integer of at least 2. Received: pieces=1"),
        (maxout, {"dense_pieces": 2.0}, "Received: dense_pieces=2.0"),
        (maxout, {"input_dropout": 1}, "input_dropout to lie in .* Received: input_dropout=1"),
        (maxout, {"input_shape": (11, 28, 1)}, "height and width at least 12"),
        (fitnet, {"stages": ()}, "at least one stage"),
        (fitnet, {"stages": ((16,), ())}, re.escape("Received: stages=((16,), ())")),
        (fitnet, {"stages": (16, 32, 48)}, "stages to hold integers of at least 1"),
        (fitnet, {"dense_units": None}, "dense_units to be an integer of at least 1"),
        (fitnet, {"pieces": 0}, "Received: pieces=0"),
        (fitnet, {"dense_pieces": True}, "Received: dense_pieces=True"),
        (fitnet_mnist, {"pieces": "2"}, "Received: pieces='2'"),
        (airbench, {"widths": (64,)}, "channels of at least two stages"),
        (airbench, {"widths": (64, 0)}, re.escape("Received: widths=(64, 0)")),
        (lenet, {"filters": (20, 0)}, re.escape("Received: filters=(20, 0)")),
        (lenet, {"filters": 20}, "filters to hold integers of at least 1"),
        (lenet, {"hidden": ()}, "hidden to hold the units of at least one layer"),
        (lenet, {"input_shape": (12, 28, 1)}, "height and width at least 13"),
        (plain_cnn, {"stages": ()}, "at least one stage. Received: stages="),
        (plain_cnn, {"stages": ((16,), ())}, re.escape("Received: stages=((16,), ())")),
        (plain_cnn, {"stages": (16, 16)}, "stages to hold integers of at least 1"),
        (plain_cnn, {"hidden": (0,)}, "hidden to hold integers of at least 1"),
        (shallow, {"units": 0}, "units to be an integer of at least 1. Received: units=0"),
        (shallow, {"bottleneck": 0}, "Received: bottleneck=0"),
        (shallow, {"filters": 1.5}, "Received: filters=1.5"),
        (shallow, {"kernel_size": None}, "Received: kernel_size=None"),
        (vgg, {"stages": ((64,),)}, "at least two stages"),
        (vgg, {"stages": ((64,), (0,))}, re.escape("Received: stages=(0,)")),
        (mlp, {"hidden": ()}, "hidden to hold the units of at least one layer"),
        (mlp, {"hidden": (128, 0)}, re.escape("Received: hidden=(128, 0)")),
        (mlp, {"hidden": 128}, "Received: hidden=128"),
        (mlp, {"input_dropout": -0.1}, "input_dropout to lie in .* Received: input_dropout=-0.1"),
    ],
)
def test_bad_arguments_of_a_family(build, arguments, message):
    with pytest.raises(ValueError, match=f"Expected .*{message}"):
        build(**arguments)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 1}, "classes to be an integer of at least 2. Received: classes=1"),
        ({"classes": 10.0}, "Received: classes=10.0"),
        ({"classes": True}, "Received: classes=True"),
        (
            {"input_shape": (32, 32)},
            r"\(height, width, channels\).*Received: input_shape=\(32, 32\)",
        ),
        ({"input_shape": (None, None, 3)}, "Received: input_shape="),
        ({"input_shape": (64, 32, 32, 3)}, "without the batch axis"),
        ({"input_shape": 32}, "Received: input_shape=32"),
    ],
)
def test_bad_arguments_of_every_family(build, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        build(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.tensorflow  # The same operations of Keras; JAX compiles each for long.
@pytest.mark.parametrize("build", BUILDERS)
def test_classes_may_be_an_integer_of_numpy(build):
    assert build(classes=np.arange(7).max() + 1).output_shape == (None, 7)


@pytest.mark.parametrize("build", [builder for builder in BUILDERS if builder is not resnet])
@pytest.mark.parametrize("rate", [1.0, -0.1, None, True])
def test_bad_dropout(build, rate):
    with pytest.raises(ValueError, match=rf"dropout to lie in \[0, 1\). Received: dropout={rate}"):
        build(dropout=rate)


@pytest.mark.parametrize(
    "build", [builder for builder in BUILDERS if builder not in (lenet, maxout, mlp)]
)
def test_images_below_eight_pixels_are_refused(build):
    with pytest.raises(ValueError, match="height and width at least 8"):
        build(input_shape=(7, 32, 3))


@pytest.mark.tensorflow
def test_default_names_say_what_was_built():
    assert wide_resnet(16, 1).name == "wide_resnet_16_1"
    assert separable(0.25).name == "separable_025"
    assert mlp((32, 16)).name == "mlp_32_16"
    assert resnet(8).name == "resnet_8"
    assert lenet((4,), (8,)).name == "lenet_4_8"
    assert maxout((4, 4, 2)).name == "maxout_4_4_2"
    assert maxout((4, 4, 2), dense_units=8).name == "maxout_4_4_2_8"
    assert fitnet(((4,), (4, 8)), dense_units=8).name == "fitnet_5_layers"
    assert plain_cnn(((4,), (8, 8))).name == "plain_cnn_3"
    assert shallow(5, 4, 2).name == "shallow_5"
    assert vgg(((4,), (8, 8))).name == "vgg_6"
    assert airbench((8, 16)).name == "airbench_8_16"
    assert fitnet_mnist(name="mine").name == "mine"
    assert mlp((32,), name="mine").name == "mine"


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("side", "sides"),
    [
        (8, [8, 4, 2]),
        (28, [28, 14, 7]),
        (32, [32, 16, 8]),
        (48, [48, 24, 12]),
        (49, [25, 13, 7]),
        (64, [32, 16, 8]),
        (96, [48, 24, 12]),
        (128, [32, 16, 8]),
        (224, [28, 14, 7]),
    ],
)
def test_separable_resolution_follows_from_the_image(side, sides):
    model = separable(0.125, input_shape=(side, side, 3))
    assert [model.get_layer(f"stage{n}").output.shape[1] for n in (1, 2, 3)] == sides


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("halvings", "sides"), [(0, [28, 14, 7]), (1, [14, 7, 4]), (2, [7, 4, 2]), (None, [28, 14, 7])]
)
def test_separable_halves_as_often_as_it_is_told(halvings, sides):
    model = separable(0.125, input_shape=(28, 28, 1), halvings=halvings)
    assert [model.get_layer(f"stage{n}").output.shape[1] for n in (1, 2, 3)] == sides


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("width", "channels"),
    [
        (0.0625, [8, 16, 32]),
        (0.125, [16, 32, 64]),
        (0.3, [40, 80, 152]),
        (0.5, [64, 128, 256]),
        (2, [256, 512, 1024]),
    ],
)
def test_separable_channels_are_multiples_of_eight(width, channels):
    model = separable(width, input_shape=(8, 8, 1))
    assert [model.get_layer(f"stage{n}").output.shape[-1] for n in (1, 2, 3)] == channels


@pytest.mark.tensorflow
def test_separable_is_tiny_on_digits():
    assert separable(0.0625, input_shape=(8, 8, 1)).count_params() == 5_642
    assert separable(0.125, input_shape=(8, 8, 1)).count_params() == 17_082


@pytest.mark.tensorflow
def test_separable_norms_follow_a_convolution_and_precede_a_relu():
    """The order that lets converters fold them, and quantization-aware training take them."""
    layers = separable(0.25, input_shape=(64, 64, 3)).layers
    types = [type(layer).__name__ for layer in layers]
    norms = [index for index, name in enumerate(types) if name == "BatchNormalization"]
    assert len(norms) == 1 + 2 * 7
    for index in norms:
        assert types[index - 1] in ("Conv2D", "DepthwiseConv2D")
        assert types[index + 1] == "ReLU"
        assert not layers[index - 1].use_bias


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="runs in the suite for JAX")
@pytest.mark.large
def test_models_build_and_run_where_tensorflow_is_not_installed():
    script = """
import sys
sys.modules["tensorflow"] = None  # Any import of it fails, as where it is not installed.
import numpy as np
from kdzoo.models import fitnet_mnist, mlp, resnet, separable, wide_resnet
for model in (
    separable(0.0625, input_shape=(8, 8, 1)),
    wide_resnet(10, 1, input_shape=(8, 8, 1)),
    resnet(8, input_shape=(8, 8, 1)),
    fitnet_mnist(input_shape=(8, 8, 1)),
    mlp((16,), input_shape=(8, 8, 1)),
):
    print(np.array(model(np.ones((2, 8, 8, 1), "float32"))).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["(2, 10)"] * 5, done.stderr


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("side", "sides"), [(32, [32, 16, 8, 4, 4]), (64, [64, 32, 16, 8, 4]), (8, [8, 4, 2, 1, 1])]
)
def test_vggs_halve_large_images_once_more(side, sides):
    model = vgg(((2,),) * 5, input_shape=(side, side, 3))
    assert [model.get_layer(f"stage{n}").output.shape[1] for n in (1, 2, 3, 4, 5)] == sides


@pytest.mark.tensorflow
def test_a_shallow_network_without_bottleneck_has_no_such_layer():
    names = {layer.name for layer in shallow(5, None, 2).layers}
    assert "bottleneck" not in names
    assert {layer.name for layer in shallow(5, 3, 2).layers} - names == {"bottleneck"}
