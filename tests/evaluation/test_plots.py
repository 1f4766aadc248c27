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


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws the errors and returns the axes."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    figures, save = [], figure.savefig

    def noting(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(figure, "savefig", noting)
    plots.errors_by_variant(RESULTS, tmp_path / "errors.png", "title")
    assert (tmp_path / "errors.png").read_bytes().startswith(b"\x89PNG")
    return figures[0].axes[0]


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
