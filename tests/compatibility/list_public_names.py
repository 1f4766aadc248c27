"""Lists what users may rely on: names, signatures, options of the command line, fields, keys.

    KERAS_BACKEND=tensorflow python tests/compatibility/list_public_names.py > names.json

`public_names.json` beside it was written so from the code of f6c64fd; `test_public_names.py`
compares.
"""

import dataclasses
import enum
import importlib
import inspect
import json

import kdzoo

ROOMS = (
    *("acceleration", "callbacks", "compression", "data", "evaluation", "export", "losses"),
    *("models", "recipes", "schemes", "zoo"),
)
EXEMPT = {"Comparison", "Compression", "CompressionComparison", "Student"}


def public_names():
    """Returns dotted name -> what is known of it, a dictionary."""
    found = {f"kdzoo.{name}": described(getattr(kdzoo, name)) for name in kdzoo.__all__}
    for room in ROOMS:
        module = importlib.import_module(f"kdzoo.{room}")
        for name in names_of(module):
            if name not in EXEMPT:
                found[f"kdzoo.{room}.{name}"] = described(getattr(module, name))
    return found


def names_of(module):
    """The public names of a module: those that it lists, or defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def described(value):
    """What is known of a value: its kind, parameters, methods, fields."""
    if inspect.ismodule(value):
        return {"kind": "module"}
    if not inspect.isclass(value):
        return (
            {"kind": "function", "parameters": parameters(value)}
            if callable(value)
            else {"kind": type(value).__name__}
        )
    if not value.__module__.startswith("kdzoo"):
        return {"kind": "class"}  # TF-MOT's own.
    known = {"kind": "class", "parameters": parameters(value)}
    if dataclasses.is_dataclass(value):
        known["fields"] = [field.name for field in dataclasses.fields(value)]
    if issubclass(value, enum.Enum):
        known["values"] = [each.name for each in value]
    known["members"] = {
        name: parameters(member) if callable(member) else "property"
        for kind in reversed(value.__mro__)
        if kind.__module__.startswith("kdzoo")
        for name, member in vars(kind).items()
        if not name.startswith("_")
    }
    return known


def parameters(function):
    """(name, kind, default) of each parameter, a list."""
    try:
        signature = inspect.signature(getattr(function, "__func__", function))
    except (TypeError, ValueError):
        return []
    return [
        [each.name, each.kind.name, None if each.default is each.empty else repr(each.default)]
        for each in signature.parameters.values()
    ]


def commands():
    """Returns the words of a command -> names of its arguments and options, with defaults."""
    import typer

    from kdzoo.cli.app import app

    found = {}

    def walk(words, command):
        for name, inner in getattr(command, "commands", {}).items():
            walk([*words, name], inner)
        if not hasattr(command, "commands"):
            found[" ".join(words)] = {
                each.name: [sorted(each.opts), repr(each.default)] for each in command.params
            }

    walk(["kdzoo"], typer.main.get_command(app))
    return found


def main():
    print(json.dumps({"names": public_names(), "commands": commands()}, indent=0, sort_keys=True))


if __name__ == "__main__":
    main()
