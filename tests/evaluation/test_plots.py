"""The pictures show the numbers: what is drawn is read back from the figure."""

import numpy as np
import pytest

from kdzoo.evaluation import plots

RESULTS = {
    "settings": {"paper": {"teacher": 67}},
    "examples": {"test": 10_000},
    "summary": {"teacher": {}, "alone": {}},
    "rows": [
        {"kind": "teacher", "test_accuracy": 0.99},
        {"kind": "alone", "test_accuracy": 0.97},
        {"kind": "alone", "test_accuracy": 0.95},
    ],
}


COSTS = {
    "rows": [
        {
            "kind": "stops",
            "macs": 4e6,
            "test_accuracy": 0.8,
            "mean_macs": 2e6,
            "curve": [
                {"mean_macs": 1e6, "test_accuracy": 0.7},
                {"mean_macs": 3e6, "test_accuracy": 0.9},
            ],
        },
        {
            "kind": "stops",
            "curve": [
                {"mean_macs": 2e6, "test_accuracy": 0.8},
                {"mean_macs": 5e6, "test_accuracy": 0.94},
            ],
        },
        {"kind": "exits", "exit_macs": [1e6, 4e6], "exit_test_accuracies": [0.6, 0.9]},
        {"kind": "widths", "width_macs": [3e6], "width_test_accuracies": [0.5]},
        {"kind": "alone", "macs": 2e6, "test_accuracy": 0.75},
        {"kind": "teacher", "test_accuracy": 0.99},
    ],
}


@pytest.fixture
def drawn(saved, tmp_path):
    """Draws the errors and returns the axes."""
    plots.errors_by_variant(RESULTS, tmp_path / "errors.png", "title")
    assert (tmp_path / "errors.png").read_bytes().startswith(b"\x89PNG")
    return saved[0].axes[0]


@pytest.fixture
def saved(monkeypatch):
    """The figures that are written."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    figures, save = [], figure.savefig

    def noting(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(figure, "savefig", noting)
    return figures


def test_every_run_is_a_dot_at_its_error(drawn):
    dots = [line for line in drawn.lines if line.get_marker() == "o"]
    found = [(list(np.round(line.get_xdata(), 6)), list(line.get_ydata())) for line in dots]
    assert found == [([1.0], [0]), ([3.0, 5.0], [1, 1])]
    means = [segments.get_segments()[0][0][0] for segments in drawn.collections]
    assert means == pytest.approx([1.0, 4.0])
    assert [label.get_text() for label in drawn.get_yticklabels()] == ["teacher", "alone"]


def test_the_papers_number_is_a_cross(drawn):
    (cross,) = [line for line in drawn.lines if line.get_marker() == "x"]
    assert cross.get_xdata() == pytest.approx([0.67])


def test_results_without_a_summary_are_refused(tmp_path):
    with pytest.raises(ValueError, match="results of a recipe"):
        plots.errors_by_variant({}, tmp_path / "errors.png")


def test_accuracy_is_drawn_over_the_mean_cost(saved, tmp_path):
    plots.accuracy_by_cost(COSTS, tmp_path / "costs.png")
    axes = saved[0].axes[0]
    found = {line.get_label(): np.round(line.get_xydata(), 6).tolist() for line in axes.lines}
    assert found == {
        "stops": [[1.5, 75], [4, 92]],
        "exits": [[1, 60], [4, 90]],
        "widths": [[3, 50]],
        "alone": [[2, 75]],
    }
    plots.accuracy_by_cost(COSTS, tmp_path / "costs.png", variants=["alone"])
    assert [line.get_label() for line in saved[1].axes[0].lines] == ["alone"]


def test_results_that_say_no_cost_are_refused(tmp_path):
    with pytest.raises(ValueError, match="rows say what a network costs"):
        plots.accuracy_by_cost(RESULTS, tmp_path / "costs.png")
