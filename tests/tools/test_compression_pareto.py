"""The figure of everything done to one network draws what there is, and says what is not."""

import dataclasses
import json

import pytest

import kdzoo
from kdzoo.recipes import RECIPES
from kdzoo.zoo.manifest import find
from tools import compression_pareto
from tools.compression_pareto import STYLES, VARIANTS, draw, front, points, table


def results_of(folder, recipe, **stages):
    """Writes results of a recipe: (mean accuracy, bytes, gzipped bytes or None) of each stage."""
    names = ("mean", "bytes", "gzipped_bytes")
    found = {stage: dict(zip(names, numbers, strict=True)) for stage, numbers in stages.items()}
    summary = {
        stage: {name: numbers[name] for name in names if numbers[name] is not None}
        for stage, numbers in found.items()
    }
    (folder / f"{recipe}.json").write_text(json.dumps({"summary": summary}))


@pytest.fixture
def some(tmp_path):
    """Results of two of the recipes, and a latency."""
    made = {"float32": (0.93, 8000, 7000), "int8": (0.93, 2000, 1900)}
    results_of(tmp_path, "zoo_cifar10_050_compressed", **made)
    coded = "80 % zeros, 32 values, Huffman codes"
    made = {"16 values": (0.91, 8000, 3000), coded: (0.9, 1500, None)}
    results_of(tmp_path, "compression_pareto", **made)
    (tmp_path / "benchmarks").mkdir()
    latencies = tmp_path / f"{compression_pareto.LATENCIES}.json"
    latencies.write_text(json.dumps({"milliseconds": {"float32": 0.5, "4 bits": 0.7}}))
    return tmp_path


def test_points_are_what_was_measured(some):
    found = [dataclasses.astuple(point) for point in points(some)]
    assert found == [
        ("float32", "the network", 93.0, 8000, 7000, 0.5),
        ("int8", "fewer bits", pytest.approx(93.0), 2000, 1900, None),
        ("16 values", "few values", 91.0, 8000, 3000, None),
        ("zeros, values, Huffman", "zeros", 90.0, 1500, None, None),
    ]
    assert table(some)[1:3] == [
        ["float32", "93.00", "8,000", "7,000", "0.500"],
        ["int8", "93.00", "2,000", "1,900", ""],
    ]


def test_the_figure_has_every_point_and_the_front(some, tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure").Figure
    figures, save = [], figure.savefig
    monkeypatch.setattr(
        figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    draw(points(some), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    of_bytes, of_time = figures[0].axes
    drawn = [(line.get_xydata().tolist(), line.get_fillstyle()) for line in of_bytes.lines]
    for place in ([8, 93], [2, 93], [8, 91], [1.5, 90]):
        assert ([pytest.approx(place)], "full") in drawn
    assert ([pytest.approx([3, 91])], "none") in drawn  # The others hardly get smaller by gzip.
    assert sum(fill == "none" for _, fill in drawn) == 1
    (best,) = [line for line in of_bytes.lines if line.get_label() == "front"]
    assert best.get_xydata().tolist() == [pytest.approx([1.5, 90]), pytest.approx([2, 93])]
    assert [text.get_text() for text in of_time.texts] == ["float32"]
    (some / f"{compression_pareto.LATENCIES}.json").unlink()
    draw(points(some), tmp_path / "figure.png")
    assert len(figures[1].axes) == 1


def test_what_is_not_trained_is_left_out(tmp_path):
    assert points(tmp_path) == []
    assert len(table(tmp_path)) == 1
    with pytest.raises(ValueError, match="Expected results of at least one variant"):
        draw([], tmp_path / "figure.png")


def test_the_front_has_no_point_that_another_is_better_than():
    found = [(3, 90.0), (1, 80.0), (2, 79.0), (4, 90.0), (1, 70.0), (5, 95.0)]
    assert front(found) == [(1, 80.0), (3, 90.0), (5, 95.0)]


def test_every_variant_is_a_stage_that_leaves_a_file():
    for variant in VARIANTS:
        recipe = RECIPES[variant.recipe]
        assert variant.technique in STYLES
        assert type(recipe.stage(variant.stage)).__name__ in ("Compress", "DeepCompress")
        assert 0 in recipe.seeds_of(variant.stage)
        if variant.zoo is not None:
            assert find(variant.zoo).dataset == recipe.data
    drawn = {variant.stage for variant in VARIANTS if variant.recipe == "compression_pareto"}
    pretrained = {"student", "80 % zeros"}
    assert drawn == set(RECIPES["compression_pareto"].names) - pretrained
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


def test_kernels_of_the_network_get_zeros_and_values():
    stage = RECIPES["compression_pareto"].stage("80 % zeros, 32 values, Huffman codes")
    model = kdzoo.create("separable_050", 10, (32, 32, 3))
    kernels = {layer.name for layer in model.layers if type(layer).__name__ in ("Conv2D", "Dense")}
    assert set(stage.sparsity) == set(stage.bits) == kernels
