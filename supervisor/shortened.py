"""Values as short text, for reports and dumps: `repr` with bounds, whatever the value is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, Final

_DEPTH: Final = 4
_ITEMS: Final = 10
_CHARACTERS: Final = 200  # of one string
_DIGIT_BITS: Final = 1024  # longer numbers take long to print, and Python may refuse


def shortened(value: Any, limit: int = 500) -> str:
    """About `repr(value)`, in at most `limit` characters. Never raises an `Exception`.

    Of large containers, strings and numbers only the beginning is looked at, so that it takes no long time. A class
    with a `__repr__` of its own is asked; what that raises is shown instead.
    """
    text = _show(value, _DEPTH)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _show(value: Any, depth: int) -> str:
    try:
        its_repr: Any = type(value).__repr__
        for kind, show in _BUILT_IN:
            # A subclass counts as what it derives from, unless it shows itself in another way.
            if isinstance(value, kind) and its_repr is kind.__repr__:
                return show(value, depth)
        if is_dataclass(value) and hasattr(its_repr, "__wrapped__"):  # the generated one
            return _show_dataclass(value, depth)
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} whose repr failed: {type(error).__qualname__}>"


def _show_text(value: Any, depth: int) -> str:
    return repr(value) if len(value) <= _CHARACTERS else f"{value[:_CHARACTERS]!r}... ({len(value)} long)"


def _show_int(value: int, depth: int) -> str:
    bits = value.bit_length()
    return repr(value) if bits <= _DIGIT_BITS else f"<int of {bits} bits>"


def _show_dict(value: dict[Any, Any], depth: int) -> str:
    return "{" + _items(value, depth, lambda key, below: f"{_show(key, below)}: {_show(value[key], below)}") + "}"


def _show_dataclass(value: Any, depth: int) -> str:
    names = [field.name for field in fields(value) if field.repr]
    shown = _items(names, depth, lambda name, below: f"{name}={_show(getattr(value, name), below)}")
    return f"{type(value).__qualname__}({shown})"


def _between(opening: str, closing: str) -> Callable[[Any, int], str]:
    return lambda value, depth: f"{opening}{_items(value, depth, _show)}{closing}"


def _show_tuple(value: tuple[Any, ...], depth: int) -> str:
    return f"({_items(value, depth, _show)}{',' if len(value) == 1 else ''})"


def _show_set(value: Any, depth: int) -> str:
    return _between(f"{type(value).__name__}({{", "})")(value, depth) if value else f"{type(value).__name__}()"


def _items(value: Iterable[Any], depth: int, show: Callable[[Any, int], str]) -> str:
    length = len(value)  # type: ignore[arg-type]
    if depth <= 0 and length:
        return "..."
    shown = [show(item, depth - 1) for item in islice(value, _ITEMS)]
    return ", ".join([*shown, f"... ({length} in all)"] if length > _ITEMS else shown)


_BUILT_IN: Final[tuple[tuple[type, Callable[[Any, int], str]], ...]] = (
    (str, _show_text),
    (bool, lambda value, depth: repr(value)),
    (int, _show_int),
    (dict, _show_dict),
    (list, _between("[", "]")),
    (tuple, _show_tuple),
    (set, _show_set),
    (frozenset, _show_set),
    (deque, _between("deque([", "])")),
    (bytes, _show_text),
    (bytearray, _show_text),
)
