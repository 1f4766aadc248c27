"""What is installed: every folder of the package, and the files that it needs."""

import configparser
import fnmatch
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

import kdzoo
from kdzoo.zoo.manifest import read_manifest, weights_directory

ROOT = pathlib.Path(kdzoo.__file__).parents[1]


def test_every_folder_is_installed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("kdzoo/**/__init__.py")
    }
    assert set(listed) == folders | {"kdzoo.zoo_weights"}
    assert "zoo_weights" in config["options"]["package_dir"]


def test_every_shipped_file_is_installed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = [
        each.strip() for each in config["options.package_data"]["kdzoo.zoo_weights"].split(",")
    ]
    names = [file.file for row in read_manifest().values() for file in row.files.values()]
    for name in ["manifest.json", *names]:
        assert (weights_directory() / name).is_file()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


@pytest.mark.large
@pytest.mark.tensorflow
def test_the_wheel_loads_its_models_from_elsewhere(tmp_path):
    """Built from a copy of the package, unpacked, and used from another directory."""
    source, wheels, installed = (tmp_path / name for name in ("source", "wheels", "installed"))
    for name in ("kdzoo", "zoo_weights"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", wheels]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = wheels.glob("kdzoo-*.whl")
    zipfile.ZipFile(wheel).extractall(installed)
    script = """
import keras, kdzoo, numpy as np
from kdzoo.zoo.manifest import weights_directory
print(kdzoo.__file__)
print(weights_directory())
for name in kdzoo.list_pretrained():
    model = kdzoo.load(name)
    print(name, model.predict(np.zeros((1, *model.input_shape[1:]), "float32"), verbose=0).shape)
    assert name in kdzoo.card(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file, weights, *models = done.stdout.splitlines()
    assert file == str(installed / "kdzoo" / "__init__.py")
    assert weights == str(installed / "kdzoo" / "zoo_weights")
    rows = read_manifest()
    assert models == [f"{name} (1, {row.classes})" for name, row in rows.items()]
