"""What is installed: every folder of the package, and the files that it needs."""

import configparser
import fnmatch
import pathlib

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
