"""ChildSpec: what a supervisor needs to know to start, restart and stop a child."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from supervisor.errors import SupervisorError

Shutdown = float | Literal["brutal_kill", "infinity"]
RESTARTS: Final = ("permanent", "transient", "temporary")
TYPES: Final = ("worker", "supervisor")


class InvalidChildSpec(SupervisorError, ValueError):
    """A child spec is not one; the message says which part, what was expected and what was given."""


@dataclass(frozen=True)
class ChildSpec:
    """How to start one child.

    id: unique within the supervisor (a `str` in a hub).
    start: (callable, args), (callable, args, kwargs) or (Class, "method", args[, kwargs]); the callable returns a Pid,
        linked to the process that called it, or None for a child that is not to run.
    restart: "permanent" always restarts, "transient" only after an abnormal end, "temporary" never.
    shutdown: seconds to end after an exit signal `shutdown` before it is killed; "brutal_kill" kills at once;
        "infinity" waits. Supervisors should have "infinity".
    type: "worker" or "supervisor".
    significant: its end can end the supervisor, see `auto_shutdown`.
    """

    id: Any
    start: tuple[Any, ...]
    restart: str = "permanent"
    shutdown: Shutdown = 5.0
    type: str = "worker"
    significant: bool = False

    def __post_init__(self) -> None:
        if not _is_id(self.id):
            raise _wrong(self, "id", "a hashable value that is unique in its supervisor, not None")
        if not _is_start(self.start):
            raise _wrong(self, "start", _START_FORMS)
        if self.restart not in RESTARTS:
            raise _wrong(self, "restart", f"one of {', '.join(RESTARTS)}")
        if not _is_shutdown(self.shutdown):
            raise _wrong(self, "shutdown", 'seconds >= 0, "brutal_kill" or "infinity"')
        if self.type not in TYPES:
            raise _wrong(self, "type", f"one of {', '.join(TYPES)}")
        if not isinstance(self.significant, bool):
            raise _wrong(self, "significant", "True or False")

    def run_start(self) -> Any:
        """Call the start function. Raises what it raises."""
        start = self.start
        if isinstance(start[1], str):
            fn, at = getattr(start[0], start[1]), 2
        else:
            fn, at = start[0], 1
        return fn(*start[at], **start[at + 1]) if len(start) > at + 1 else fn(*start[at])

    def with_arguments(self, change: Callable[[tuple[Any, ...]], Sequence[Any]]) -> ChildSpec:
        """The same child, its start function called with `change(the positional arguments that it has)`."""
        at = 2 if isinstance(self.start[1], str) else 1
        args = tuple(change(tuple(self.start[at])))
        return replace(self, start=(*self.start[:at], args, *self.start[at + 1 :]))

    @property
    def modules(self) -> list[str]:
        """The module of the start function, for listings."""
        return [getattr(self.start[0], "__module__", "?")]


_START_FORMS: Final = '(callable, args), (callable, args, kwargs) or (Class, "method", args[, kwargs])'
# Tuples, because `isinstance(x, a | b)` makes a union each time: a spec is made for every child that starts.
_SEQUENCES: Final = (tuple, list)
_MAPPINGS: Final = (dict, Mapping)
_NUMBERS: Final = (float, int)
_FIELDS: Final = tuple(field.name for field in fields(ChildSpec))


def _wrong(spec: ChildSpec, name: str, expected: str) -> InvalidChildSpec:
    value = getattr(spec, name)
    return InvalidChildSpec(f"child spec {spec.id!r}: {name} must be {expected}; got {value!r:.200}")


def _is_id(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return value is not None


def _is_shutdown(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return value in ("brutal_kill", "infinity") or (isinstance(value, _NUMBERS) and value >= 0)


def _is_start(start: Any) -> bool:
    if not isinstance(start, _SEQUENCES) or len(start) < 2 or not callable(start[0]):
        return False
    at = 1
    if isinstance(start[1], str):
        if not callable(getattr(start[0], start[1], None)):
            return False
        at = 2
    count = len(start) - at
    if not 1 <= count <= 2 or not isinstance(start[at], _SEQUENCES):
        return False
    return count == 1 or isinstance(start[at + 1], _MAPPINGS)


def child_spec(spec: Any) -> ChildSpec:
    """A ChildSpec from any accepted form: itself, a dict with its keys, a class with `child_spec`, or (class, arg).

    Raises InvalidChildSpec, naming what is missing or wrong.
    """
    if isinstance(spec, ChildSpec):
        return spec
    if isinstance(spec, Mapping):
        return _from_mapping(spec)
    if hasattr(spec, "child_spec"):
        return child_spec(spec.child_spec())
    if isinstance(spec, tuple) and len(spec) == 2 and hasattr(spec[0], "child_spec"):
        return child_spec(spec[0].child_spec(spec[1]))
    raise InvalidChildSpec(
        f"not a child spec: {spec!r:.200}; "
        "expected a ChildSpec, a dict with its keys, a GenServer class or (class, arg)"
    )


def _from_mapping(spec: Mapping[Any, Any]) -> ChildSpec:
    missing = [name for name in ("id", "start") if name not in spec]
    unknown = sorted(str(key) for key in spec if key not in _FIELDS)
    if missing or unknown:
        problem = f"lacks {' and '.join(missing)}" if missing else f"has unknown keys {', '.join(unknown)}"
        raise InvalidChildSpec(f"child spec {dict(spec)!r:.200} {problem}; its keys are {', '.join(_FIELDS)}")
    return ChildSpec(**{str(key): value for key, value in spec.items()})
