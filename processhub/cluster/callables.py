"""Functions, classes and enum members by their importable names.

Code never crosses the wire: a function travels as the name under which the receiver imports it. A name is resolved when
it is used (`Reference.resolve`), never while a frame is decoded, so that decoding imports and executes nothing.
"""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from types import BuiltinFunctionType, MethodType, ModuleType
from typing import Any

from supervisor.errors import NotImportable, SupervisorError

_LOCAL_MARKS = ("<locals>", "<lambda>")


class ResolveError(SupervisorError):
    """A name that came from another node means nothing here; the message says which and why."""


@dataclass(frozen=True)
class Reference:
    """The importable name of an object: `module`, the dotted `qualname` in it, and an optional `attribute` of that.

    `attribute` is apart because the `__qualname__` of an inherited classmethod names the base class: `qualname` is the
    class that it was bound to. Enum members use it as well.

    A reference to a function can be called as it stands: it resolves itself first.
    """

    module: str
    qualname: str
    attribute: str | None = None

    def resolve(self) -> Any:
        """The object of this name; imports its module if need be.

        An import may take long and runs code: call this in the process that uses the value, not on the event loop.
        Names of `__main__` are looked up in this node's own script.

        Raises:
            ResolveError: the module cannot be imported, or has nothing of that name.
        """
        found: Any = self._import()
        try:
            return self._walk(found)
        except AttributeError as error:
            raise ResolveError(f"cannot resolve {self}: {self._missing(error)}") from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.resolve()(*args, **kwargs)

    def __str__(self) -> str:
        tail = f".{self.attribute}" if self.attribute else ""
        return f"{self.module}:{self.qualname}{tail}"

    def _import(self) -> Any:
        if self.module == "__main__":
            return sys.modules["__main__"]
        try:
            # What `importlib.import_module` does, but for a module that is there in C. (A name to look for, and
            # one that every module has, so that the module itself is returned and not its package.)
            return __import__(self.module, fromlist=("__name__",))
        except Exception as error:  # a module may raise anything while it is imported
            raise ResolveError(f"cannot resolve {self}: importing {self.module!r} failed: {error!r}") from error

    def _walk(self, found: Any) -> Any:
        for name in self.qualname.split("."):
            found = getattr(found, name)
        return getattr(found, self.attribute) if self.attribute else found

    def _missing(self, error: AttributeError) -> str:
        if self.module != "__main__":
            return str(error)
        script = getattr(sys.modules["__main__"], "__file__", "interactive")
        return (
            f"the script of this node ({script}) does not define it; it was defined in the sender's script. "
            "Run the same script on both nodes, or move it to a module"
        )


def reference_to(obj: Any) -> Reference:
    """The importable name of a function, class, builtin, bound classmethod or enum member.

    Raises:
        NotImportable: it has no such name (a lambda, a local function, a method bound to an instance), or importing
            that name would give another object.
    """
    reference = _name_of(obj)
    if any(mark in reference.qualname for mark in _LOCAL_MARKS):
        raise NotImportable(f"{reference} is a lambda or local: move it to the top level of a module")
    try:
        found = reference._walk(sys.modules[reference.module])
    except Exception as error:
        raise NotImportable(f"nothing can be imported as {reference}") from error
    if found is not obj and not (isinstance(obj, (MethodType, BuiltinFunctionType)) and found == obj):
        raise NotImportable(f"importing {reference} would give another object (replaced or decorated since?)")
    return reference


def is_nameable(obj: Any) -> bool:
    """Whether `obj` is of a kind that travels by name, whether or not it has a good one."""
    return isinstance(obj, (type, enum.Enum)) or (callable(obj) and isinstance(getattr(obj, "__qualname__", None), str))


def _name_of(obj: Any) -> Reference:
    if isinstance(obj, type):
        return Reference(obj.__module__, obj.__qualname__)
    if isinstance(obj, enum.Enum):
        return Reference(type(obj).__module__, type(obj).__qualname__, _member_name(obj))
    if isinstance(obj, (MethodType, BuiltinFunctionType)) and not isinstance(obj.__self__, ModuleType):
        return _name_of_bound(obj)
    owner = getattr(obj, "__objclass__", None)  # methods of builtin types: str.upper
    module = owner.__module__ if isinstance(owner, type) else getattr(obj, "__module__", None)
    qualname = getattr(obj, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise NotImportable(f"a {type(obj).__qualname__} has no importable name")
    return Reference(module, qualname)


def _name_of_bound(obj: Any) -> Reference:
    owner = obj.__self__
    if isinstance(owner, type):
        return Reference(owner.__module__, owner.__qualname__, obj.__name__)
    raise NotImportable(
        f"{obj.__qualname__} is bound to an instance of {type(owner).__qualname__}; "
        "send a function or classmethod, and the data it needs beside it"
    )


def _member_name(member: enum.Enum) -> str:
    name = member._name_
    if name is None or name not in type(member).__members__:
        raise NotImportable(f"{member!r} is a combination of flags without a name; send its value")
    return name


def loaded_member(module: str, qualname: str, name: str) -> enum.Enum | None:
    """The enum member of that name if its class is loaded already, else None. Executes nothing.

    Only plain dictionaries are read: `getattr` could run a module's `__getattr__` or a descriptor.
    """
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = _namespace(found).get(part)
    if not issubclass(type(found), enum.EnumMeta):
        return None
    member = _namespace(found).get("_member_map_", {}).get(name)
    return member if issubclass(type(member), enum.Enum) else None


def _namespace(found: Any) -> Any:
    if issubclass(type(found), ModuleType):
        return object.__getattribute__(found, "__dict__")
    if issubclass(type(found), type):
        return type.__getattribute__(found, "__dict__")
    return {}


def resolved(value: Any) -> Any:
    """`value` with every `Reference` in its lists, tuples, dicts and sets replaced by what it names.

    Raises:
        ResolveError: one of them cannot be resolved.
    """
    kind = type(value)
    if kind is Reference:
        return value.resolve()
    if kind in (list, tuple, set, frozenset):
        return kind(map(resolved, value))
    if kind is dict:
        return {resolved(key): resolved(item) for key, item in value.items()}
    return value
