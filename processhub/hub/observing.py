"""A hub's configuration in sendable form, so that an observer needs to know nothing but the hub's id."""

from __future__ import annotations

import dataclasses
from typing import Any

from processhub.cluster.callables import reference_to, resolved
from processhub.hub.config import HubConfig
from processhub.strategy.base import Strategy

_LOCAL = frozenset({"child_specs", "hooks"})


def config_to_wire(config: HubConfig) -> dict[str, Any]:
    """The options of a hub that its members share; its own children and hooks stay behind."""
    wire: dict[str, Any] = {}
    for field in dataclasses.fields(HubConfig):
        if field.name not in _LOCAL:
            value = getattr(config, field.name)
            wire[field.name] = _strategy_to_wire(value) if isinstance(value, Strategy) else value
    return wire


def _strategy_to_wire(strategy: Strategy) -> tuple[Any, dict[str, Any]]:
    return (reference_to(type(strategy)), strategy.describe()[1])


def config_from_wire(wire: dict[str, Any]) -> HubConfig:
    """The configuration again. Imports the strategies' modules: call it in a process.

    Raises ResolveError where this node lacks a custom strategy's module.
    """
    options = {
        name: resolved(value[0])(**value[1]) if isinstance(value, tuple) else value for name, value in wire.items()
    }
    return HubConfig(**options)
