"""Networks of keras.applications, which kdzoo did not make, with exits and at several widths."""

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo.dynamic import (
    ExitLearner,
    Slimmable,
    WidthLearner,
    add_exits,
    exit_macs,
    exit_parts,
    extract,
)
from kdzoo.evaluation import count_macs

pytestmark = pytest.mark.large

_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
_IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
_TAPS = {
    "MobileNet": ["conv_pw_3_relu", "conv_pw_8_relu"],
    "MobileNetV2": ["block_4_add", "block_11_add"],
    "ResNet50V2": ["conv2_block3_out", "conv3_block4_out"],
    "EfficientNetB0": ["block3a_project_bn", "block5b_add"],
    "DenseNet121": ["pool2_relu", "pool3_relu"],
}


def _network(name):
    keras.utils.set_random_seed(0)
    return getattr(keras.applications, name)(
        weights=None, input_shape=(64, 64, 3), classes=7, classifier_activation=None
    )


@pytest.mark.parametrize("name", _TAPS)
def test_exits(name):
    model = _network(name)
    exits = add_exits(model, at=_TAPS[name], heads="convolved")
    expected = exits.predict(_IMAGES, verbose=0)
    np.testing.assert_allclose(expected[-1], model.predict(_IMAGES, verbose=0), atol=1e-4)
    carried = _IMAGES
    for part, logits in zip(exit_parts(exits), expected, strict=True):
        found, *carried = keras.tree.flatten(part.predict(carried, verbose=0))
        np.testing.assert_allclose(found, logits, atol=1e-4)
        carried = carried[0] if len(carried) == 1 else carried
    macs = exit_macs(exits)
    assert macs[0] < macs[1] < macs[2]
    learner = ExitLearner(exits)
    learner.compile("sgd", _LOSS)
    assert np.isfinite(learner.fit(_IMAGES, np.arange(2), verbose=0).history["loss"]).all()


@pytest.mark.parametrize("name", _TAPS)
def test_widths(name):
    slimmable = Slimmable(_network(name), (0.5, 1.0))
    learner = WidthLearner(slimmable)
    learner.compile("sgd", _LOSS)
    assert np.isfinite(learner.fit(_IMAGES, np.arange(2), verbose=0).history["loss"]).all()
    slimmable.calibrate(_IMAGES)
    small = extract(slimmable, 0.5)
    found = ops.convert_to_numpy(slimmable(_IMAGES, width=0.5))
    np.testing.assert_allclose(found, small.predict(_IMAGES, verbose=0), rtol=1e-3, atol=1e-3)
    assert count_macs(small) < 0.5 * count_macs(slimmable.whole)
