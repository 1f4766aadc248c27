"""What is installed: every folder of the package, and the files that it needs."""

import configparser
import pathlib

import kdzoo

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
