"""How many parameters every architecture of the zoo has, and that the papers say so too."""

import itertools
import math

import pytest

from kdzoo import zoo
from kdzoo.evaluation import count_macs

# (all weights, trainable weights) at 10 classes and the model's own input shape; `expected_*`
# below derive them from the papers' tables, without the builders. A name without a row fails.
PARAMETERS = {
    "separable_025": (58_762, 56_650),
    "separable_050": (214_794, 210_570),
    "separable_075": (468_106, 461_770),
    "separable_100": (818_698, 810_250),
    "wide_resnet_16_1": (175_994, 175_066),
    "wide_resnet_16_2": (693_498, 691_674),
    "wide_resnet_16_4": (2_752_506, 2_748_890),
    "wide_resnet_40_1": (566_650, 563_930),
    "wide_resnet_40_2": (2_248_954, 2_243_546),
    "resnet_20": (271_098, 269_722),
    "resnet_32": (466_426, 464_154),
    "resnet_44": (661_754, 658_586),
    "resnet_56": (857_082, 853_018),
    "resnet_110": (1_736_058, 1_727_962),
    "vgg_8": (3_920_330, 3_917_386),
    "vgg_13": (9_418_954, 9_413_066),
    "plain_cnn_2": (13_114, 13_050),
    "plain_cnn_4": (37_434, 37_242),
    "plain_cnn_6": (83_002, 82_554),
    "plain_cnn_8": (328_442, 327_482),
    "plain_cnn_10": (2_489_322, 2_486_378),
    "airbench_94": (1_975_178, 1_972_826),
    "fitnet_mnist": (30_130, 30_130),
    "fitnet_1": (251_194, 251_194),
    "fitnet_2": (864_122, 864_122),
    "fitnet_3": (1_506_138, 1_506_138),
    "fitnet_4": (2_548_602, 2_548_602),
    "maxout_mnist": (361_066, 361_066),
    "maxout_cifar": (9_046_330, 9_046_330),
    "shallow_4000": (39_414_938, 39_414_938),
    "shallow_30000": (70_900_938, 70_900_938),
    "mlp_1x512": (407_050, 407_050),
    "mlp_2x64": (55_050, 55_050),
    "mlp_2x128": (118_282, 118_282),
    "mlp_2x800": (1_276_810, 1_276_810),
    "mlp_2x1200": (2_395_210, 2_395_210),
    "lenet_300_100": (266_610, 266_610),
    "lenet_5": (431_080, 431_080),
}

# From FitNets' appendix, and from the published configurations where it is silent: units and
# kernels of the convolutional layers, positions left after the last pooling, fully connected
# units, channels of the image.
MAXOUT = {
    "maxout_mnist": (((48, 8), (48, 8), (24, 5)), 9, 0, 1),
    "maxout_cifar": (((96, 8), (192, 8), (192, 5)), 25, 500, 3),
    "fitnet_mnist": (((16, 5), (16, 3), (16, 5), (16, 3), (12, 3), (12, 3)), 9, 0, 1),
    "fitnet_1": (tuple((units, 3) for units in [16] * 3 + [32] * 3 + [48, 48, 64]), 1, 500, 3),
    "fitnet_2": (
        tuple((units, 3) for units in (16, 32, 32, 48, 64, 80, 96, 96, 128)),
        1,
        500,
        3,
    ),
    "fitnet_3": (
        tuple((units, 3) for units in [32, 48, 64, 64] + [80] * 4 + [128] * 3),
        1,
        500,
        3,
    ),
    "fitnet_4": (
        tuple((units, 3) for units in [32] * 3 + [48] * 2 + [80] * 6 + [128] * 6),
        1,
        500,
        3,
    ),
}

# The authors' lists of layers (TAKD, `plain_cnn_cifar.py`; RepDistiller, `models/vgg.py`): filters
# of the convolutions, fully connected units, positions left by the pooling.
NORMED = {
    "plain_cnn_2": ([16] * 2, [], 64),
    "plain_cnn_4": ([16] * 2 + [32] * 2, [], 64),
    "plain_cnn_6": ([16] * 2 + [32] * 2 + [64] * 2, [], 16),
    "plain_cnn_8": ([16] * 2 + [32] * 2 + [64] * 2 + [128] * 2, [64], 4),
    "plain_cnn_10": ([32] * 2 + [64] * 2 + [128] * 2 + [256] * 4, [128], 4),
    "vgg_8": ([64, 128, 256, 512, 512], [], 1),
    "vgg_13": ([64] * 2 + [128] * 2 + [256] * 2 + [512] * 4, [], 1),
}


def trainable(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def expected_wide_resnet(depth, width, classes, channels=3):
    """Counts (all, trainable) from table 1 of the paper; norms have 2 trained, 2 moving."""
    convolutions, norms, wide = 9 * channels * 16, 0, 16
    for stage_width in (16 * width, 32 * width, 64 * width):
        for _ in range((depth - 4) // 6):
            convolutions += 9 * wide * stage_width + 9 * stage_width * stage_width
            convolutions += wide * stage_width if wide != stage_width else 0
            norms += wide + stage_width
            wide = stage_width
    norms += wide
    fixed = convolutions + (wide + 1) * classes
    return fixed + 4 * norms, fixed + 2 * norms


def expected_separable(stem, stages, classes, channels=3):
    """Counts (all, trainable) of a stem and of blocks (3x3 depthwise, norm, 1x1, norm)."""
    convolutions, norms, wide = 9 * channels * stem, stem, stem
    for stage_width, count in stages:
        for _ in range(count):
            convolutions += 9 * wide + wide * stage_width
            norms += wide + stage_width
            wide = stage_width
    fixed = convolutions + (wide + 1) * classes
    return fixed + 4 * norms, fixed + 2 * norms


def expected_resnet(depth, classes):
    """Counts (all, trainable) of 2n + 1 convolutions of 16, 2n of 32, 2n of 64 channels, dense."""
    blocks = (depth - 2) // 6
    convolutions = 9 * 3 * 16 + 2 * blocks * 9 * (16**2 + 32**2 + 64**2)
    convolutions -= 9 * (32 * 32 - 16 * 32 + 64 * 64 - 32 * 64)  # The first of stages 2 and 3.
    norms = 16 + 2 * blocks * (16 + 32 + 64)
    fixed = convolutions + (64 + 1) * classes
    return fixed + 4 * norms, fixed + 2 * norms


def expected_airbench(widths, classes, stem=24):
    """Counts (all, trainable) of a 2x2 convolution, two 3x3 ones for each width, dense."""
    convolutions, norms, wide = 4 * 3 * stem, stem, stem
    for width in widths:
        convolutions += 9 * wide * width + 9 * width * width
        norms += 2 * width
        wide = width
    fixed = convolutions + (wide + 1) * classes
    return fixed + 4 * norms, fixed + 2 * norms


def expected_normed(filters, units, positions, classes=10):
    """Counts (all, trainable) of 3x3 convolutions without biases, norms, dense layers."""
    convolutions = sum(9 * a * b for a, b in itertools.pairwise([3, *filters]))
    sizes = [positions * filters[-1], *units, classes]
    fixed = convolutions + sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    return fixed + 4 * sum(filters), fixed + 2 * sum(filters)


def expected_shallow(filters, bottleneck, units, classes=10):
    """Count of c-p-L-units in Ba & Caruana's table 2: 5x5 filters, 15x15 positions, dense."""
    sizes = [15 * 15 * filters, *bottleneck, units, classes]
    dense = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    return (25 * 3 + 1) * filters + dense


def expected_maxout(convolutions, positions, dense, channels, classes=10):
    """Counts (weights without biases, biases) of a maxout network of two pieces."""
    weights = biases = 0
    for units, side in convolutions:
        weights += 2 * side**2 * channels * units
        biases += 2 * units
        channels = units
    inputs = positions * channels
    if dense:
        weights += 2 * inputs * dense
        biases += 2 * dense
        inputs = dense
    return weights + inputs * classes, biases + classes


def expected(name):
    if name in MAXOUT:
        return (sum(expected_maxout(*MAXOUT[name])),) * 2
    if name in NORMED:
        return expected_normed(*NORMED[name])
    if name.startswith("shallow"):
        return (expected_shallow(128, [1200], int(name.removeprefix("shallow_"))),) * 2
    if name == "airbench_94":
        return expected_airbench((64, 256, 256), classes=10)
    if name == "lenet_5":
        return (26 * 20 + (25 * 20 + 1) * 50 + (16 * 50 + 1) * 500 + 501 * 10,) * 2
    if name == "lenet_300_100":
        return (785 * 300 + 301 * 100 + 101 * 10,) * 2
    if name.startswith("resnet"):
        return expected_resnet(int(name.removeprefix("resnet_")), classes=10)
    family, *numbers = name.replace("x", "_").rsplit("_", 2 if name[0] != "s" else 1)
    numbers = [int(number) for number in numbers]
    if family == "wide_resnet":
        return expected_wide_resnet(*numbers, classes=10)
    if family == "mlp":
        sizes = [784, *[numbers[1]] * numbers[0], 10]
        return (sum((a + 1) * b for a, b in itertools.pairwise(sizes)),) * 2
    stages = [(128 * numbers[0] // 100, 2), (256 * numbers[0] // 100, 2)]
    stages.append((512 * numbers[0] // 100, 3))
    return expected_separable(64 * numbers[0] // 100, stages, classes=10)


@pytest.mark.tensorflow  # Counts are the same on every backend.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.large] * (name == "shallow_30000"))
        for name in zoo.list_models()
    ],
)
def test_parameter_counts_are_exact(name):
    model = zoo.create(name)
    assert (model.count_params(), trainable(model)) == PARAMETERS[name] == expected(name)


@pytest.mark.parametrize(
    ("name", "exact", "stated", "rounded_to"),
    [
        # FitNets' tables 4 and 5; the authors' script counts no biases.
        ("maxout_mnist", 360_816, 361_000, 1_000),
        ("fitnet_mnist", 29_944, 30_000, 1_000),
        ("maxout_cifar", 9_044_360, 9_000_000, 1_000_000),
        ("fitnet_1", 249_576, 250_000, 1_000),
        ("fitnet_2", 861_928, 862_000, 1_000),
        ("fitnet_3", 1_503_304, 1_500_000, 100_000),  # In table 3; 1.6M in table 5.
        ("fitnet_4", 2_544_712, 2_500_000, 100_000),
        # He et al., table 6: trainable parameters.
        ("resnet_20", 269_722, 270_000, 10_000),
        ("resnet_32", 464_154, 460_000, 10_000),
        ("resnet_44", 658_586, 660_000, 10_000),
        ("resnet_56", 853_018, 850_000, 10_000),
        ("resnet_110", 1_727_962, 1_700_000, 100_000),
        # Jordan's section on the network: 1.97 million.
        ("airbench_94", 1_972_826, 1_970_000, 10_000),
        # Ba & Caruana's table 2: 128c-p-1200L-30k has "~70M".
        ("shallow_30000", 70_900_938, 71_000_000, 1_000_000),
        # Deep Compression, tables 2 and 3.
        ("lenet_300_100", 266_610, 267_000, 1_000),
        ("lenet_5", 431_080, 431_000, 1_000),
    ],
)
def test_counts_are_those_the_papers_state(name, exact, stated, rounded_to):
    counted = expected_maxout(*MAXOUT[name])[0] if name in MAXOUT else PARAMETERS[name][1]
    assert counted == exact
    assert round(counted / rounded_to) * rounded_to == stated


@pytest.mark.tensorflow  # Counts are the same on every backend.
@pytest.mark.parametrize(
    ("name", "millions"),
    [("maxout_cifar", 725), ("fitnet_1", 30), ("fitnet_2", 108), ("fitnet_4", 382)],
)
def test_maxout_networks_multiply_as_often_as_the_paper_states(name, millions):
    assert round(count_macs(zoo.create(name)) / 1e6) == millions


@pytest.mark.tensorflow  # Counts are the same on every backend.
@pytest.mark.parametrize(
    ("depth", "width", "classes", "published"),
    [
        # RepDistiller's models for CIFAR-100, counted in PyTorch (the paper rounds: 0.7M, 2.2M).
        (16, 2, 100, 703_284),
        (40, 1, 100, 569_780),
        (40, 2, 100, 2_255_156),
        (16, 4, 100, 2_772_020),
        # The paper's largest, 36.5M in its table 5.
        pytest.param(28, 10, 100, 36_536_884, marks=pytest.mark.large),
    ],
)
def test_wide_resnets_have_the_published_counts(depth, width, classes, published):
    model = zoo.create("wide_resnet_16_1", depth=depth, width=width, classes=classes)
    assert trainable(model) == published


@pytest.mark.tensorflow  # Counts are the same on every backend.
@pytest.mark.parametrize(("name", "published"), [("vgg_8", 3_965_028), ("vgg_13", 9_462_180)])
def test_vggs_have_the_published_counts_without_biases(name, published):
    # RepDistiller's models for CIFAR-100, counted in PyTorch.
    model = zoo.create(name, classes=100)
    assert trainable(model) == published - sum(NORMED[name][0])


@pytest.mark.tensorflow  # Counts are the same on every backend.
@pytest.mark.parametrize("bottleneck", [7, None])
def test_shallow_networks_of_other_widths(bottleneck):
    arguments = {"units": 50, "bottleneck": bottleneck, "filters": 4}
    model = zoo.create("shallow_4000", classes=3, **arguments)
    expected = expected_shallow(4, [bottleneck] if bottleneck else [], 50, classes=3)
    assert model.count_params() == expected
    # The paper's smaller student, 64c-p-1200L-30k, has "~54M".
    assert round(expected_shallow(64, [1200], 30_000) / 1e6) == 54


@pytest.mark.tensorflow
def test_separable_025_fits_sixty_thousand_on_fashion_mnist():
    model = zoo.create("separable_025", input_shape=(28, 28, 1))
    assert model.count_params() == 58_474
    assert zoo.create("separable_025", input_shape=(32, 32, 3)).count_params() <= 60_000
    assert zoo.create("separable_050", input_shape=(32, 32, 3)).count_params() <= 250_000
