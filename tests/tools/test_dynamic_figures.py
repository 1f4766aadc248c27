"""The curves of networks of several costs show the numbers of the results."""

import numpy as np
import pytest

from tools import dynamic_figures


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Returns what a figure draws of rows: label -> points (2, n)."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    figures, save = [], figure.savefig
    monkeypatch.setattr(
        figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )

    def draw(function, rows):
        content = {"rows": rows, "summary": {row["kind"]: {} for row in rows}}
        monkeypatch.setattr(dynamic_figures, "results", lambda name: content)
        function(tmp_path / "figure.png")
        (axes,) = figures.pop().axes
        return {line.get_label(): np.array(line.get_data()) for line in axes.lines}

    return draw


def row(kind, accuracy=None, macs=None, seed=0, **more):
    return {"kind": kind, "test_accuracy": accuracy, "macs": macs, "seed": seed, **more}


def exits(kind, macs, accuracies):
    return {"kind": kind, "seed": 0, "exit_macs": macs, "exit_test_accuracies": accuracies}


def test_one_network_that_stops_is_beside_networks_of_one_cost(drawn):
    curve = [{"mean_macs": 3e6, "test_accuracy": 0.8}, {"mean_macs": 6e6, "test_accuracy": 0.9}]
    rows = [
        row("budgets", 0.9, 9e6, curve=curve),
        exits("exits", [2e6, 8e6], [0.75, 0.91]),
        *(row(f"exit {number} alone", 0.7 + number / 100, 1e6 * number) for number in (1, 2, 3, 4)),
        row("separable_025", 0.92),
        row("separable_050", 0.94),
    ]
    lines = drawn(dynamic_figures.msdnet_cifar10, rows)
    assert lines["stops when it is sure"].tolist() == [[3, 6], [80, 90]]
    assert lines["each of its exits"].tolist() == [[2, 8], [75, 91]]
    alone = lines["cut at an exit, trained alone"]
    np.testing.assert_allclose(alone, [[1, 2, 3, 4], [71, 72, 73, 74]])
    # Multiply-accumulates as the zoo's cards have them.
    of_zoo = lines["students of the zoo, taught"]
    np.testing.assert_allclose(of_zoo, [[7.058688, 25.651712], [92, 94]])


def test_what_a_first_exit_costs_is_drawn_by_its_place(drawn):
    rows = []
    for network, alone in (("residual", 0.8), ("MSDNet", 0.7)):
        rows.append(row(f"{network}, last exit alone", alone, 8e6))
        for place, first in (("early", 2e6), ("in the middle", 4e6), ("late", 6e6)):
            rows.append(exits(f"{network}, first exit {place}", [first, 8e6], [0.5, alone - 0.01]))
        scaled = f"{network}, first exit early, scaled gradients"
        rows.append(exits(scaled, [2e6, 8e6], [0.5, alone + 0.02]))
    lines = drawn(dynamic_figures.exits_by_place, rows)
    for network in ("residual", "MSDNet"):
        np.testing.assert_allclose(lines[network], [[25, 50, 75], [-1, -1, -1]])
        np.testing.assert_allclose(lines[f"{network}, scaled gradients"], [[25], [2]])


def test_widths_are_means_over_seeds(drawn):
    widths = {"width_macs": [1e6, 4e6], "seed": 0}
    rows = [
        {"kind": "switchable", **widths, "width_test_accuracies": [0.6, 0.8]},
        {"kind": "switchable", **widths, "seed": 1, "width_test_accuracies": [0.7, 0.9]},
        {"kind": "universal", **widths, "width_test_accuracies": [0.5, 0.6]},
        *(row("width 0.25, alone", 0.4 + seed / 10, 1e6, seed) for seed in (0, 1)),
        *(row("width 1, alone", 0.8, 4e6, seed) for seed in (1, 0)),
    ]
    lines = drawn(dynamic_figures.slimmable_cifar10, rows)
    np.testing.assert_allclose(lines["slimmable, four widths"], [[1, 4], [65, 85]])
    np.testing.assert_allclose(lines["each width trained alone"], [[1, 4], [45, 80]])
    np.testing.assert_allclose(lines["universally slimmable, one seed"], [[1, 4], [50, 60]])


def test_what_is_not_measured_is_named(monkeypatch, tmp_path, capsys):
    content = {"rows": [], "summary": {}}
    monkeypatch.setattr(dynamic_figures, "results", lambda name: content)
    monkeypatch.setattr(dynamic_figures, "FIGURES", (dynamic_figures.exits_by_place,))
    dynamic_figures.main([str(tmp_path)])
    assert "exits_by_place.png: not measured yet" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
