"""Helpers for tests with a few registries."""

from __future__ import annotations

from typing import Any

from processhub.registry import Batch, Changes, Chunk, Limits, Registry, RegistryVector, decode

NOW = 1_700_000_000_000


def members(names: str, limits: Limits | None = None) -> list[Registry]:
    return [Registry(name, 10, limits or Limits()) for name in names]


def start(registry: Registry, child_id: str, spec: Any = "spec", metadata: Any = None, placement: Any = None) -> None:
    registry.put(child_id, NOW, spec=spec, metadata=metadata if metadata is not None else {}, placement=placement)


def taken(registry: Registry) -> Batch:
    """What it has to tell, as it comes out of the wire."""
    batch = registry.take_batch()
    assert batch is not None
    received: Batch = sent(batch)
    return received


def sent(message: Batch | Chunk) -> Any:
    return decode(message.to_wire())


def pieces(asked: Registry, asking: Registry, tables: tuple[str, ...] = ()) -> list[Any]:
    """What `asking` lacks of what `asked` has."""
    vector = RegistryVector.from_wire(asking.vector().to_wire())
    asked.heard(vector)
    return [sent(piece) for piece in asked.delta_since(vector, tables)]


def pull(asking: Registry, asked: Registry, tables: tuple[str, ...] = ()) -> list[Changes]:
    """`asking` gets all that it lacks."""
    changes = [asking.apply(piece, NOW) for piece in pieces(asked, asking, tables)]
    while asking.settling:
        changes.append(asking.settle())
    return changes


def exchange(*registries: Registry) -> None:
    """Everybody gets everything."""
    for _ in range(3):
        for asking in registries:
            for asked in registries:
                if asking is not asked:
                    asked.take_batch()
                    pull(asking, asked)


def specs(registry: Registry) -> dict[str, Any]:
    return {child_id: child.spec for child_id, child in registry.children.items()}


def retire(*registries: Registry) -> None:
    """All report to all, and all retire what they agree on."""
    for one in registries:
        for other in registries:
            if one is not other:
                one.heard(other.vector())
    for registry in registries:
        registry.retire([other.node for other in registries])
