"""The balancer of one node: reports its load to the leader, and where this node leads, deals out children.

A part of the hub's tree only where the strategy is a `CentralizedLoadBalancer`. A new one, after a crash or because the
leader was lost, knows nothing, deals evenly, and learns from the next reports.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from processhub.hub.balancer_messages import DealRequest, Dealt, LoadReport
from processhub.hub.hub import Hub
from processhub.hub.ledger import Ledger
from processhub.hub.sampler import LOAD_SAMPLER, LoopLag, ProcessSampler, Sampler
from processhub.strategy.distribution.centralized_load_balancer import BALANCER, SCORES, CentralizedLoadBalancer
from processhub.strategy.distribution.load import Load
from processhub.strategy.distribution.load_placement import LoadPlacement
from supervisor.errors import NoProcess
from supervisor.gen_server import From, GenServer
from supervisor.processes import send_after
from supervisor.runtime import current_process

log = logging.getLogger(__name__)

LAG_SECONDS: Final = 0.5  # between two looks at how late the loop is
FIRST_SECONDS: Final = 1.0  # a new member is not long unknown, however long the interval


class Balancer(GenServer):
    """Measures, reports, and deals.

    Casts: a LoadReport of a member; ("members", None) when members came or went; ("choose", child ids) from this node's
    coordinator. Calls: DealRequest, "scores".
    """

    def init(self, hub: Hub) -> None:
        strategy = hub.config.distribution_strategy
        assert isinstance(strategy, CentralizedLoadBalancer)
        self.hub = hub
        self.me = current_process()
        self._strategy = strategy
        self._ledger = Ledger(strategy)
        now = hub.runtime.clock.now()
        self._sampler: Sampler = hub.runtime.services.get(LOAD_SAMPLER) or ProcessSampler(now)
        self._lag = LoopLag()
        self._lag_due = now + LAG_SECONDS
        self._load: Load | None = None  # as measured last
        self._leader: str | None = None
        send_after(self.me.pid, "lag", LAG_SECONDS)
        send_after(self.me.pid, "measure", min(FIRST_SECONDS, strategy.push_interval))
        self._members_changed()

    # -- messages ----------------------------------------------------------------------------------------------------

    def handle_cast(self, request: Any) -> None:
        if isinstance(request, LoadReport):
            self._on_report(request)
            return
        kind, argument = request
        if kind == "members":
            self._members_changed()
        elif kind == "choose":
            self._choose(argument)

    def handle_call(self, request: Any, from_: From) -> Any:
        if isinstance(request, DealRequest):
            return Dealt(self._deal(request.count, request.copies))
        if request == SCORES:
            self._members_changed()
            return self._ledger.scores()
        raise ValueError(f"the balancer got {request!r:.200}")

    def handle_info(self, message: Any) -> None:
        if message == "lag":
            self._look_at_lag()
        elif message == "measure":
            self._measure()

    # -- this node's load --------------------------------------------------------------------------------------------

    def _look_at_lag(self) -> None:
        now = self.hub.runtime.clock.now()
        self._lag.fired(now - self._lag_due)
        self._lag_due = now + LAG_SECONDS
        send_after(self.me.pid, "lag", LAG_SECONDS)

    def _measure(self) -> None:
        send_after(self.me.pid, "measure", self._strategy.push_interval)
        runtime = self.hub.runtime
        self._load = self._sampler.sample(runtime.clock.now(), self._lag.take(), len(runtime.table))
        self._ledger.age()
        self._members_changed()
        self._report()

    def _report(self) -> None:
        hub = self.hub
        if self._load is None or self._leader is None or hub.observer:
            return
        report = LoadReport(hub.node, hub.lives[hub.node], *self._load)
        if self._leader == hub.node:
            self._on_report(report)
            return
        try:
            GenServer.cast((hub.name_of(BALANCER), self._leader), report)
        except NoProcess:
            pass  # its balancer is being restarted; the next report finds it

    # -- the leader --------------------------------------------------------------------------------------------------

    def _members_changed(self) -> None:
        hub = self.hub
        placed = hub.placement.members  # who has just joined may not be among them yet
        self._ledger.follow({node: life for node, life in hub.takers.items() if node in placed})
        leader = hub.leader()
        if leader == self._leader:
            return
        log.info("hub %s: %s leads the load balancing", hub.hub_id, leader)
        if self._leader == hub.node:
            self._ledger.clear()  # what we know gets old while the other one leads
        self._leader = leader
        self._report()

    def _on_report(self, report: LoadReport) -> None:
        load = Load(report.cpu, report.loop_lag, report.processes, report.memory)
        if not self._ledger.record(report.node, report.life, load):
            log.debug("hub %s: a report of a former life of %s is dropped", self.hub.hub_id, report.node)

    @property
    def _leads(self) -> bool:
        self._members_changed()
        return self._leader == self.hub.node and self.hub.takes_part

    def _deal(self, count: int, copies: int) -> list[Any] | None:
        """Values for the placement registers of new children."""
        if not self._leads:
            return None
        lives = self.hub.lives
        groups = self._ledger.dealer().deal(count, copies)
        return [(tuple((node, lives[node]) for node in nodes), number) for nodes, number in groups]

    def _choose(self, child_ids: Iterable[str]) -> None:
        """Choose nodes for children that lost some, and take out those that are too many."""
        hub, placement = self.hub, self.hub.placement
        if not self._leads or not isinstance(placement, LoadPlacement):
            return
        dealer, copies, now = self._ledger.dealer(), hub.copies, hub.now_ms()
        written = []
        for child_id in child_ids:
            child = hub.registry.children.get(child_id)
            if child is None:
                continue
            holders = [node for node, _ in hub.registry.running(child_id)]
            chosen = placement.choose(child.placement, holders, copies, dealer)
            if chosen != child.placement:
                hub.registry.put(child_id, now, placement=chosen)
                written.append(child_id)
        hub.publish()
        hub.touched(written)
