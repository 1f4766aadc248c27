"""The README and the guides: Python runs, links lead somewhere, and what is named is there."""

import importlib
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


@pytest.mark.large
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_the_python_of_the_first_hour_runs(tmp_path, monkeypatch, capsys):
    """As it stands."""
    page = (ROOT / "docs" / "first_hour.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "first_hour.md", "exec"), names)
    assert names["report"].sparsity == pytest.approx(0.8, abs=0.01)
    accuracy = kdzoo.evaluation.accuracy(names["file"], *names["data"].test.arrays())
    assert accuracy > 0.85
    assert f"The file: {accuracy:.1%}" in capsys.readouterr().out


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


NAMED = [page for page in PAGES if page.name != "CHANGELOG.md"]  # It says what was before, too.
FOLDERS = "kdzoo|tests|tools|results|benchmarks|examples|docs|zoo_weights"


@pytest.mark.parametrize("page", NAMED, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(rf"`((?:{FOLDERS})/[\w./*-]+)`", text):
        pattern = re.sub(r"\b(NAME|RECIPE)(?=\b|_)", "*", path)  # Which stand for any name.
        assert list(ROOT.glob(pattern.rstrip("/"))), path


@pytest.mark.tensorflow
@pytest.mark.parametrize("page", NAMED, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_a_page_compiles_and_names_what_there_is(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(block, page.name, "exec")
    for dotted in re.findall(r"\bkdzoo((?:\.[A-Za-z_]\w*)+)", text):
        assert resolves(f"kdzoo{dotted}"), dotted
    for name in re.findall(r"\bkdzoo (?:train|pair|load|card) ([a-z_\d]+_[\w/]+)", text):
        known = [*kdzoo.recipes.RECIPES, *kdzoo.list_pairs(), *kdzoo.list_pretrained()]
        assert name in known, name


@pytest.mark.parametrize("page", NAMED, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_a_page_imports_kdzoo_before_what_starts_tensorflow(page):
    """Only then it turns oneDNN on."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        roots = re.findall(r"^\s*(?:import|from) (\w+)", block, re.MULTILINE)
        others = [root for root in roots if root in ("keras", "tensorflow")]
        if "kdzoo" in roots and others:
            assert roots.index("kdzoo") < roots.index(others[0]), block


def resolves(dotted):
    """Whether a dotted name leads to a module, or to what is in one."""
    found = kdzoo
    for place, name in enumerate(dotted.split(".")[1:], start=2):
        if not hasattr(found, name):
            try:
                importlib.import_module(".".join(dotted.split(".")[:place]))
            except ImportError:
                return False
        found = getattr(found, name)
    return True
