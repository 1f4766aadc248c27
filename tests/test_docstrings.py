"""The examples in docstrings (`>>>`) run and say what they print; public names have a docstring."""

import ast
import doctest
import importlib
import pathlib

import pytest

import kdzoo

PACKAGE = pathlib.Path(kdzoo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def dotted(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "module", [dotted(path) for path in FILES if ">>> " in path.read_text(encoding="utf-8")]
)
def test_examples_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.testmod(importlib.import_module(module), optionflags=options)
    assert failed == 0


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_modules_and_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, kinds) and node.name[0] != "_"]
    for part in [node for node in public if isinstance(node, ast.ClassDef)]:
        own = part.bases == []  # Of others Keras says what many of the methods are.
        public += [node for node in part.body if own and isinstance(node, kinds) and is_read(node)]
    without = [node.name for node in public if not ast.get_docstring(node)]
    assert ast.get_docstring(tree)
    assert without == []


def is_read(method):
    """Whether a method is public and no setter, which a property documents."""
    decorators = [ast.unparse(decorator) for decorator in method.decorator_list]
    return method.name[0] != "_" and not any(
        decorator.endswith(".setter") for decorator in decorators
    )
