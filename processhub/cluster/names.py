"""Node names: `name@host:port`, which is also the address that peers connect to."""

from __future__ import annotations


def address_of(node: str) -> str:
    """The "host:port" in a node name. Raises ValueError, saying what a name looks like."""
    name, at, address = node.partition("@")
    host, colon, port = address.rpartition(":")
    if not (name and at and host and colon and port.isdigit() and 0 <= int(port) < 65536):
        raise ValueError(f"not a node name: {node!r}; expected name@host:port, as in node1@127.0.0.1:4370")
    return address
