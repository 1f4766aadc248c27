"""Who may import whom: the rooms from top to bottom, no circles, and Keras alone at the start."""

import ast
import dataclasses
import pathlib
import subprocess
import sys

import pytest

import kdzoo

PACKAGE = pathlib.Path(kdzoo.__file__).parent

# Top to bottom. A room imports from the lines below its own: nothing upward, nothing beside it.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"demo"},
    {"registration"},  # The classes that Keras finds by name, wherever they are.
    {"recipes"},
    {"experiments"},
    {"zoo"},
    {"schemes", "dynamic"},
    {"compression"},
    {"export", "evaluation"},
    {"teacher_cache"},
    {"distillation"},
    {"callbacks", "acceleration"},  # Public names of modules in `training` and `graph`.
    {"losses", "models", "data", "training"},
    {"graph"},
    {"utils"},
    {"version"},
)
RANK = {room: -number for number, layer in enumerate(LAYERS) for room in layer}
# The only ones that may use the public names of `kdzoo` itself: what users would write.
COMPOSERS = {"cli", "demo", "__main__"}

# Packages of techniques, one a file, and the modules in them that techniques may share.
TECHNIQUES = {
    "kdzoo.losses": {"base", "divergence", "labels", "output_types"},
    "kdzoo.models": {"blocks", "specialist_distribution"},
    "kdzoo.schemes": {"early_weights", "lottery_rounds", "pruning_steps"}
    | {"scheme_checks", "scheme_settings", "scheme_stages", "specialist_samples"},
    "kdzoo.dynamic": {
        *("budget_report", "exit_graph", "exit_heads", "exit_runs", "exits", "joint_learner"),
        *("joint_settings", "narrow_width", "scaled_gradients", "slimmable", "thresholds"),
        *("thresholds_file", "width_channels"),
    },
    "kdzoo.compression": {"binary_layers", "masked_layer", "sign_activations", "smallest_weights"}
    | {"tfmot"},
    "kdzoo.experiments.stages": {"distill_stage", "train_binary_stage", "train_stage"},
}
# And a package of techniques and much that they share: of this one the techniques are listed.
FEW_TECHNIQUES = {"kdzoo.compression.tfmot": {"clustering", "pruning", "quantization"}}

# What loads where it is first used, and never at a module's top; and the only places where it may:
# in one function of kdzoo, its accessor.
LIBRARIES = "kdzoo.utils.heavy_libraries"
HEAVY = {
    "PIL": (LIBRARIES,),
    "ai_edge_litert": ("kdzoo.utils",),
    "array_record": ("kdzoo.teacher_cache", LIBRARIES),
    "jax": (LIBRARIES,),
    "matplotlib": ("kdzoo.evaluation", LIBRARIES),
    "ray": ("kdzoo.teacher_cache", LIBRARIES),
    "rich": ("kdzoo.cli",),
    "sklearn": ("kdzoo.data", LIBRARIES),
    "tensorflow": (LIBRARIES,),
    "tensorflow_datasets": ("kdzoo.data", LIBRARIES),
    "tensorflow_model_optimization": ("kdzoo.compression.tfmot.library",),
    "tf_keras": ("kdzoo.compression.tfmot.library",),
    "zstandard": (LIBRARIES,),
}
# A command may ask for whatever it needs; of TF-MOT many modules are needed, a function for each.
MANY_ACCESSORS = ("kdzoo.cli", "kdzoo.compression.tfmot.library")

# Modules that are imported by their names in strings, and why.
BY_NAME = {
    "kdzoo": "public names load when they are asked for",
    "kdzoo.data": "public names that moved upward",
    "kdzoo.zoo": "public names that need Keras, which lists and cards do without",
    "kdzoo.zoo.architectures": "builders, which users register by their paths too",
    "kdzoo.compression.tfmot.library": "a module of TF-MOT whose package has a long name",
}


@dataclasses.dataclass(frozen=True)
class Import:
    """An import statement's name.

    Attributes:
        name: Dotted and absolute, e.g. `"kdzoo.losses.base.DistillationLoss"`.
        function: The name of the function that it stands in; None at the top of a module.
    """

    name: str
    function: str | None


def imports(source, module, is_package=False):
    """Returns what a module imports when it runs, a list of `Import`.

    Args:
        source: Its text.
        module: Its dotted name; a package's own is that of its `__init__`.
        is_package: Whether it is an `__init__`.
    """
    found = []

    def visit(node, function):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse if "not" not in ast.unparse(node.test) else node.body:
                visit(other, function)
            return
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            parents = parents[: len(parents) - node.level + is_package] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found.extend(Import(f"{base}.{alias.name}", function) for alias in node.names)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            function = function or getattr(node, "name", "lambda")
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(source), None)
    return found


def room(module):
    """The part of kdzoo that a module is in; None for `kdzoo` itself."""
    return module.split(".")[1] if "." in module else None


def target(name, modules):
    """The module that an imported name is, or is defined in: the longest that there is."""
    while name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return name


def violations(module, found, modules):
    """Returns what a module of kdzoo imports against the rules, one line each.

    Args:
        module: Its dotted name, e.g. `"kdzoo.losses.base"`.
        found: What `imports` returned for it.
        modules: The dotted names of all modules.
    """
    if room(module) not in RANK:
        return [f"{module} is in no layer: give {room(module)!r} its place in LAYERS"]
    complaints = []
    for imported in found:
        package = imported.name.partition(".")[0]
        if package == "kdzoo":
            complaints += of_kdzoo(module, imported, target(imported.name, modules))
        elif package in HEAVY and imported.function is None:
            complaints.append(f"{module} imports {package} at its top")
        elif imported.function and package not in HEAVY and room(module) != "cli":
            complaints.append(
                f"{module} imports {imported.name} in {imported.function}, not at its top"
            )
        places = HEAVY.get(package, ("kdzoo",))
        if not is_in(module, places):
            complaints.append(f"{module} imports {package}, which only {' or '.join(places)} may")
    return complaints


def is_in(module, places):
    """Whether a module is one of these, or in a package that is one of these."""
    return any(f"{module}.".startswith(f"{place}.") for place in places)


def of_kdzoo(module, imported, other):
    """What is wrong with one import of kdzoo in kdzoo, a list of sentences."""
    here, there = room(module), room(other)
    complaints = []
    if imported.function and here not in {"cli", "__main__"}:
        complaints.append(
            f"{module} imports {imported.name} in {imported.function}, not at its top"
        )
    if there is None:
        if here not in COMPOSERS:
            complaints.append(
                f"{module} imports {imported.name}, a public name: import it from its room"
            )
    elif there not in RANK:
        complaints.append(f"{module} imports {imported.name}, of a room that is in no layer")
    elif here != there and RANK[there] >= RANK[here]:
        complaints.append(f"{module} imports {imported.name}, which is not below it")
    elif here == there and are_siblings(module, other):
        complaints.append(f"{module} imports {imported.name}, a sibling technique")
    return complaints


def are_siblings(module, other):
    """Says whether two modules are different techniques of one package."""
    for package, shared in TECHNIQUES.items():
        one, two = (technique_in(package, name) for name in (module, other))
        if one and two and one != two and not {one, two} & shared:
            return True
    for package, techniques in FEW_TECHNIQUES.items():
        one, two = (technique_in(package, name) for name in (module, other))
        if two in techniques and one and one != two:  # Neither a technique nor what they share.
            return True
    return False


def technique_in(package, module):
    """The name of the module of a package that a module is, or is in; None elsewhere."""
    if not module.startswith(f"{package}."):
        return None
    return module.removeprefix(f"{package}.").partition(".")[0]


def accessors(found_in):
    """Returns package -> the functions that import it, sorted.

    Args:
        found_in: Module -> what `imports` returned for it.
    """
    found = {}
    for module, statements in found_in.items():
        for imported in statements:
            package = imported.name.partition(".")[0]
            if package in HEAVY and imported.function and not is_in(module, MANY_ACCESSORS):
                found.setdefault(package, set()).add(f"{module}.{imported.function}")
    return {package: sorted(functions) for package, functions in found.items()}


def circles(edges):
    """Returns the strongly connected parts of a graph that have several members, sorted lists.

    Args:
        edges: Node -> the nodes that it points at.
    """
    reached = {node: reachable(node, edges) for node in edges}
    found = {
        frozenset({node} | {other for other in there if node in reached.get(other, ())})
        for node, there in reached.items()
        if node in there
    }
    return sorted(sorted(circle) for circle in found)


def reachable(start, edges):
    seen, waiting = set(), [start]
    while waiting:
        for other in edges.get(waiting.pop(), ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def calls_by_name(source):
    """Says whether a module imports by names in strings."""
    return any(
        isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id)
        in {"import_module", "__import__"}
        for node in ast.walk(ast.parse(source))
    )


def dotted(path):
    """The name of the module in a file; of an `__init__` that of its package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}
IMPORTS = {
    module: imports(path.read_text(encoding="utf-8"), module, path.stem == "__init__")
    for module, path in SOURCES.items()
}


@pytest.mark.parametrize("module", sorted(SOURCES.keys() - {"kdzoo"}))
def test_a_module_keeps_the_layers(module):
    assert violations(module, IMPORTS[module], SOURCES) == []


def test_there_are_no_circles():
    edges = {
        module: {target(one.name, SOURCES) for one in found if one.name.startswith("kdzoo")}
        for module, found in IMPORTS.items()
    }
    # What `import kdzoo` imports is below it; what composes public names imports it.
    assert circles({module: there - {"kdzoo"} for module, there in edges.items()}) == []


def test_a_heavy_package_has_one_accessor():
    several = {name: found for name, found in accessors(IMPORTS).items() if len(found) > 1}
    assert several == {}


def test_only_the_listed_import_by_name():
    found = {
        module
        for module, path in SOURCES.items()
        if calls_by_name(path.read_text(encoding="utf-8"))
    }
    assert found - BY_NAME.keys() == set()


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("kdzoo.losses.base", "from kdzoo.models import mlp", "not below it"),
        ("kdzoo.losses.base", "import kdzoo.models.mlp as m", "not below it"),
        ("kdzoo.losses.base", "from ..models import mlp", "not below it"),
        ("kdzoo.data.dataset", "from kdzoo.distillation import distiller", "not below it"),
        ("kdzoo.export.litert", "from kdzoo.evaluation import accuracy", "not below it"),
        ("kdzoo.distillation.distiller", "import kdzoo.zoo", "not below it"),
        ("kdzoo.graph.taps", "from kdzoo.training.callbacks import Anneal", "not below it"),
        ("kdzoo.utils", "from kdzoo.losses import base", "not below it"),
        ("kdzoo.recipes.digits", "from kdzoo.cli import terminal", "not below it"),
        ("kdzoo.models", "from ..data import dataset", "not below it"),
        ("kdzoo.models.mlp", "from .separable import separable", "sibling technique"),
        ("kdzoo.models.mlp", "from kdzoo.models import separable", "sibling technique"),
        ("kdzoo.compression.low_rank", "from kdzoo.compression import binary", "sibling"),
        (
            "kdzoo.compression.tfmot.pruning",
            "from kdzoo.compression.tfmot import clustering",
            "sibling",
        ),
        (
            "kdzoo.compression.tfmot.unwrapping",
            "from kdzoo.compression.tfmot import pruning",
            "sibling",
        ),
        ("kdzoo.zoo.registry", "from kdzoo import create", "public name"),
        ("kdzoo.zoo.registry", "import kdzoo", "public name"),
        ("kdzoo.recipes.digits", "from kdzoo import Distiller", "public name"),
        ("kdzoo.zoo.pairs", "def f():\n    import keras", "keras in f, not at its top"),
        ("kdzoo.zoo.pairs", "def f():\n    import numpy as np", "numpy in f, not at its top"),
        ("kdzoo.zoo.pairs", "def f():\n    from kdzoo import losses", "in f, not at its top"),
        (
            "kdzoo.zoo.pairs",
            "class A:\n    def f(self):\n        import json",
            "json in f, not at its top",
        ),
        ("kdzoo.data.tfds", "import tensorflow_datasets as tfds", "tensorflow_datasets at its top"),
        (
            "kdzoo.data.tfds",
            "def f():\n    import tensorflow",
            "tensorflow, which only kdzoo.utils.heavy_libraries may",
        ),
        (
            "kdzoo.compression.tfmot.pruning",
            "def f():\n    import tensorflow_model_optimization",
            "only kdzoo.compression.tfmot.library may",
        ),
        ("kdzoo.export.convert", "def f():\n    import tf_keras", "only kdzoo.compression.tfmot"),
        ("kdzoo.misc", "", "in no layer"),
        ("kdzoo.utils.misc", "from kdzoo.misc import a", "public name"),
    ],
)
def test_the_rules_catch_what_they_should(module, source, complaint):
    modules = {"kdzoo.compression.low_rank", "kdzoo.compression.binary"}
    (found,) = violations(
        module, imports(source, module, module == "kdzoo.models"), {*SOURCES, *modules}
    )
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("kdzoo.models.mlp", "from kdzoo.models import blocks"),
        ("kdzoo.models", "from kdzoo.models.mlp import mlp\nfrom .mlp import mlp"),
        ("kdzoo.distillation.distiller", "from kdzoo.losses.base import Loss\nimport keras"),
        ("kdzoo.zoo.pairs", "from kdzoo.zoo import registry\nfrom kdzoo import losses"),
        ("kdzoo.cli.app", "import kdzoo\nfrom kdzoo import create, recipes"),
        ("kdzoo.cli.app", "def f():\n    import keras\n    from kdzoo import create"),
        ("kdzoo.recipes.digits", "from kdzoo import export\nfrom kdzoo.schemes import train"),
        ("kdzoo.compression.tfmot.library", "def f():\n    import tf_keras"),
        ("kdzoo.compression.tfmot.pruning", "from kdzoo.compression.tfmot import library"),
        ("kdzoo.utils.heavy_libraries", "def jax():\n    import jax\n    return jax"),
        (
            "kdzoo.data",
            "import typing\nif typing.TYPE_CHECKING:\n    from kdzoo.zoo import load",
        ),
    ],
)
def test_the_rules_allow_what_they_should(module, source):
    assert violations(module, imports(source, module, module == "kdzoo.models"), SOURCES) == []


def test_circles_are_found():
    edges = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": set(), "f": {"f"}}
    assert circles(edges) == [["a", "b", "c"], ["f"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_a_second_accessor_is_found():
    source = "def f():\n    import jax\ndef g():\n    from jax import numpy"
    found = accessors({"kdzoo.losses.base": imports(source, "kdzoo.losses.base")})
    assert found == {"jax": ["kdzoo.losses.base.f", "kdzoo.losses.base.g"]}
    assert calls_by_name("import importlib\nimportlib.import_module('kdzoo.zoo')")
    assert not calls_by_name("import importlib")


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
        [sys.executable, "-c", script, *HEAVY, "typer"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"]


def test_importing_kdzoo_registers_every_class():
    """Keras finds none by its name before the module that defines it has run."""
    registering = [
        module
        for module, path in SOURCES.items()
        if "@keras.saving.register_keras_serializable(" in path.read_text(encoding="utf-8")
    ]
    script = "import sys, kdzoo; print(*(set(sys.argv[1:]) - set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script, *registering], capture_output=True, text=True, check=True
    )
    assert len(registering) > 10
    assert done.stdout.split() == []
