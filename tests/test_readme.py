"""The README: its Python runs, its links lead somewhere, and it is short."""

import pathlib
import re

import pytest

import kdzoo

ROOT = pathlib.Path(kdzoo.__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.tensorflow
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    """As it stands, but for one epoch where it says more."""
    example, pretrained = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example.splitlines()) <= 25
    code, count = re.subn(r"epochs=\d+", "epochs=1", example)
    assert count == 2
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code + pretrained, "README.md", "exec"), names)
    assert (tmp_path / "student.tflite").stat().st_size == names["report"].bytes
    assert f"{names['report'].bytes:,} bytes; same class as Keras" in capsys.readouterr().out
    assert names["path"].suffix == ".tflite"
    assert names["mine"].output_shape == (None, 7)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        if "://" in path:
            continue
        found = (page.parent / path) if path else page
        assert found.exists(), target
        if heading:
            assert heading in anchors(found), target


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
