"""Things to start, by importable names."""

from __future__ import annotations

from typing import Any


def start(*args: Any, word: Any = None) -> tuple[Any, ...]:
    return ("start", args, word)


class Counter:
    @classmethod
    def start_here(cls, *args: Any, word: Any = None) -> tuple[Any, ...]:
        return (cls.__name__, args, word)

    @classmethod
    def child_spec(cls, *args: Any) -> dict[str, Any]:
        return {"id": "counter", "start": (cls.start_here, args)}

    def method(self) -> None:
        pass


class Special(Counter):
    pass


class Nested:
    class Inner:
        @staticmethod
        def start_here() -> str:
            return "inner"


INSTANCE = Counter()
