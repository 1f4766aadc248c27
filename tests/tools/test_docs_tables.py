"""The tables of README.md and docs/ are those that the numbers make."""

import pytest

from tools.docs_tables import pages as docs_tables
from tools.docs_tables.content import ROOT
from tools.docs_tables.pages import fill, main, markdown
from tools.docs_tables.zoo_and_recipe_tables import TABLES

EMPTY = "before\n<!-- table: digits -->\n<!-- end of digits -->\nafter\n"


@pytest.fixture
def project(tmp_path):
    """A directory with a README and a page of docs/results, each with an empty table."""
    (tmp_path / "docs" / "results").mkdir(parents=True)
    for name in ("README.md", "docs/results/page.md"):
        (tmp_path / name).write_text(EMPTY)
    return tmp_path


def test_the_committed_tables_are_those_of_the_numbers(capsys):
    """`make docs-tables` would change nothing."""
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_every_table_stands_in_one_page():
    text = "".join(docs_tables.pages(ROOT).values())
    for name in TABLES:
        assert text.count(f"<!-- table: {name} -->\n| ") == 1, name


def test_pages_that_drifted_are_named_and_mended(project, capsys):
    arguments = ["--root", str(project)]
    assert main([*arguments, "--check"]) == 1
    pages = [project / "README.md", project / "docs" / "results" / "page.md"]
    assert capsys.readouterr().out.split() == [str(path) for path in pages]
    assert pages[0].read_text() == EMPTY
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    text = pages[1].read_text()
    assert text.startswith("before\n<!-- table: digits -->\n| ")
    assert text.endswith(" |\n<!-- end of digits -->\nafter\n")
    assert "| teacher " in text
    pages[1].write_text(text.replace("| teacher ", "| Teacher "))
    assert main([*arguments, "--check"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EMPTY.replace("digits", "digit"), "Did you mean 'digits'"),
        (EMPTY.replace("end of digits", "end of zoo"), "Expected a table"),
        (EMPTY.replace("<!-- end of digits -->", ""), "1 beginnings and 0 ends"),
        (EMPTY + "<!-- end of digits -->", "1 beginnings and 2 ends"),
    ],
)
def test_a_place_that_is_not_one_is_refused(text, message, project, capsys):
    with pytest.raises(ValueError, match=message):
        fill(text)
    (project / "README.md").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["--root", str(project)])
    assert ended.value.code == 1
    assert str(project / "README.md") in capsys.readouterr().err


def test_columns_are_padded_and_figures_aligned_to_the_right():
    table = [["model", "MACs"], ["a", "1,000"], ["longer", "diverged"], ["b", ""]]
    assert markdown(table).splitlines() == [
        "| model  |     MACs |",
        "| ------ | -------: |",
        "| a      |    1,000 |",
        "| longer | diverged |",
        "| b      |          |",
    ]
