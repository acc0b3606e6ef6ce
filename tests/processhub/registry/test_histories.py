"""Convergence, whatever happens: random causal histories, see `histories`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.processhub.registry.histories import play


@pytest.mark.parametrize("seed", range(40))
def test_members_with_equal_vectors_have_equal_maps_in_a_fixed_history(seed: int) -> None:
    play(seed)


@given(st.integers(1000, 2**32))
def test_members_with_equal_vectors_have_equal_maps_in_any_history(seed: int) -> None:
    play(seed, steps=80)
