"""Why a value cannot be sent, and where in it the trouble is: a second walk, made only after encoding has failed."""

from __future__ import annotations

import dataclasses
import json
import reprlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from processhub.cluster.callables import is_nameable
from processhub.cluster.wire_types import FIELD_NAMES
from supervisor.errors import EncodeError, NotImportable

_DEEPEST = 400


class _Trouble(NamedTuple):
    path: str
    error: Exception


def refusal(obj: Any) -> EncodeError:
    """The error for an object of a type that is not sent, with what to send instead."""
    kind = type(obj)
    name = f"a {kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else f"a {kind.__qualname__}"
    if isinstance(obj, tuple) and hasattr(obj, "_fields"):
        return EncodeError(f"{name} is a namedtuple; send tuple(...) of it")
    for base in (dict, list, tuple, set, frozenset, str, bytes, int, float):
        if isinstance(obj, base):
            return EncodeError(f"{name} is a subclass of {base.__name__}; send {base.__name__}(...) of it")
    if dataclasses.is_dataclass(obj):
        return EncodeError(f"{name} is a dataclass; send a dict or tuple of its fields")
    if isinstance(obj, BaseException):
        return EncodeError(f"{name} is an exception; send its text, or Crash.from_exception(...)")
    return EncodeError(f"{name} cannot be sent to another node; send plain data")


def explain(value: Any, what: str, pack: Callable[[Any], bytes], error: Exception) -> EncodeError:
    """The error to raise for `value`, which `pack` refused with `error`: it names the path, rooted at `what`."""
    try:
        trouble = _find(value, what, pack, set())
    except RecursionError:
        trouble = None
    if trouble is None:
        return EncodeError(f"cannot send {what}: {error}")
    kind = NotImportable if isinstance(trouble.error, NotImportable) else EncodeError
    return kind(f"cannot send {trouble.path}: {_reason(trouble.error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"text with a lone surrogate at {error.start}; send bytes"
    return str(error)


def _find(value: Any, path: str, pack: Callable[[Any], bytes], above: set[int]) -> _Trouble | None:
    if id(value) in above:
        return _Trouble(path, EncodeError("it contains itself"))
    if len(above) > _DEEPEST:
        return _Trouble(path[:200] + "...", EncodeError("it is nested too deeply"))
    above.add(id(value))
    try:
        return _find_inside(value, path, pack, above)
    finally:
        above.remove(id(value))


def _find_inside(value: Any, path: str, pack: Callable[[Any], bytes], above: set[int]) -> _Trouble | None:
    children = _children(value, path)
    if children is None:
        return _find_in_leaf(value, path, pack, above)
    for child_path, child in children:
        trouble = _find(child, child_path, pack, above)
        if trouble is not None:
            return trouble
    return None


def _children(value: Any, path: str) -> Iterator[tuple[str, Any]] | None:
    kind = type(value)
    if kind is dict:
        return _dict_children(value, path)
    if kind in (list, tuple):
        return ((f"{path}[{index}]", item) for index, item in enumerate(value))
    if kind in (set, frozenset):
        return ((f"element {_short(item)} of {path}", item) for item in value)
    names = FIELD_NAMES.get(kind)
    return ((f"{path}.{name}", getattr(value, name)) for name in names) if names else None


def _dict_children(value: dict[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        yield f"key {_short(key)} of {path}", key
        yield f"{path}[{_short(key)}]", item


def _find_in_leaf(value: Any, path: str, pack: Callable[[Any], bytes], above: set[int]) -> _Trouble | None:
    try:
        pack(value)
    except Exception as error:
        return _blame_attribute(value, path, pack, above, error)
    return None


def _blame_attribute(
    value: Any, path: str, pack: Callable[[Any], bytes], above: set[int], error: Exception
) -> _Trouble:
    """Objects are not sent; but if one has an attribute that could not be sent either, that is the better hint."""
    attributes = {} if is_nameable(value) or isinstance(value, BaseException) else getattr(value, "__dict__", {})
    for name, item in attributes.items() if type(attributes) is dict else ():
        trouble = _find(item, f"{path}.{name}", pack, above)
        if trouble is not None:
            return trouble._replace(error=type(error)(f"{_reason(trouble.error)} ({path}: {_reason(error)})"))
    return _Trouble(path, error)


def _short(value: Any) -> str:
    if type(value) is str and len(value) <= 60:
        return json.dumps(value)  # repr's single quotes would be harder to read in a path
    try:
        return reprlib.repr(value)
    except Exception:
        return f"<{type(value).__qualname__}>"
