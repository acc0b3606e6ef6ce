"""Columns: how many operations or rows go into few plain lists, and come back only if they are well formed.

A column is ``[0, [value, value, ...]]``, or ``[1, value]`` where one and the same value stands in every place. Reading
checks types, lengths and ranges with the C functions of the standard library, so that ten thousand values cost little
more than ten. What does not fit raises `MalformedBatch`; nothing has been changed by then.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, chain, islice, repeat
from operator import sub
from typing import Any

from processhub.registry.clocks import Actor
from processhub.registry.operations import ALL_REGISTERS, Replaced, SpecRecord, make_spec_record

Wire = Any
"""Plain values: None, bool, int, float, str, bytes, list, tuple, dict; and whatever pids and values are."""

MAX_INT = 2**63 - 1
_EACH, _ALL, _RECORDS = 0, 1, 2


class MalformedBatch(ValueError):
    """What came from a peer is no batch. Nothing of it was applied."""


def check(fits: bool, what: str) -> None:
    """Raises MalformedBatch unless it fits."""
    if not fits:
        raise MalformedBatch(what)


def sequence(wire: Wire, length: int | None = None) -> Sequence[Any]:
    """A list or tuple, of that length if one is given."""
    if type(wire) is not list and type(wire) is not tuple:
        raise MalformedBatch(f"a list was expected, not {type(wire).__name__}")
    if length is not None and len(wire) != length:
        raise MalformedBatch(f"a list of {length} was expected, not of {len(wire)}")
    return wire


def integer(wire: Wire, low: int = 0, high: int = MAX_INT) -> int:
    if type(wire) is not int or not low <= wire <= high:
        raise MalformedBatch(f"an integer from {low} to {high} was expected, not {wire!r:.50}")
    return wire


def name(wire: Wire) -> str:
    if type(wire) is not str or not wire:
        raise MalformedBatch(f"a name was expected, not {wire!r:.50}")
    return wire


# Any values.


def pack(values: Sequence[Any]) -> Wire:
    if values and len(set(map(id, values))) == 1:
        return [_ALL, values[0]]
    return [_EACH, list(values)]


def unpack(wire: Wire, count: int) -> list[Any]:
    kind, content = sequence(wire, 2)
    if type(kind) is int and kind == _ALL:
        return [content] * count
    check(type(kind) is int and kind == _EACH, "unknown kind of column")
    return list(sequence(content, count))


def unpack_integers(wire: Wire, count: int, low: int = 0, high: int = MAX_INT) -> list[int]:
    values = unpack(wire, count)
    if values:
        check(set(map(type, values)) == {int}, "a column of integers was expected")
        check(low <= min(values) and max(values) <= high, f"integers from {low} to {high} were expected")
    return values


def unpack_names(wire: Wire) -> list[str]:
    values = list(sequence(wire))
    check(set(map(type, values)) <= {str}, "a list of names was expected")
    return values


# Stamps: neighbours are close to one another, mostly by 1.


def pack_stamps(stamps: Sequence[int]) -> Wire:
    return [stamps[0] if stamps else 0, pack(list(map(sub, stamps[1:], stamps)))]


def unpack_stamps(wire: Wire, count: int) -> list[int]:
    first, steps = sequence(wire, 2)
    if not count:
        return []
    deltas = unpack_integers(steps, count - 1, -MAX_INT)
    stamps = list(accumulate(chain((integer(first),), deltas)))
    check(min(stamps) >= 0 and max(stamps) <= MAX_INT, "stamp out of range")
    return stamps


# Specs: the templates of `SpecRecord`s go into a table.


def pack_specs(specs: Sequence[Any]) -> Wire:
    kinds = set(map(type, specs))
    if SpecRecord not in kinds:
        return pack(specs)
    if kinds != {SpecRecord}:
        return [_RECORDS, _pack_mixed(specs)]
    templates, args = zip(*specs, strict=True)
    table, index = _template_table(templates)
    return [_RECORDS, [table, pack(list(map(index.__getitem__, map(id, templates)))), pack(args)]]


def _pack_mixed(specs: Sequence[Any]) -> Wire:
    """Position -1 stands for a value that is no record."""
    table, index = _template_table([spec.template for spec in specs if type(spec) is SpecRecord])
    positions = [index[id(spec.template)] if type(spec) is SpecRecord else -1 for spec in specs]
    return [table, pack(positions), pack([spec.args if type(spec) is SpecRecord else spec for spec in specs])]


def _template_table(templates: Sequence[Any]) -> tuple[list[Any], dict[int, int]]:
    """The different templates, and for the id of each object its place among them."""
    objects = dict(zip(map(id, templates), templates, strict=True))
    places: dict[Hashable, int] = {}
    table: list[Any] = []
    index: dict[int, int] = {}
    for at, template in objects.items():
        place = places.setdefault(exactly(template), len(table))
        if place == len(table):
            table.append(template)
        index[at] = place
    return table, index


def exactly(value: Any) -> Hashable:
    """A key that is equal only for values equal in type as well: 1, 1.0 and True are three."""
    if isinstance(value, tuple):
        return (type(value), *map(exactly, value))
    return (type(value), value)


def unpack_specs(wire: Wire, count: int) -> list[Any]:
    kind, content = sequence(wire, 2)
    if type(kind) is not int or kind != _RECORDS:
        return unpack(wire, count)
    table, positions, args = sequence(content, 3)
    templates = list(map(_interned, sequence(table)))
    places = unpack_integers(positions, count, -1, len(templates) - 1)
    values = unpack(args, count)
    if -1 not in places:
        return list(map(make_spec_record, zip(map(templates.__getitem__, places), values, strict=True)))
    pairs = zip(places, values, strict=True)
    return [SpecRecord(templates[place], value) if place >= 0 else value for place, value in pairs]


def _interned(template: Any) -> Any:
    try:
        return _first_equal(exactly(template), template)
    except TypeError as error:
        raise MalformedBatch("a template must be hashable") from error


@lru_cache(maxsize=4096)
def _first_equal(key: Hashable, template: Any) -> Any:
    """One object for equal templates: each batch brings its own copy, and children started one by one share it too."""
    return template


# Replaced dots.


def actor_table(actors: Iterable[Actor]) -> dict[Actor, int]:
    """Actor -> its place in the table."""
    return {actor: place for place, actor in enumerate(dict.fromkeys(actors))}


def unpack_actors(wire: Wire) -> list[Actor]:
    pairs = (sequence(pair, 2) for pair in sequence(wire))
    return [(name(node), integer(incarnation, 1)) for node, incarnation in pairs]


def pack_replaces(replaces: Sequence[tuple[Replaced, ...]]) -> Wire:
    counts = list(map(len, replaces))
    if not any(counts):
        return None
    registers, nodes, incarnations, sequences = zip(*chain.from_iterable(replaces), strict=True)
    actors = list(zip(nodes, incarnations, strict=True))
    table = actor_table(actors)
    places = list(map(table.__getitem__, actors))
    return [pack(counts), list(map(list, table)), pack(registers), pack(places), pack(sequences)]


def unpack_replaces(wire: Wire, count: int) -> Iterable[tuple[Replaced, ...]]:
    if wire is None:
        return repeat((), count)
    packed_counts, packed_actors, registers, places, sequences = sequence(wire, 5)
    counts = unpack_integers(packed_counts, count)
    # A constant column claims any length, so the total must be bounded before anything of that length is made.
    total = sum(counts)
    check(total <= 1_000_000, "too many replaced writes")
    actors = unpack_actors(packed_actors)
    dots = map(actors.__getitem__, unpack_integers(places, total, 0, len(actors) - 1))
    each_registers = unpack_integers(registers, total, 1, ALL_REGISTERS)
    each_sequence = unpack_integers(sequences, total, 1)
    flat = [(mask, *actor, at) for mask, actor, at in zip(each_registers, dots, each_sequence, strict=True)]
    if counts.count(1) == count:
        return zip(flat, strict=True)
    rest = iter(flat)
    return [tuple(islice(rest, length)) for length in counts]
