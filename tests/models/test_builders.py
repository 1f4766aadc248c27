"""The builders' own arguments: bad ones in one sentence, names, and images of every size."""

import re
import subprocess
import sys

import keras
import pytest

from kdzoo.models import mlp, separable, wide_resnet


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
        (mlp, {"hidden": ()}, "hidden to hold the units of at least one layer"),
        (mlp, {"hidden": (128, 0)}, re.escape("Received: hidden=(128, 0)")),
        (mlp, {"hidden": 128}, "Received: hidden=128"),
        (mlp, {"input_dropout": -0.1}, "input_dropout to lie in .* Received: input_dropout=-0.1"),
    ],
)
def test_bad_arguments_of_a_family(build, arguments, message):
    with pytest.raises(ValueError, match=f"Expected .*{message}"):
        build(**arguments)


@pytest.mark.parametrize("build", [mlp, separable, wide_resnet])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 1}, "classes to be an integer of at least 2. Received: classes=1"),
        ({"classes": 10.0}, "Received: classes=10.0"),
        ({"classes": True}, "Received: classes=True"),
        ({"dropout": 1.0}, r"dropout to lie in \[0, 1\). Received: dropout=1.0"),
        ({"dropout": None}, "Received: dropout=None"),
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


@pytest.mark.parametrize("build", [separable, wide_resnet])
def test_images_below_eight_pixels_are_refused(build):
    with pytest.raises(ValueError, match="height and width at least 8"):
        build(input_shape=(7, 32, 3))


def test_default_names_say_what_was_built():
    assert wide_resnet(16, 1).name == "wide_resnet_16_1"
    assert separable(0.25).name == "separable_025"
    assert mlp((32, 16)).name == "mlp_32_16"
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
    kinds = [type(layer).__name__ for layer in layers]
    norms = [index for index, kind in enumerate(kinds) if kind == "BatchNormalization"]
    assert len(norms) == 1 + 2 * 7
    for index in norms:
        assert kinds[index - 1] in ("Conv2D", "DepthwiseConv2D")
        assert kinds[index + 1] == "ReLU"
        assert not layers[index - 1].use_bias


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="runs in the suite for JAX")
def test_models_build_and_run_where_tensorflow_is_not_installed():
    script = """
import sys
sys.modules["tensorflow"] = None  # Any import of it fails, as where it is not installed.
import numpy as np
from kdzoo.models import mlp, separable, wide_resnet
for model in (
    separable(0.0625, input_shape=(8, 8, 1)),
    wide_resnet(10, 1, input_shape=(8, 8, 1)),
    mlp((16,), input_shape=(8, 8, 1)),
):
    print(np.array(model(np.ones((2, 8, 8, 1), "float32"))).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["(2, 10)"] * 3, done.stderr
