"""Child specs of a hub: checked when they are handed in, encoded once, decoded afresh for every start.

A spec travels and is stored as a `SpecRecord`: a *template* (start function and options, plain and hashable, shared
by all specs that differ in their arguments only) and the encoded arguments. It is encoded on a lone node too: so a
spec that cannot go to another node is refused when it is handed in, and no start sees what another start has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from processhub.cluster.callables import Reference, reference_to, resolved
from processhub.cluster.wire import Codec, DecodeError
from processhub.hub.errors import InvalidChildSpec, shortened
from processhub.registry import SpecRecord
from supervisor.child_spec import ChildSpec, child_spec
from supervisor.child_spec import InvalidChildSpec as RuntimeInvalidChildSpec
from supervisor.errors import EncodeError, NotImportable

_MAX_TEMPLATES = 4096
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))  # holds no references


class Template(NamedTuple):
    """What specs of one kind share. On the wire it is a plain tuple."""

    module: str
    qualname: str
    attribute: str | None
    restart: str
    shutdown: Any
    type: str
    significant: bool


def normalise(specs: Iterable[Any]) -> list[ChildSpec]:
    """Child specs from any accepted forms, in the order given.

    Raises:
        InvalidChildSpec: one of them is no child spec, its id is no `str`, or ids come twice (all of those are listed).
    """
    if isinstance(specs, ChildSpec | Mapping | str) or not isinstance(specs, Iterable):
        raise InvalidChildSpec(f"expected a list of child specs; got {specs!r:.200}")
    found = [_normalise_one(spec) for spec in specs]
    if len({spec.id for spec in found}) != len(found):
        raise InvalidChildSpec(f"child ids must be unique within one call; these come twice: {_repeated(found)}")
    return found


def _normalise_one(spec: Any) -> ChildSpec:
    try:
        found = child_spec(spec)
    except RuntimeInvalidChildSpec as error:
        raise InvalidChildSpec(str(error)) from None
    child_id = found.id
    if type(child_id) is not str or not child_id or not (child_id.isascii() or _is_text(child_id)):
        raise InvalidChildSpec(
            f"child spec {child_id!r:.100}: id must be a non-empty str in a hub; got {child_id!r:.100}"
        )
    return found


def _is_text(value: str) -> bool:
    """Whether it has no lone surrogates, which have no encoding."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _repeated(specs: list[ChildSpec]) -> str:
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for spec in specs:
        if spec.id in seen:
            twice[spec.id] = None
        seen.add(spec.id)
    return shortened(list(twice))


class SpecCodec:
    """Encodes and decodes the specs of one node.

    Args:
        codec: the node's codec, whose rules for values are those for arguments.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        # (function or class, method, options) -> template: 10 000 specs of one kind look the function up once.
        self._templates: dict[Any, Template] = {}
        # template -> a checked spec of that kind, from which those of the records are made without checking each again.
        self._kinds: dict[Template, ChildSpec] = {}
        self._no_args = codec.pack([[], {}])

    def encode(self, spec: ChildSpec) -> SpecRecord:
        """The record of a spec. Equal specs give equal records.

        Raises:
            NotImportable: the start function, or one among the arguments, has no importable name.
            EncodeError: an argument cannot be sent to another node. Both name the child and what it is about.
        """
        start = spec.start
        rest = start[1:]
        method = None
        if isinstance(rest[0], str):
            method, rest = rest[0], rest[1:]
        template = self._template(spec, start[0], method)
        if not rest[0] and not any(rest[1:]):
            return _make_record((template, self._no_args))
        return _make_record((template, self._pack(spec.id, rest[0], rest[1] if len(rest) > 1 else {})))

    def encode_all(self, specs: Iterable[ChildSpec]) -> dict[str, SpecRecord]:
        """The records of many specs by child id. Raises as `encode` does, for the first that cannot be encoded."""
        return {spec.id: self.encode(spec) for spec in specs}

    def decode(self, child_id: str, record: SpecRecord) -> ChildSpec:
        """The spec of a record, with arguments of its own and a `Reference` for its start function. Imports nothing.

        Raises:
            DecodeError: the record is malformed.
        """
        kind, args, kwargs = self._open(child_id, record)
        return _made_like(kind, child_id, (kind.start[0], args, kwargs))

    def options(self, record: SpecRecord) -> ChildSpec:
        """A spec without id and arguments, for who wants to know its options only.

        Raises:
            DecodeError: the record is malformed.
        """
        try:
            return self._kinds.get(record.template) or self._new_kind(record.template)
        except (TypeError, ValueError) as error:
            raise DecodeError(f"malformed spec: {error}") from None

    def start(self, child_id: str, record: SpecRecord) -> Any:
        """Call the start function of a record. Raises as `ready` does, and what the function raises."""
        kind, args, kwargs = self._open(child_id, record)
        fn, args, kwargs = self._resolved(kind, args, kwargs)
        return fn(*args, **kwargs)

    def ready(self, child_id: str, record: SpecRecord) -> ChildSpec:
        """The spec of a record, ready to be started: the start function, and functions among its arguments, resolved.

        Imports modules: to be called in the process that starts the child, never on the event loop.

        Raises:
            ResolveError: a name means nothing on this node.
            DecodeError: the record is malformed.
        """
        kind, args, kwargs = self._open(child_id, record)
        return _made_like(kind, child_id, self._resolved(kind, args, kwargs))

    def _resolved(self, kind: ChildSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        if not _PLAIN.issuperset(map(type, args)):
            args = resolved(args)
        return kind.start[0].resolve(), args, resolved(kwargs) if kwargs else kwargs

    def _open(self, child_id: str, record: SpecRecord) -> tuple[ChildSpec, tuple[Any, ...], dict[str, Any]]:
        try:
            template, packed = record
            kind = self._kinds.get(template) or self._new_kind(template)
            args, kwargs = self._codec.unpack(packed)
            if type(args) is list and type(kwargs) is dict:
                return kind, tuple(args), kwargs
            problem = "its arguments are no list and dict"
        except (TypeError, ValueError) as error:  # an InvalidChildSpec is a ValueError
            problem = str(error)
        raise DecodeError(f"malformed spec of child {child_id!r:.100}: {problem}")

    def _new_kind(self, template: Template) -> ChildSpec:
        module, qualname, attribute, *options = template
        kind = ChildSpec("", (Reference(module, qualname, attribute), ()), *options)
        if len(self._kinds) >= _MAX_TEMPLATES:
            self._kinds.clear()
        self._kinds[template] = kind
        return kind

    def _template(self, spec: ChildSpec, fn: Callable[..., Any], method: str | None) -> Template:
        key = (fn, method, spec.restart, spec.shutdown, spec.type, spec.significant)
        try:
            template = self._templates.get(key)
        except TypeError:  # an unhashable callable object; it has no importable name either
            template = None
        if template is None:
            template = self._new_template(spec, fn, method)
            if len(self._templates) >= _MAX_TEMPLATES:
                self._templates.clear()
            self._templates[key] = template
        return template

    def _new_template(self, spec: ChildSpec, fn: Callable[..., Any], method: str | None) -> Template:
        try:
            reference = reference_to(fn)
        except NotImportable as error:
            raise NotImportable(f"child spec {spec.id!r:.100}: start: {error}") from None
        if method is not None:
            path = f"{reference.qualname}.{reference.attribute}" if reference.attribute else reference.qualname
            reference = Reference(reference.module, path, method)
        options = (spec.restart, spec.shutdown, spec.type, spec.significant)
        return Template(reference.module, reference.qualname, reference.attribute, *options)

    def _pack(self, child_id: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> bytes:
        try:
            return self._codec.pack([list(args), dict(kwargs)])
        except EncodeError:
            # Once more, in parts, for an error that names the argument as the user knows it.
            self._codec.pack(list(args), f"child spec {child_id!r:.100}: args")
            self._codec.pack(dict(kwargs), f"child spec {child_id!r:.100}: kwargs")
            raise


_make_record = partial(tuple.__new__, SpecRecord)  # a third of what the constructor costs


def _made_like(kind: ChildSpec, child_id: str, start: tuple[Any, ...]) -> ChildSpec:
    """A spec that differs from a checked one in id and start only: making it as usual would cost ten times as much."""
    spec = object.__new__(ChildSpec)
    spec.__dict__.update(kind.__dict__, id=child_id, start=start)
    return spec
