"""Links, monitors and exit signals, by OTP's rules, within a node and between nodes.

A death is a change in the process table. `exit_process` makes it at once: the pid and the names go, whoever waits for
an answer gets `ProcessExit`, links and monitors fire; the greenlet, if the process has one, is thrown an `Exit` from
the loop later and can no longer do anything in the name of the process.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from greenlet import getcurrent

import supervisor.distribution as distribution
from supervisor.errors import Exit
from supervisor.pids import Pid, Ref
from supervisor.reasons import KILL, KILLED, NOCONNECTION, NOPROC, NORMAL
from supervisor.records import DEAD, INFO, Process, link_added, link_removed, sorted_ids
from supervisor.waits import Throw

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Down:
    """Delivered to who monitors: the process (or name, or node's process) behind `ref` is gone, for `reason`."""

    ref: Ref
    pid: Any
    reason: Any


@dataclass(frozen=True)
class ExitSignal:
    """Delivered instead of dying to a process that traps exits: `pid`, linked to it, ended with `reason`."""

    pid: Pid
    reason: Any


# -- death -----------------------------------------------------------------------------------------------------------


def exit_process(process: Process, reason: Any) -> None:
    """End `process` with `reason` and let everybody know. Nothing happens if it is dead.

    Deaths that follow through links are worked off one after the other, not recursively.
    """
    dying = process.runtime.dying
    dying.append((process, reason))
    if len(dying) > 1:
        return
    try:
        while dying:
            try:
                _bury(*dying[0])
            except Exception:  # a bug of ours; the deaths behind it must happen all the same
                log.exception("the end of %r (%r) was not passed on completely", *dying[0])
            dying.popleft()
    finally:
        dying.clear()


def _bury(process: Process, reason: Any) -> None:
    if process.status == DEAD:
        return
    runtime = process.runtime
    runtime.scheduler.arm_waits()  # so that every wait for this process is among its waiters
    process.status = DEAD
    runtime.forget(process)
    if process.ties is not None:
        _cut_ties(process, reason)
    _stop_greenlet(process, reason)
    _tell_waiters(process, reason)
    _tell_links(process, reason)
    _drop_monitors(process)
    _tell_watchers(process, reason)
    process.mailbox = None
    process.server = None


def _cut_ties(process: Process, reason: Any) -> None:
    ties, process.ties = process.ties, None
    for tie, kept in (ties or {}).items():
        try:
            tie.let_go(process, kept, reason)
        except Exception:  # a key whose own hash or comparison fails; links and monitors must fire all the same
            log.exception("%r did not let go of %r completely", tie, process)


def _stop_greenlet(process: Process, reason: Any) -> None:
    if process.timer is not None:
        process.timer.cancel()
        process.timer = None
    target = process.greenlet
    if target is not None:
        process.runtime.leaving.add(process)
    if target is not None and target is not getcurrent():
        process.runtime.scheduler.ready_up(Throw(process, target, Exit(reason)))


def _tell_waiters(process: Process, reason: Any) -> None:
    waiters, process.waiters = process.waiters, None
    for waiter in (waiters or {}).values():
        waiter.target_died(reason)


def _tell_links(process: Process, reason: Any) -> None:
    links, process.links = process.links, ()
    for pid in links if len(links) < 2 else sorted_ids(links):
        other = process.runtime.local(pid)
        if other is not None:
            other.links = link_removed(other.links, process.pid)
            deliver_exit(other, process.pid, reason, linked=True)
        else:
            distribution.tell_link(process, pid, reason)


def _drop_monitors(process: Process) -> None:
    monitors, process.monitors = process.monitors, None
    for ref, target in (monitors or {}).items():
        _forget_watcher(process, ref, target)


def _tell_watchers(process: Process, reason: Any) -> None:
    watchers, process.watchers = process.watchers, None
    for ref, watcher in (watchers or {}).items():
        deliver_down(process, ref, watcher, reason)


def deliver_down(process: Process, ref: Ref, watcher: Pid, reason: Any) -> None:
    """Tell `watcher`, here or elsewhere, that what its monitor `ref` watches is gone."""
    other = process.runtime.local(watcher)
    if other is None:
        distribution.tell_watcher(process, ref, watcher, reason)
    else:
        fire_monitor(other, ref, process.pid, reason)


def fire_monitor(watcher: Process, ref: Ref, pid: Any, reason: Any) -> None:
    """Put `Down` into the watcher's mailbox, unless the monitor was taken back."""
    if watcher.monitors is None or watcher.monitors.pop(ref, None) is None:
        return
    watcher.enqueue((INFO, Down(ref, pid, reason)))


# -- exit signals ----------------------------------------------------------------------------------------------------


def send_exit(sender: Process, pid: Pid, reason: Any) -> None:
    """Send an exit signal, OTP's `exit/2`: no link is needed. A dead or unknown target is no error."""
    target = sender.runtime.local(pid)
    if target is not None:
        deliver_exit(target, sender.pid, reason, linked=False)
    else:
        distribution.tell_exit(sender, pid, reason)


def deliver_exit(target: Process, source: Pid, reason: Any, linked: bool) -> None:
    """An exit signal arrives. `kill` that was sent (not passed on by a link) cannot be trapped."""
    if not linked and reason == KILL:
        exit_process(target, KILLED)
    elif target.trap_exit:
        target.enqueue((INFO, ExitSignal(source, reason)))
    elif reason != NORMAL or (source == target.pid and not linked):
        exit_process(target, reason)


# -- links -----------------------------------------------------------------------------------------------------------


def link(process: Process, pid: Pid) -> None:
    """Link both ways. A target that is dead already answers with an exit signal `noproc`."""
    if pid == process.pid:
        return
    other = process.runtime.local(pid)
    if other is not None:
        process.links = link_added(process.links, pid)
        other.links = link_added(other.links, process.pid)
    elif pid.home is process.runtime.home:
        deliver_exit(process, pid, NOPROC, linked=True)
    elif distribution.link(process, pid):
        process.links = link_added(process.links, pid)
    else:
        deliver_exit(process, pid, _why_unreachable(process, pid.node), linked=True)


def _why_unreachable(process: Process, node: str) -> str:
    # Of this node's own name there can only be pids of an earlier life.
    return NOPROC if node == process.runtime.home.name else NOCONNECTION


def link_new(process: Process, new: Process) -> None:
    """Link to a process of this node that was just made and has no links."""
    links = process.links
    if type(links) is set:
        links.add(new.pid)
    else:
        process.links = link_added(links, new.pid)
    # Siblings share one tuple: an object less for each of a million servers, and for the collector to walk over.
    shared = process.runtime.last_parent
    if shared[0] is not process.pid:
        shared = process.runtime.last_parent = (process.pid,)
    new.links = shared


def unlink(process: Process, pid: Pid) -> None:
    """Take the link away on both sides; nothing happens if there is none."""
    process.links = link_removed(process.links, pid)
    other = process.runtime.local(pid)
    if other is not None:
        other.links = link_removed(other.links, process.pid)
    elif pid.home is not process.runtime.home:
        distribution.unlink(process, pid)


# -- monitors --------------------------------------------------------------------------------------------------------


def monitor(process: Process, target: Any) -> Ref:
    """Watch a pid, a name or a (name, node). The `Down` comes at once when there is no such process."""
    runtime = process.runtime
    ref = runtime.new_ref()
    if runtime.moved:
        target = runtime.moved.latest(target)
    if process.monitors is None:
        process.monitors = {}
    process.monitors[ref] = target
    if runtime.is_remote(target):
        if not distribution.monitor(process, ref, target):
            fire_monitor(process, ref, target, _why_unreachable(process, runtime.address(target)[0]))
        return ref
    other = runtime.find(target)
    if other is None:
        fire_monitor(process, ref, target, NOPROC)
    else:
        add_watcher(other, ref, process.pid)
    return ref


def add_watcher(process: Process, ref: Ref, watcher: Pid) -> None:
    """`watcher` is to get `Down` when `process` ends."""
    if process.watchers is None:
        process.watchers = {}
    process.watchers[ref] = watcher


def remove_watcher(process: Process, ref: Ref) -> None:
    """The monitor was taken back."""
    if process.watchers is not None:
        process.watchers.pop(ref, None)
        if not process.watchers:
            process.watchers = None


def demonitor(process: Process, ref: Ref, flush: bool = False) -> None:
    """Stop watching. With `flush`, a `Down` that is in the mailbox already is taken out."""
    target = (process.monitors or {}).pop(ref, None)
    if target is not None:
        _forget_watcher(process, ref, target)
    elif flush and process.mailbox is not None:
        kept = [e for e in process.mailbox if not (e[0] == INFO and isinstance(e[1], Down) and e[1].ref == ref)]
        process.mailbox.clear()
        process.mailbox.extend(kept)


def _forget_watcher(process: Process, ref: Ref, target: Any) -> None:
    runtime = process.runtime
    if runtime.is_remote(target):
        distribution.demonitor(process, ref, target)
        return
    other = runtime.find(target)
    if other is not None:
        remove_watcher(other, ref)
