"""Networks of several exits: their counts by the papers, and that their exits are exits."""

import keras
import pytest

from kdzoo.dynamic import exit_macs
from kdzoo.evaluation import count_macs
from kdzoo.models import branchy_lenet, msdnet


@pytest.mark.large_on_jax
def test_branchy_lenet_has_the_papers_counts():
    model = branchy_lenet()
    first = 30 * 30 * 25 * 5 + 15 * 15 * 9 * 5 * 10 + 640 * 10
    alone = 30 * 30 * 25 * 5 + 17 * 17 * 25 * 5 * 10 + 11 * 11 * 25 * 10 * 20 + 720 * 84 + 840
    branch = first - 30 * 30 * 25 * 5
    assert exit_macs(model) == [first, alone + branch]
    # The most that the first exit can save, measured in the paper as 5.4 times the speed.
    assert alone / first == pytest.approx(5.18, abs=0.005)


def _expected_macs(exits, first, more, channels, growth, scales, reduction, head, classes, side):
    """MACs up to each exit by the paper's description, and the channels of the last maps."""
    factors = [1, 2, 4][:scales]
    sides = [side // 2**scale for scale in range(scales)]
    count, wide, inputs = 0, {}, 3
    for scale in range(scales):
        count += sides[scale] ** 2 * 9 * inputs * channels * factors[scale]
        wide[scale] = inputs = channels * factors[scale]
    depth = first + (exits - 1) * more
    interval = -(-depth // scales)
    found, heads = [], 0

    def bottleneck(channels_in, filters, factor, side_in, side_out):
        inner = min(channels_in, factor * filters)
        return side_in**2 * channels_in * inner + side_out**2 * 9 * inner * filters

    for number in range(1, depth + 1):
        finest, after = (number - 1) // interval, {}
        for scale in range(max(finest, min(wide)), scales):
            new, place = growth * factors[scale], sides[scale]
            if scale - 1 in wide:
                count += bottleneck(
                    wide[scale - 1], new // 2, factors[scale - 1], sides[scale - 1], place
                )
                count += bottleneck(wide[scale], new // 2, factors[scale], place, place)
            else:
                count += bottleneck(wide[scale], new, factors[scale], place, place)
            total = wide[scale] + new
            if finest > min(wide):
                kept = int(reduction * total)
                count += place**2 * total * kept
                total = kept
            after[scale] = total
        wide = after
        if number >= first and (number - first) % more == 0:
            last, side_of = wide[scales - 1], sides[-1]
            heads += (side_of // 2) ** 2 * 9 * last * head + (side_of // 4) ** 2 * 9 * head * head
            heads += head * classes
            found.append(count + heads)
    return found


@pytest.mark.large
@pytest.mark.tensorflow  # Its layers are those of others.
@pytest.mark.parametrize(
    ("exits", "first", "more", "channels", "growth", "scales"),
    [(3, 4, 2, 16, 6, 3), (2, 1, 1, 4, 2, 1), (4, 2, 3, 8, 4, 2)],
)
def test_msdnet_costs_what_the_paper_describes(exits, first, more, channels, growth, scales):
    model = msdnet(exits, first, more, channels, growth, scales, head_channels=32)
    expected = _expected_macs(exits, first, more, channels, growth, scales, 0.5, 32, 10, 32)
    found = exit_macs(model)
    assert found[-1] == count_macs(model) == expected[-1]
    # Fine maps of the layers right before a classifier are only made for later ones: the paper's
    # "lazy evaluation".
    assert all(macs <= whole for macs, whole in zip(found, expected, strict=True))
    assert (found[0] < expected[0]) == (scales > 1)
    assert [layer.name for layer in model.layers if layer.name.startswith("stage")] == [
        f"stage{number}" for number in range(1, exits + 1)
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exits": 1}, "at least 2"),
        ({"growth": 3}, "even"),
        ({"scales": 5}, "from 1 to 4"),
        ({"reduction": 0.0}, "above 0"),
    ],
)
def test_msdnets_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        msdnet(**arguments)


@pytest.mark.large
def test_fashion_images_fit():
    model = msdnet(2, 2, 1, 4, 2, input_shape=(28, 28, 1))
    assert [tuple(output.shape) for output in model.outputs] == [(None, 10)] * 2
    assert isinstance(model, keras.Model)
