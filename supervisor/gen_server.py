"""GenServer: a process that answers calls, takes casts and keeps state, after OTP's gen_server."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable
from typing import Any, ClassVar, TypeVar, overload

from greenlet import getcurrent

from supervisor.calls import call_any, call_local, reply, run_inside, stop_server
from supervisor.child_spec import ChildSpec, Shutdown
from supervisor.directives import TIMEOUT, Continue, From, Ignore, NoReply, Reply, Stop
from supervisor.errors import BadReturn
from supervisor.handles import Cast, Handle, Request
from supervisor.multi_calls import abcast, multi_call
from supervisor.pids import Pid
from supervisor.processes import Via, deliver
from supervisor.reasons import NORMAL
from supervisor.records import CAST, RUNNING
from supervisor.runtime import current_process
from supervisor.starts import start_server
from supervisor.turns import bad_init

__all__ = [
    "TIMEOUT",
    "Cast",
    "Continue",
    "From",
    "GenServer",
    "Handle",
    "Ignore",
    "NoReply",
    "Reply",
    "Request",
    "Stop",
    "run_inside",
]

S = TypeVar("S")
R = TypeVar("R")
Self = TypeVar("Self", bound="GenServer")

log = logging.getLogger(__name__)


class GenServer:
    """The base of servers. Subclass it and override the callbacks you need; keep state in `self.state`.

    Callbacks run one at a time, on a greenlet of the server. They may block; messages wait meanwhile. An exception
    that escapes ends the process with a `Crash`.
    """

    state: Any = None
    start_reason: str = "start"
    """Why the server was started, readable in `init` already: "start"; "restart" after its end; "handover" where it
    takes over from a copy that moves; "failover" where the copy that ran before is lost."""
    restart: ClassVar[str] = "permanent"
    shutdown: ClassVar[Shutdown] = 5.0
    # What `init` may return as it is; everything else goes through `_take_init`.
    _init_results: ClassVar[frozenset[type]] = frozenset({type(None), Continue, Ignore, Stop})
    # Whether all that matters of it is what `prepare_handover_state` gives: not so where it has processes of its own.
    _moves_hot: ClassVar[bool] = True

    # -- callbacks ---------------------------------------------------------------------------------------------------

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Set up the server; has run when start returns.

        Returns None, Continue(token), Ignore() or Stop(reason). The default keeps a single argument as the state.
        """
        if args or kwargs:
            self.state = args[0] if len(args) == 1 and not kwargs else (args, kwargs)

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer a call: return the reply itself, or Reply, NoReply or Stop."""
        raise NotImplementedError(f"{type(self).__name__} got a call {request!r:.200} but has no handle_call")

    def handle_cast(self, request: Any) -> Any:
        """Take a cast: return None, NoReply(...) or Stop(reason)."""
        raise NotImplementedError(f"{type(self).__name__} got a cast {request!r:.200} but has no handle_cast")

    def handle_info(self, message: Any) -> Any:
        """Take any other message: return None, NoReply(...) or Stop(reason). The default logs and drops it."""
        log.warning("%s %r got an unexpected message %.200r", type(self).__name__, current_process().pid, message)

    def handle_continue(self, token: Any) -> Any:
        """Go on with what init or a handler began, before any other message."""
        raise NotImplementedError(f"{type(self).__name__} continues with {token!r} but has no handle_continue")

    def terminate(self, reason: Any) -> None:
        """Clean up. Runs when the server stops by itself or crashes, and on exit signals if it traps exits."""

    def format_status(self, reason: Any, state: Any) -> Any:
        """What crash reports (`reason`: why it ends) and `debug.get_status` (None: it goes on) show as its state.

        The default shows all of it. Return something else to hide secrets or what is too long. Where it raises, nothing
        of the state is shown.
        """
        return state

    def _more_status(self) -> dict[str, Any]:
        """What else `debug.get_status` is to tell. For our own subclasses."""
        return {}

    # -- moving to another node, see `processhub.HotSwap` --

    def prepare_handover_state(self) -> Any:
        """What the server is to take along to another node; it must be sendable. The default is `self.state`.

        Runs after the messages that had come before. Afterwards the server handles nothing any more, unless the move
        fails: then it goes on with what came meanwhile. What this raises is logged, and the server stays.
        """
        return self.state

    def alter_handover_state(self, handover_state: Any) -> None:
        """Take what the copy on the former node prepared; after `init`, before any message. The default keeps it as
        `self.state`. What this raises makes the move fail: the former copy goes on.
        """
        self.state = handover_state

    def _take_init(self, value: Any) -> Any:
        """`init` returned something that only another kind of server understands: take it and return a result of init.

        For our own subclasses (a supervisor starts its children here). What it raises fails the start.
        """
        raise BadReturn(bad_init(type(self), value))

    # -- starting ----------------------------------------------------------------------------------------------------

    @classmethod
    def start_link(cls, *args: Any, name: Any = None, timeout: float | None = None, **kwargs: Any) -> Pid:
        """Start the server linked to the caller; returns its pid once `init` has run.

        name: register it, before init runs; AlreadyRegistered where another process has the name.
        timeout: seconds that init may take; then the server is killed and StartError("timeout") raised.
        A failed init raises StartError(reason), and no exit signal is sent. Returns None where init returned Ignore(),
        which the type leaves out: only such a class can do it.
        """
        return start_server(cls, args, kwargs, name, timeout, link=True)

    @classmethod
    def start(cls, *args: Any, name: Any = None, timeout: float | None = None, **kwargs: Any) -> Pid:
        """Like `start_link`, without the link."""
        return start_server(cls, args, kwargs, name, timeout, link=False)

    @classmethod
    def child_spec(cls, *args: Any, id: Any = None, **options: Any) -> ChildSpec:
        """A spec that starts this class with `args`. `options` are those of ChildSpec: restart, shutdown, ...

        `id` is the class name where it is not given; `name=` is passed on to start_link.
        """
        kwargs = {"name": options.pop("name")} if "name" in options else {}
        options.setdefault("restart", cls.restart)
        options.setdefault("shutdown", cls.shutdown)
        return ChildSpec(cls.__name__ if id is None else id, (cls, "start_link", args, kwargs), **options)

    @classmethod
    def at(cls: type[Self], dest: Any) -> Handle[Self]:
        """`dest` (a pid, a name, a via name), as the address of a server of this class: for type checkers alone.

        Returns `dest` itself and looks at nothing; see `supervisor.handles`.
        """
        return dest  # type: ignore[no-any-return]

    # -- using -------------------------------------------------------------------------------------------------------

    # A handle takes the requests of its server only; any other address takes any request.
    @overload
    @staticmethod
    def call(server: Handle[S], request: Request[S, R], timeout: float | None = 5.0) -> R: ...

    @overload
    @staticmethod
    def call(server: Hashable | Via, request: Request[Any, R], timeout: float | None = 5.0) -> R: ...

    @overload
    @staticmethod
    def call(server: Hashable | Via, request: Any, timeout: float | None = 5.0) -> Any: ...

    @staticmethod
    def call(server: Any, request: Any, timeout: float | None = 5.0) -> Any:
        """Send `request` and wait up to `timeout` seconds for the reply; None waits for ever.

        Raises NoProcess (not handled), ProcessExit (it died before it replied), NoConnection (its node was lost) or
        CallTimeout (it may still be handled; a late reply reaches nobody). A process that calls itself gets
        ProcessExit("calling_self") instead of a deadlock.
        """
        try:
            me = getcurrent().otp_process  # type: ignore[attr-defined]
        except AttributeError:
            me = None
        if me is not None and type(server) is Pid and server.home is me.runtime.home and me.status == RUNNING:
            target = me.runtime.table.get(server.serial)
            if target is not None:
                return call_local(me, target, request, timeout)
        return call_any(server, request, timeout)

    @overload
    @staticmethod
    def cast(server: Handle[S], request: Cast[S]) -> None: ...

    @overload
    @staticmethod
    def cast(server: Hashable | Via, request: Any) -> None: ...

    @staticmethod
    def cast(server: Any, request: Any) -> None:
        """Send `request` and go on. Dropped when the process is dead; NoProcess for an unknown local name."""
        me = getattr(getcurrent(), "otp_process", None)
        if me is not None and me.status == RUNNING and type(server) is Pid and server.home is me.runtime.home:
            target = me.runtime.table.get(server.serial)
            if target is not None:
                target.enqueue((CAST, request))
                return
            if not me.runtime.moved:
                return
        deliver(server, CAST, request)

    @overload
    @staticmethod
    def multi_call(
        nodes: Iterable[str], name: Any, request: Request[Any, R], timeout: float | None = 5.0
    ) -> tuple[dict[str, R], list[str]]: ...

    @overload
    @staticmethod
    def multi_call(
        nodes: Iterable[str], name: Any, request: Any, timeout: float | None = 5.0
    ) -> tuple[dict[str, Any], list[str]]: ...

    @staticmethod
    def multi_call(
        nodes: Iterable[str], name: Any, request: Any, timeout: float | None = 5.0
    ) -> tuple[dict[str, Any], list[str]]:
        """Call whoever has `name` on each of the nodes, side by side, and wait up to `timeout` seconds for all.

        Returns ({node: reply}, [nodes that did not reply]), both in the order of `nodes`. Why not: no process has the
        name there, it ended, the node is not connected or was lost, or the time was over (the request may still be
        handled; late replies reach nobody). A lone node is asked by its name too, `process.self().node`.

        Raises EncodeError where the request or a reply cannot be sent, and ProcessExit("calling_self") where the caller
        itself has the name on its node.
        """
        return multi_call(nodes, name, request, timeout)

    @staticmethod
    def abcast(nodes: Iterable[str], name: Any, request: Any) -> None:
        """Cast `request` to whoever has `name` on each of the nodes. Raises nothing where nobody is there."""
        abcast(nodes, name, request)

    @staticmethod
    def reply(from_: From, value: Any) -> None:
        """Answer a call for which handle_call returned NoReply; from any process of any node.

        A reply to a caller that no longer waits is dropped; so is a second one.
        """
        reply(from_, value)

    @staticmethod
    def stop(server: Any, reason: Any = NORMAL, timeout: float | None = None) -> None:
        """Stop the server after the message at hand: `terminate(reason)` runs, and it has ended when this returns.

        Raises NoProcess when there is none, CallTimeout when it has not ended within `timeout` seconds.
        """
        stop_server(server, reason, timeout)
