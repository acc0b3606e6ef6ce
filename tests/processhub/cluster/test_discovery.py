"""Discoveries name nodes, round by round; a bad round costs nothing but the round."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from processhub.cluster.discovery import Discovery, DnsSeeds, FileSeeds, StaticSeeds, ask, look_up
from processhub.cluster.membership import Membership

A, B = "a@10.0.0.1:4370", "b@10.0.0.2:4370"


def test_static_seeds_are_the_same_each_time_and_not_the_callers_list() -> None:
    seeds = StaticSeeds([A, B])
    seeds.addresses().clear()
    assert seeds.addresses() == [A, B]


def test_a_malformed_static_seed_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="expected name@host:port"):
        StaticSeeds([A, "10.0.0.2:4370"])


def test_a_file_of_seeds_is_read_anew_in_each_round(tmp_path: Path) -> None:
    path = tmp_path / "seeds"
    path.write_text(f"# the first machine\n{A}\n\n   {B}   # the second one\n")
    seeds = FileSeeds(path)
    assert seeds.addresses() == [A, B]
    path.write_text(f"{B}\n")
    assert seeds.addresses() == [B]


def test_a_missing_file_is_logged_and_read_when_it_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seeds = FileSeeds(tmp_path / "seeds")
    with caplog.at_level(logging.ERROR):
        assert ask(seeds) == []
    assert "FileSeeds" in caplog.text
    (tmp_path / "seeds").write_text(A)
    assert ask(seeds) == [A]


def test_dns_records_become_names_with_the_one_port_and_the_one_name() -> None:
    asked: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["10.0.0.7", "10.0.0.3", "10.0.0.7"]

    assert DnsSeeds("hubs.internal", 4370, resolve=resolve).addresses() == ["node@10.0.0.3:4370", "node@10.0.0.7:4370"]
    assert DnsSeeds("hubs.internal", 1, name="w", resolve=resolve).addresses() == ["w@10.0.0.3:1", "w@10.0.0.7:1"]
    assert asked == [("hubs.internal", 4370), ("hubs.internal", 1)]


def test_a_number_resolves_to_itself_without_a_server() -> None:
    assert look_up("127.0.0.1", 4370) == ["127.0.0.1"]


def test_a_lookup_that_fails_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Exception | list[str]] = [OSError("no such name"), ["10.0.0.1"]]

    def resolve(host: str, port: int) -> list[str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    seeds = DnsSeeds("hubs.internal", 4370, resolve=resolve)
    with caplog.at_level(logging.ERROR):
        assert ask(seeds) == []
    assert "no such name" in caplog.text
    assert ask(seeds) == ["node@10.0.0.1:4370"]


def test_malformed_names_are_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Discovery):
        def addresses(self) -> list[str]:
            return [B, "nonsense", A, None, B]  # type: ignore[list-item]  # what users may return

    with caplog.at_level(logging.WARNING):
        assert ask(Odd()) == [A, B]
    assert "'nonsense'" in caplog.text


def test_any_class_with_the_method_is_a_discovery() -> None:
    class Own:
        def addresses(self) -> list[str]:
            return [A]

    assert ask(Own()) == [A]


def test_an_answer_with_a_subset_prunes_no_member() -> None:
    membership = Membership("me@10.0.0.9:4370")
    membership.start(0.0)
    membership.learn([A, B], 0.0)
    for node in (A, B):
        membership.session_up(node, 1, 0.1)
    assert membership.learn([A], 0.2) == []
    assert membership.learn([], 0.3) == []
    assert membership.members() == [A, B]
