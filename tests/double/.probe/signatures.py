"""Prints as JSON what a Cat offers under the names that are given: `signatures.py < {"names": …, "members": …}`.

`names`: pairs of module and name; `members`: what is looked at in them, where a Cat's own class defines it.
"""

import enum
import importlib
import inspect
import json
import sys


def parameters(function):
    """Name, kind and default of each; a default that is no plain value only as its presence."""
    return [
        [one.name, one.kind.name, one.default if is_plain(one.default) else one.default is not one.empty]
        for one in inspect.signature(function).parameters.values()
    ]


def is_plain(value):
    return value is None or isinstance(value, (str, int, float, list))


def described(found, members):
    is_class = inspect.isclass(found)
    if is_class and issubclass(found, enum.Enum):
        return {"kind": "enum", "values": {one.name: one.value for one in found}}
    if inspect.isroutine(found):
        return {"kind": "function", "parameters": parameters(found)}
    description = {"kind": "class" if is_class else "object"}
    owner = found if is_class else type(found)
    own = [base for base in owner.__mro__ if base.__module__.startswith("cat.")]
    annotated = {name for base in own for name in inspect.get_annotations(base)}
    fields = getattr(owner, "model_fields", {})
    fields = {name: fields[name].is_required() for name in fields if name in annotated.intersection(members)}
    description["required"] = fields
    for name in members:
        member = inspect.getattr_static(owner, name, None)
        if member is None or name in fields or not any(name in vars(base) for base in own):
            continue
        is_method = callable(getattr(owner, name)) and not isinstance(member, property)
        description[name] = parameters(getattr(found, name)) if is_method else "attribute"
    return description


def main():
    asked = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr
    found = {}
    for module, name in asked["names"]:
        where = importlib.import_module(module)
        thing = getattr(where, name) if hasattr(where, name) else importlib.import_module(f"{module}.{name}")
        found[f"{module}.{name}"] = described(thing, asked["members"])
    json.dump(found, out)


if __name__ == "__main__":
    main()
