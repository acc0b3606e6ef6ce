"""The failure detector: who is there, who is not, and who only seems not to be."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processhub.cluster.membership import (
    ALIVE,
    DOWN,
    LEFT,
    SUSPECT,
    UNKNOWN,
    Action,
    Connect,
    Forget,
    Limits,
    MemberDown,
    Membership,
    MemberSuspect,
    MemberUp,
    Probe,
    SendPing,
)

ME, A, B = "me@host:1", "a@host:2", "b@host:3"
LIMITS = Limits()


class Life:
    """A membership with a clock that the test turns; ticks come when they are due, pings are answered by `talking`."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.membership = Membership(ME, limits, Random(1))
        self.now = 100.0
        self.log: list[tuple[float, Action]] = []
        self.talking: set[str] = set()
        self.do(self.membership.start(self.now))

    def do(self, actions: object) -> list[Action]:
        assert isinstance(actions, list | tuple)
        self.log += [(self.now, action) for action in actions]
        for action in actions:
            if isinstance(action, SendPing) and action.node in self.talking:
                self.do(
                    self.membership.heard_from(action.node, self.membership.incarnation(action.node) or 0, self.now)
                )
        return list(actions)

    def up(self, *nodes: str, incarnation: int = 1) -> list[Action]:
        done: list[Action] = []
        for node in nodes:
            done += self.do(self.membership.session_up(node, incarnation, self.now))
        self.talking.update(nodes)
        return done

    def lose(self, node: str) -> list[Action]:
        self.talking.discard(node)
        return self.do(self.membership.session_lost(node, self.now))

    def refuse(self, node: str) -> list[Action]:
        return self.do(self.membership.probe_refused(node, self.now))

    def wait(self, seconds: float) -> None:
        """Let time pass, with every tick in time."""
        end = self.now + seconds
        while (due := self.membership.next_tick(self.now)) is not None and due <= end:
            assert due >= self.now
            self.now = due
            self.do(self.membership.tick(self.now))
        self.now = end

    def oversleep(self, seconds: float) -> list[Action]:
        """This node's own loop stands still; then the tick comes, late."""
        self.now += seconds
        return self.do(self.membership.tick(self.now))

    def of(self, *kinds: type) -> list[tuple[float, Action]]:
        return [(at, action) for at, action in self.log if isinstance(action, kinds)]

    def downs(self) -> list[tuple[float, str, str]]:
        return [(round(at, 3), action.node, action.reason) for at, action in self.log if isinstance(action, MemberDown)]


# -- joining ---------------------------------------------------------------------------------------------------------


def test_a_learned_name_is_connected_to_and_is_no_member_yet() -> None:
    life = Life()
    assert life.do(life.membership.learn([B, A, A], life.now)) == [Connect(A), Connect(B)]
    assert life.membership.members() == []
    assert life.membership.status(A) == UNKNOWN


def test_its_own_name_and_malformed_ones_are_not_learned() -> None:
    life = Life()
    assert life.do(life.membership.learn([ME, "nonsense", "x@y", ""], life.now)) == []
    assert life.membership.known() == []
    assert life.membership.next_tick(life.now) is None


def test_a_session_makes_a_member_once() -> None:
    life = Life()
    assert life.up(A, incarnation=7) == [MemberUp(A, 7)]
    assert life.up(A, incarnation=7) == []
    assert life.membership.members() == [A]
    assert (life.membership.status(A), life.membership.incarnation(A)) == (ALIVE, 7)


def test_a_session_with_a_name_that_was_never_learned_makes_a_member_too() -> None:
    life = Life()
    life.up(B, A)
    assert life.membership.members() == [A, B]


def test_a_session_with_its_own_name_is_ignored() -> None:
    life = Life()
    assert life.up(ME) == []
    assert life.membership.known() == []


def test_a_name_that_does_not_answer_is_tried_with_growing_bounded_pauses() -> None:
    life = Life()
    life.do(life.membership.learn([A], life.now))
    life.wait(200.0)
    turns = life.of(Connect, Forget)
    assert {type(action) for _, action in turns[::2]} == {Connect}
    assert {type(action) for _, action in turns[1::2]} == {Forget}
    times = [at for at, _ in turns]
    pauses = [after - before for before, after in zip(times[1::2], times[2::2], strict=False)]
    assert pauses[0] <= 1.5 * 2 * LIMITS.pause_first
    assert pauses[0] < pauses[2]
    assert max(pauses) <= 1.5 * LIMITS.pause_most
    assert min(pauses[4:]) >= LIMITS.pause_most


def test_a_name_that_nobody_mentions_is_forgotten_after_a_day() -> None:
    life = Life(Limits(pause_most=3600.0))
    life.do(life.membership.learn([A], life.now))
    life.wait(LIMITS.memory - 1.0)
    assert life.membership.known() == [A]
    life.wait(3600.0)
    assert life.membership.known() == []
    assert life.membership.next_tick(life.now) is None


def test_a_seed_that_is_named_in_each_round_is_never_forgotten() -> None:
    life = Life(Limits(pause_most=3600.0))
    for _ in range(4):
        life.do(life.membership.learn([A], life.now))
        life.wait(LIMITS.memory * 0.6)
    assert life.membership.known() == [A]


def test_a_name_that_somebody_knows_is_tried_sooner_but_not_at_once_again_and_again() -> None:
    life = Life(Limits(pause_first=1.0, pause_most=64.0))
    life.do(life.membership.learn([A], life.now))
    life.wait(300.0)
    for end_of in (Connect(A), Forget(A)):
        while life.log[-1][1] != end_of:
            life.wait(0.1)
    forgotten_at = life.log[-1][0]
    for _ in range(50):
        life.wait(0.1)
        life.do(life.membership.learn([A], life.now))
    connects = [at for at, action in life.log if action == Connect(A) and at > forgotten_at]
    assert len(connects) == 2  # with three seconds for the first attempt
    assert connects[0] - forgotten_at == pytest.approx(1.0, abs=0.11)


# -- failing ---------------------------------------------------------------------------------------------------------


def test_a_lost_session_makes_a_suspect_that_is_probed_at_once() -> None:
    life = Life()
    life.up(A)
    assert life.lose(A) == [MemberSuspect(A, 1), Probe(A), Connect(A)]
    assert life.membership.status(A) == SUSPECT
    assert life.membership.members() == [A]
    assert life.lose(A) == []


def test_a_refused_probe_means_down_at_once() -> None:
    life = Life()
    life.up(A)
    life.lose(A)
    assert life.refuse(A) == [MemberDown(A, 1, "refused"), Forget(A)]
    assert life.membership.members() == []
    assert life.refuse(A) == []


def test_without_a_refusal_a_suspect_is_probed_now_and_then_and_down_after_the_suspicion() -> None:
    life = Life()
    life.up(A)
    life.lose(A)
    lost_at = life.now
    life.wait(4.9)
    assert [at - lost_at for at, _ in life.of(Probe)] == pytest.approx([LIMITS.probe * i for i in range(25)])
    assert life.downs() == []
    life.wait(0.2)
    assert life.downs() == [(lost_at + 5.0, A, "unreachable")]


def test_a_host_that_dies_while_it_is_suspect_is_down_by_a_later_probe() -> None:
    life = Life()
    life.up(A)
    life.lose(A)
    life.wait(2.1)
    assert life.refuse(A)[0] == MemberDown(A, 1, "refused")


def test_a_session_that_comes_back_in_time_is_no_event() -> None:
    life = Life()
    life.up(A)
    for _ in range(30):  # a link that flaps every two seconds for a minute
        life.lose(A)
        life.wait(2.0)
        assert life.up(A) == []
        assert life.membership.status(A) == ALIVE
    assert life.downs() == []


def test_a_refusal_that_comes_after_the_session_is_back_is_ignored() -> None:
    life = Life()
    life.up(A)
    life.lose(A)
    life.up(A)
    assert life.refuse(A) == []
    assert life.membership.status(A) == ALIVE


def test_a_refusal_for_a_member_that_is_not_suspect_or_unknown_is_ignored() -> None:
    life = Life()
    life.up(A)
    assert life.refuse(A) == []
    assert life.refuse(B) == []
    assert life.membership.members() == [A]


def test_an_idle_session_is_pinged_and_a_busy_one_is_not() -> None:
    life = Life()
    life.up(A, B)
    for _ in range(20):
        life.wait(0.5)
        life.do(life.membership.heard_from(B, 1, life.now))
    pinged = [action.node for _, action in life.of(SendPing) if isinstance(action, SendPing)]
    assert pinged.count(A) == 10
    assert pinged.count(B) == 0


def test_a_loop_that_answers_no_ping_is_down_after_the_silence_and_not_before() -> None:
    life = Life()
    life.up(A, B)
    life.talking.discard(A)
    silent_since = life.now
    life.wait(29.9)
    assert life.downs() == []
    life.wait(0.2)
    assert life.downs() == [(silent_since + 30.0, A, "silent")]
    assert life.membership.members() == [B]


def test_a_loop_that_is_blocked_for_20_seconds_is_not_suspected() -> None:
    life = Life()
    life.up(A)
    life.talking.discard(A)
    life.wait(20.0)
    life.talking.add(A)
    life.wait(60.0)
    assert life.of(MemberSuspect, MemberDown) == []


def test_a_member_that_is_down_is_tried_again_and_comes_up_with_the_same_life() -> None:
    life = Life()
    life.up(A)
    life.lose(A)
    life.wait(60.0)
    assert life.membership.status(A) == DOWN
    assert life.of(Connect)[-1][0] > life.downs()[-1][0]
    assert life.up(A) == [MemberUp(A, 1)]


# -- lives -----------------------------------------------------------------------------------------------------------


def test_a_new_life_ends_the_old_one_and_then_comes_up() -> None:
    life = Life()
    life.up(A, incarnation=1)
    assert life.up(A, incarnation=2) == [MemberDown(A, 1, "restarted"), MemberUp(A, 2)]
    assert life.lose(A)[0] == MemberSuspect(A, 2)
    assert life.up(A, incarnation=3) == [MemberDown(A, 2, "restarted"), MemberUp(A, 3)]


def test_a_new_life_of_a_node_that_is_down_just_comes_up() -> None:
    life = Life()
    life.up(A, incarnation=1)
    life.lose(A)
    life.refuse(A)
    assert life.up(A, incarnation=2) == [MemberUp(A, 2)]


def test_an_older_life_is_ignored() -> None:
    life = Life()
    life.up(A, incarnation=5)
    assert life.up(A, incarnation=4) == []
    assert life.do(life.membership.heard_from(A, 4, life.now)) == []
    life.lose(A)
    life.refuse(A)
    assert life.up(A, incarnation=4) == []
    assert life.membership.status(A) == DOWN
    assert life.membership.incarnation(A) == 5


def test_a_frame_of_a_new_life_counts_as_its_session() -> None:
    life = Life()
    life.up(A, incarnation=1)
    actions = life.do(life.membership.heard_from(A, 2, life.now))
    assert actions == [MemberDown(A, 1, "restarted"), MemberUp(A, 2)]


def test_a_frame_without_a_session_makes_no_member() -> None:
    life = Life()
    assert life.do(life.membership.heard_from(A, 1, life.now)) == []
    life.up(A)
    life.lose(A)
    life.refuse(A)
    assert life.do(life.membership.heard_from(A, 1, life.now)) == []
    assert life.membership.members() == []


# -- leaving ---------------------------------------------------------------------------------------------------------


def test_a_node_that_says_goodbye_is_down_at_once_and_left_alone() -> None:
    life = Life()
    life.up(A)
    assert life.do(life.membership.left(A, life.now)) == [MemberDown(A, 1, "left"), Forget(A)]
    assert life.membership.status(A) == LEFT
    life.do(life.membership.session_lost(A, life.now))
    life.wait(1.0)
    assert life.do(life.membership.learn([A], life.now)) == []  # a peer has not heard of it yet
    life.wait(LIMITS.goodbye - 2.0)
    assert life.of(Connect) == []
    assert life.of(Probe) == []


def test_a_node_that_left_is_forgotten_unless_somebody_names_it_later() -> None:
    life = Life()
    life.up(A, B)
    for node in (A, B):
        life.do(life.membership.left(node, life.now))
    life.wait(30.0)
    life.do(life.membership.learn([B], life.now))
    life.wait(31.0)
    assert life.membership.known() == [B]
    assert life.of(Connect)[-1][1] == Connect(B)


def test_a_node_that_left_comes_back_when_it_connects_itself() -> None:
    life = Life()
    life.up(A)
    life.do(life.membership.left(A, life.now))
    assert life.up(A) == [MemberUp(A, 1)]


def test_a_goodbye_of_somebody_unknown_is_no_event() -> None:
    life = Life()
    assert life.do(life.membership.left(A, life.now)) == []
    assert life.membership.known() == []


@pytest.mark.parametrize("before", ["unknown", "down", "left"])
def test_a_node_that_the_user_wants_is_tried_at_the_next_tick(before: str) -> None:
    life = Life()
    life.wait(1000.0)
    if before != "unknown":
        life.up(A)
        life.do(life.membership.left(A, life.now)) if before == "left" else (life.lose(A), life.refuse(A))
    life.log.clear()
    life.membership.wanted(A)
    assert life.membership.next_tick(life.now) == life.now
    life.wait(0.0)
    assert life.of(Connect) == [(life.now, Connect(A))]


# -- a node that was away itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [6.0, 31.0, 1000.0])
def test_a_node_whose_own_loop_was_blocked_accuses_nobody(seconds: float) -> None:
    life = Life()
    life.up(A, B)
    life.lose(B)  # even a suspect gets the rest of its time
    life.wait(2.0)
    life.oversleep(seconds)
    assert life.downs() == []
    life.up(B)
    life.wait(100.0)
    assert life.downs() == []


def test_after_its_own_absence_a_suspect_has_the_rest_of_its_time() -> None:
    life = Life()
    life.up(A)
    life.lose(A)
    life.wait(2.0)
    life.oversleep(60.0)
    woke_at = life.now
    life.wait(10.0)
    ((at, _, reason),) = life.downs()
    assert reason == "unreachable"
    assert 1.0 <= at - woke_at <= 3.1


def test_after_its_own_absence_even_one_that_was_due_gets_a_grace() -> None:
    life = Life()
    life.up(A, B)
    life.talking.discard(A)
    life.wait(29.5)
    life.lose(B)
    life.wait(0.49)
    life.oversleep(25.0)
    woke_at = life.now
    life.wait(0.9)
    assert [node for _, node, _ in life.downs()] == []
    life.wait(0.2)
    assert [(node, reason) for _, node, reason in life.downs()] == [(A, "silent")]
    assert life.downs()[0][0] - woke_at >= LIMITS.grace


def test_an_absence_is_noticed_in_whatever_comes_first() -> None:
    """I/O may run before the timers when a loop wakes up."""
    life = Life()
    life.up(A, B)
    life.lose(A)
    life.wait(1.5)
    life.now += 500.0
    life.do(life.membership.session_lost(B, life.now))
    life.do(life.membership.tick(life.now))
    assert life.downs() == []


def test_a_loop_that_is_late_now_and_then_still_finds_who_is_dead() -> None:
    life = Life()
    life.up(A)
    life.lose(A)
    lost_at = life.now
    while not life.downs():
        life.oversleep(1.7)
        assert life.now < lost_at + 60.0
    assert life.downs()[0][2] == "unreachable"


# -- order -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [sorted, lambda names: sorted(names, reverse=True)])
def test_actions_come_in_the_order_of_names(order: Callable[[list[str]], list[str]]) -> None:
    names = [f"n{number}@host:{number}" for number in range(1, 8)]
    life = Life()
    life.up(*order(names))
    life.log.clear()
    life.wait(1.0)
    assert [action for _, action in life.log] == [SendPing(name) for name in names]


# -- everything at once ----------------------------------------------------------------------------------------------


class World(RuleBasedStateMachine):
    """Peers that live, die, restart and are cut off; the membership sees of it what a transport would tell.

    What is true is in `lives` (0: dead), `reachable` and `blocked`; sessions follow from it.
    """

    NODES = tuple(f"n{number}@host:{number}" for number in range(1, 4))

    def __init__(self) -> None:
        super().__init__()
        self.membership = Membership(ME, LIMITS, Random(5))
        self.now = 50.0
        self.lives = dict.fromkeys(self.NODES, 1)
        self.latest = dict.fromkeys(self.NODES, 1)
        self.reachable = dict.fromkeys(self.NODES, True)
        self.blocked = dict.fromkeys(self.NODES, False)
        self.session: dict[str, int] = {}
        self.links: set[str] = set()
        self.up: dict[str, int] = {}
        self.away_until = 0.0
        self.trouble_at: dict[str, float] = {}  # when a node was last anything but healthy and in session
        self.do(self.membership.start(self.now))
        self.do(self.membership.learn(self.NODES, self.now))

    # what follows from actions

    def do(self, actions: object) -> None:
        assert isinstance(actions, list | tuple)
        for action in actions:
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        node = action.node
        if isinstance(action, MemberUp):
            assert node not in self.up, "two ups without a down"
            self.up[node] = action.incarnation
        elif isinstance(action, MemberDown):
            assert self.up.pop(node, None) == action.incarnation, "a down without its up"
            assert action.reason == "restarted" or self.was_in_trouble(node), f"{node} was healthy: {action}"
            if action.reason != "restarted":
                self.session.pop(node, None)
        elif isinstance(action, Connect):
            self.links.add(node)
            self.try_session(node)
        elif isinstance(action, Forget):
            self.links.discard(node)
            self.session.pop(node, None)
        elif isinstance(action, SendPing):
            if self.session.get(node) and not self.blocked[node] and self.reachable[node]:
                self.do(self.membership.heard_from(node, self.session[node], self.now))
        elif isinstance(action, Probe) and self.reachable[node] and not self.lives[node]:
            self.do(self.membership.probe_refused(node, self.now))

    def was_in_trouble(self, node: str) -> bool:
        return self.now - self.trouble_at.get(node, -1e9) < 45.0 or not self.is_healthy(node)

    def is_healthy(self, node: str) -> bool:
        return bool(self.lives[node]) and self.reachable[node] and not self.blocked[node]

    def try_session(self, node: str) -> None:
        if node in self.links and node not in self.session and self.is_healthy(node):
            self.session[node] = self.lives[node]
            self.do(self.membership.session_up(node, self.lives[node], self.now))

    def end_session(self, node: str) -> None:
        if self.session.pop(node, None):
            self.do(self.membership.session_lost(node, self.now))

    # what happens

    @rule(node=st.sampled_from(NODES))
    def crash(self, node: str) -> None:
        self.trouble_at[node] = self.now
        self.lives[node] = 0
        if self.reachable[node]:
            self.end_session(node)

    @rule(node=st.sampled_from(NODES))
    def restart(self, node: str) -> None:
        self.crash(node)
        self.latest[node] += 1
        self.lives[node] = self.latest[node]
        self.blocked[node] = False
        self.links.add(node)  # it connects to us
        self.try_session(node)

    @rule(node=st.sampled_from(NODES))
    def cut(self, node: str) -> None:
        self.trouble_at[node] = self.now
        self.reachable[node] = False
        self.end_session(node)

    @rule(node=st.sampled_from(NODES))
    def heal(self, node: str) -> None:
        self.trouble_at[node] = self.now
        self.reachable[node] = True
        if self.session.get(node) and self.session[node] != self.lives[node]:
            self.end_session(node)
        self.try_session(node)

    @rule(node=st.sampled_from(NODES))
    def flap(self, node: str) -> None:
        if self.session.get(node) and self.is_healthy(node):
            self.end_session(node)
            self.try_session(node)

    @rule(node=st.sampled_from(NODES), flag=st.booleans())
    def block(self, node: str, flag: bool) -> None:
        self.trouble_at[node] = self.now
        self.blocked[node] = flag
        self.try_session(node)

    @rule(names=st.sets(st.sampled_from(NODES)))
    def learn(self, names: set[str]) -> None:
        self.do(self.membership.learn(names, self.now))

    @rule(node=st.sampled_from(NODES))
    def say_goodbye(self, node: str) -> None:
        if self.session.get(node) and self.is_healthy(node):
            self.trouble_at[node] = self.now
            self.lives[node] = 0
            self.do(self.membership.left(node, self.now))

    @rule(seconds=st.floats(0.01, 50.0))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.membership.next_tick(self.now)) is not None and due <= end:
            self.now = due
            self.do(self.membership.tick(self.now))
        self.now = end

    @rule(seconds=st.floats(0.5, 200.0), goes_on=st.booleans())
    def be_away(self, seconds: float, goes_on: bool) -> None:
        """Our own loop stands still. What was a tick's business comes late, perhaps after something else."""
        # Leniency is bounded: who was away a moment ago gets no more of it, or it would never find anybody dead.
        was_attentive = self.now - self.away_until >= 2 * LIMITS.grace
        self.now += seconds
        before = dict(self.up)
        if goes_on:
            self.do(self.membership.learn([], self.now))
        self.do(self.membership.tick(self.now))
        self.away_until = self.now
        if was_attentive and seconds > 2.0:  # surely longer than until the next tick
            assert self.up == before, "a node that was away itself accused somebody"

    # what must hold

    @precondition(lambda self: not any(self.lives[node] for node in self.up))
    @rule()
    def the_dead_are_found(self) -> None:
        self.wait(LIMITS.silence + LIMITS.suspicion + 2.0)
        assert not [node for node in self.up if not self.lives[node]]

    @rule()
    def everything_comes_right_in_the_end(self) -> None:
        """With nothing new happening, the views become true."""
        for node in self.NODES:
            self.heal(node)
            self.block(node, False)
        self.do(self.membership.learn([node for node in self.NODES if self.lives[node]], self.now))
        self.wait(LIMITS.goodbye + LIMITS.silence + 20.0)
        assert self.up == {node: life for node, life in self.lives.items() if life}

    @invariant()
    def members_are_who_came_up(self) -> None:
        assert self.membership.members() == sorted(self.up)
        assert {node: self.membership.incarnation(node) for node in self.up} == self.up

    @invariant()
    def the_next_tick_is_never_in_the_past(self) -> None:
        due = self.membership.next_tick(self.now)
        assert due is None or due >= self.now


TestWorld = World.TestCase
