"""Types for calls that a type checker can check. They exist for it alone: at run time a handle *is* the pid or name.

A request says which server takes it and what it answers; `MyServer.at(pid)` says which server is at that address:

    class Get(Request["Counter", int]): ...

    counter = Counter.at(Counter.start_link())
    total = GenServer.call(counter, Get())       # an int; a request of another server is an error

Rejected: stating requests in the server's own type arguments (no way to say which reply belongs to which request),
and a handle object with methods (a call would cost more, and a pid is what messages and registries carry).
"""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


class Request(Generic[S, R_co]):
    """Base of requests that are called: `class Get(Request["Counter", int])` is for Counter, which replies an int."""

    __slots__ = ()


class Cast(Generic[S]):
    """Base of requests that are cast: `class Add(Cast["Counter"])` is for Counter."""

    __slots__ = ()


class Handle(Generic[S_co]):
    """The address of a server of the class `S_co`, as `S_co.at(dest)` returns it: a pid or a name of which a type
    checker knows what is behind it. There are no instances: any address is one.

    A handle is accepted wherever any address is (`process.send`, `process.monitor`, ...). It is no `Pid` for the type
    checker, since `GenServer.call` takes any request for a `Pid`.
    """

    # To the type checker a handle is not Hashable, which every other address is: that keeps one from being taken for an
    # address of an unknown server, to which anything may be sent.
    __hash__: ClassVar[None]  # type: ignore[assignment]
