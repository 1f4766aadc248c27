"""Who may import whom: the layers of the package, and what `import kdzoo` must not bring along."""

import ast
import pathlib
import subprocess
import sys

import pytest

import kdzoo

PACKAGE = pathlib.Path(kdzoo.__file__).parent

# Top to bottom. A part imports from lower layers only: nothing upward, nothing beside it.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"demo"},
    {"recipes"},
    {"zoo", "schemes", "compression", "export", "evaluation"},
    {"distiller"},
    {"checks", "inputs", "mixing", "state"},
    {"losses", "models", "data", "acceleration"},
    {"taps", "callbacks", "adjustable"},
    {"checkpoints"},
    {"utils", "version"},
)
RANK = {part: -number for number, layer in enumerate(LAYERS) for part in layer}
COMPOSERS = {"cli", "demo", "__main__", "recipes"}  # They may use the public names of kdzoo.

# Rooms of techniques, one a file: a technique imports no other, only what the room shares.
SHARED = {
    "losses": {"base", "divergence"},
    "models": {"blocks", "logits"},
    "schemes": {"training"},
    "compression": {
        "agreement",
        "annotating",
        "hosted_layer",
        "hosting",
        "operations",
        "plain",
        "preserving",
        "pruning_settings",
        "quantize_configs",
        "refusals",
        "rounding",
        "schedules",
        "tfmot",
        "clone",
        "within",
    },
}
ONLY_IN = {"tensorflow_model_optimization": "kdzoo/compression/tfmot.py"}

HEAVY = (
    "tensorflow_model_optimization",
    "tf_keras",
    "tensorflow_datasets",
    "ai_edge_litert",
    "matplotlib",
    "sklearn",
    "rich",
    "typer",
)


def imported(source, module):
    """Yields the absolute name of everything that a module's source imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def violations(source, module):
    """Returns what a module of kdzoo imports against the rules, one line each.

    Args:
        source: Its text.
        module: Its dotted name, e.g. `"kdzoo.losses.base"`.
    """
    _, part, *file = module.split(".")
    if part not in RANK:
        return [f"{module} is in no layer: give {part!r} its place in LAYERS"]
    found = []
    for name in imported(source, module):
        top, *rest = name.split(".")
        if top in ONLY_IN and ONLY_IN[top] != f"{module.replace('.', '/')}.py":
            found.append(f"{module} imports {top}, which only {ONLY_IN[top]} may")
        if top != "kdzoo":
            continue
        other = rest[0] if rest else None
        if other not in RANK:
            if part not in COMPOSERS:
                found.append(f"{module} imports {name}, a public name: import it from its part")
        elif other != part and RANK[other] >= RANK[part]:
            found.append(f"{module} imports {name}, which is not below it")
        elif other == part and is_sibling(part, file, rest[1:]):
            found.append(f"{module} imports {name}, a sibling technique")
    return found


def is_sibling(part, file, other):
    """Says whether a file of a room of techniques imports another technique of that room."""
    if part not in SHARED or not file or file[0] == "__init__" or not other:
        return False
    return other[0] not in SHARED[part] | {file[0]}


def dotted(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@pytest.mark.parametrize(
    "path", sorted({*PACKAGE.rglob("*.py")} - {PACKAGE / "__init__.py"}), ids=dotted
)
def test_imports_keep_the_layers(path):
    assert violations(path.read_text(encoding="utf-8"), dotted(path)) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("kdzoo.losses.base", "from kdzoo.models import mlp", "not below it"),
        ("kdzoo.losses.base", "import kdzoo.models.mlp as m", "not below it"),
        ("kdzoo.losses.base", "def f():\n    from kdzoo import distiller", "not below it"),
        ("kdzoo.losses.base", "from ..models import mlp", "not below it"),
        ("kdzoo.models.mlp", "from .separable import separable", "sibling technique"),
        ("kdzoo.models.mlp", "from kdzoo.models import separable", "sibling technique"),
        ("kdzoo.export.litert", "from kdzoo.evaluation import accuracy", "not below it"),
        ("kdzoo.distillation.distiller", "import kdzoo.zoo", "not below it"),
        ("kdzoo.utils", "from kdzoo.losses import base", "not below it"),
        ("kdzoo.zoo.registry", "from kdzoo import create", "public name"),
        ("kdzoo.zoo.registry", "import kdzoo", "public name"),
        (
            "kdzoo.compression.tfmot.pruning",
            "import tensorflow_model_optimization",
            "only kdzoo/comp",
        ),
        ("kdzoo.compression.tfmot.pruning", "from kdzoo.compression import clustering", "sibling"),
        ("kdzoo.misc", "", "in no layer"),
    ],
)
def test_the_rules_catch_what_they_should(module, source, complaint):
    (found,) = violations(source, module)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("kdzoo.models.mlp", "from kdzoo.models import blocks"),
        ("kdzoo.models.__init__", "from kdzoo.models.mlp import mlp"),
        (
            "kdzoo.distillation.distiller",
            "from kdzoo.losses.base import DistillationLoss\nimport keras",
        ),
        (
            "kdzoo.zoo.pairs",
            "from kdzoo.zoo import registry\nfrom kdzoo.distillation.distiller import Distiller",
        ),
        ("kdzoo.cli", "import kdzoo\nfrom kdzoo import create, recipes"),
        ("kdzoo.recipes.mnist", "from kdzoo import Distiller, schemes, export"),
        ("kdzoo.compression.tfmot", "import tensorflow_model_optimization as tfmot"),
        ("kdzoo.compression.tfmot.pruning", "from kdzoo.compression import tfmot"),
    ],
)
def test_the_rules_allow_what_they_should(module, source):
    assert violations(source, module) == []


def test_importing_kdzoo_brings_nothing_heavier_than_keras():
    """Keras itself loads some of these where they are installed; kdzoo adds none."""
    script = """
import sys
import keras
before = set(sys.modules)
import kdzoo
print("keras" in sys.modules, *(set(sys.argv[1:]) & (set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *HEAVY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"]
