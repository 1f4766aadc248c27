"""Lists what users may rely on: names, signatures, options of the command line, fields, keys.

    KERAS_BACKEND=tensorflow python tests/compatibility/list_public_names.py > names.json

Two lists lie beside it: `public_names.json`, of the code of f6c64fd, which stays; and
`public_names_now.json`, which is written anew when something public is added, and never because
something is gone. `test_public_names.py` compares both with the code.
"""

import dataclasses
import enum
import importlib
import inspect
import json
import re

import kdzoo

ROOMS = (
    *("acceleration", "callbacks", "compression", "data", "dynamic", "evaluation", "experiments"),
    *("export", "losses", "models", "recipes", "schemes", "zoo"),
)


def public_names():
    """Returns dotted name -> what is known of it, a dictionary."""
    found = {f"kdzoo.{name}": described(getattr(kdzoo, name)) for name in kdzoo.__all__}
    for room in ROOMS:
        module = importlib.import_module(f"kdzoo.{room}")
        for name in names_of(module):
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
        known["values"] = [member.name for member in value]
    known["members"] = {
        name: parameters(member) if callable(member) else "property"
        for base in reversed(value.__mro__)
        if base.__module__.startswith("kdzoo")
        for name, member in vars(base).items()
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
        [one.name, one.kind.name, None if one.default is one.empty else shown(one.default)]
        for one in signature.parameters.values()
    ]


def shown(value):
    """The `repr` of a value, without its address, which differs from run to run."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


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
                option.name: [sorted(option.opts), repr(option.default)]
                for option in command.params
            }

    walk(["kdzoo"], typer.main.get_command(app))
    return found


def main():
    """Prints the lists, a line for each name and command."""
    parts = []
    for part, known in (("commands", commands()), ("names", public_names())):
        lines = (f"{json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known))
        parts.append(f"{json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n}")
    print("{" + ",\n".join(parts) + "}")


if __name__ == "__main__":
    main()
