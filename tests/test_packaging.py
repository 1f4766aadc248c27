"""What is installed: every folder of the package, and the files that it needs."""

import ast
import configparser
import fnmatch
import importlib
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import kdzoo
from kdzoo.zoo.manifest import read_manifest, weights_directory

ROOT = pathlib.Path(kdzoo.__file__).parents[1]


@pytest.fixture(scope="module")
def config():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_folder_is_installed(config):
    listed = config["options"]["packages"].split()
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("kdzoo/**/__init__.py")
    }
    assert sorted(listed) == sorted(folders | {"kdzoo.zoo_weights"})
    assert "zoo_weights" in config["options"]["package_dir"]


def test_the_command_is_a_module_that_is_installed(config):
    (line,) = config["options.entry_points"]["console_scripts"].split("\n")[1:]
    module, _, function = line.partition("=")[2].strip().partition(":")
    assert config["options"]["py_modules"].split() == [module]
    assert callable(getattr(importlib.import_module(module), function))


def test_every_shipped_file_is_installed(config):
    listed = config["options.package_data"]["kdzoo.zoo_weights"]
    patterns = [pattern.strip() for pattern in listed.split(",")]
    names = [file.file for row in read_manifest().values() for file in row.files.values()]
    for name in ["manifest.json", *names]:
        assert (weights_directory() / name).is_file()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


def test_what_is_imported_is_required(config):
    """And what is required is imported, but for what only others import."""
    required = names_of(config["options"]["install_requires"])
    optional = names_of("".join(config["options.extras_require"].values()))
    distributions = importlib.metadata.packages_distributions()
    imported = {
        distribution.lower().replace("_", "-")
        for path in ROOT.glob("kdzoo/**/*.py")
        for module in modules_of(ast.parse(path.read_text(encoding="utf-8")))
        for distribution in distributions.get(module, [module])[:1]
    }
    assert imported - required - optional == set()
    assert required - imported == FOR_OTHERS


# TF-MOT imports distutils, and tensorflow-datasets a package that it does not require.
FOR_OTHERS = {"setuptools", "importlib-resources"}


def names_of(requirements):
    lines = (line.partition("#")[0].strip() for line in requirements.splitlines())
    return {re.split("[<>=]", line)[0].lower().replace("_", "-") for line in lines if line}


def modules_of(tree):
    """The top-level packages that a module imports, wherever in it, those of Python left out."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in {name.partition(".")[0] for name in names}:
            if name not in {"kdzoo", *sys.stdlib_module_names}:
                yield name


@pytest.mark.tensorflow
def test_the_wheel_loads_its_models_from_elsewhere(tmp_path):
    """Built from a copy of the package, unpacked, and used from another directory."""
    source, wheels, installed = (tmp_path / name for name in ("source", "wheels", "installed"))
    for name in ("kdzoo", "zoo_weights"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tools", "results"):  # What maintainers have beside the package stays there.
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "kdzoo_command.py"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", wheels]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = wheels.glob("kdzoo-*.whl")
    archive = zipfile.ZipFile(wheel)
    tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"kdzoo", "kdzoo_command.py"}
    suffixes = {pathlib.PurePath(name).suffix for name in archive.namelist() if "kdzoo/" in name}
    assert suffixes == {".py", ".typed", ".json", ".safetensors", ".tflite", ".kdz"}
    archive.extractall(installed)
    script = """
import keras, kdzoo, numpy as np
from kdzoo.zoo.manifest import weights_directory
print(kdzoo.__file__)
print(weights_directory())
for name in kdzoo.list_pretrained():
    model = kdzoo.load(name)
    logits = model.predict(np.zeros((1, *model.input_shape[1:]), "float32"), verbose=0)
    print(name, keras.tree.flatten(logits)[-1].shape)
    assert name in kdzoo.card(name)
"""
    file, weights, *models = run_with(installed, script).splitlines()
    assert file == str(installed / "kdzoo" / "__init__.py")
    assert weights == str(installed / "kdzoo" / "zoo_weights")
    rows = read_manifest()
    assert models == [f"{name} (1, {row.classes})" for name, row in rows.items()]
    command = "import sys, kdzoo_command; print(kdzoo_command.__file__); kdzoo_command.main()"
    said = run_with(installed, command, "list", "pretrained")
    assert said.startswith(str(installed))
    assert all(name in said for name in rows)


def run_with(directory, script, *arguments):
    """What a script prints where the packages of a directory come first."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=directory.parent,
        env={**os.environ, "PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
