"""Work on several threads, in the order and in the precision of the caller."""

import threading
import time

import jax
import jax.numpy as jnp
import pytest

from implicit_flow import _side_by_side
from implicit_flow._side_by_side import side_by_side


def test_results_come_in_order_and_at_the_same_time(monkeypatch):
    monkeypatch.setattr(_side_by_side, "cores", lambda: 2)
    both = threading.Barrier(2, timeout=60)

    def wait_for_the_other(item):
        both.wait()
        time.sleep(0.05 if item == 0 else 0)
        return item

    assert side_by_side(wait_for_the_other, range(2)) == [0, 1]


def test_what_the_caller_has_set_holds_in_every_thread():
    device = jax.devices()[0]
    for x64 in (True, False):
        with jax.enable_x64(x64), jax.default_device(device):
            found = side_by_side(_set_here, range(4))
        assert found == [("float64" if x64 else "float32", device)] * 4


def _set_here(_):
    return jnp.zeros(()).dtype, jax.config.jax_default_device


def test_the_first_error_is_raised_and_what_has_not_begun_is_not(monkeypatch):
    monkeypatch.setattr(_side_by_side, "cores", lambda: 1)
    begun = []

    def fail(item):
        begun.append(item)
        time.sleep(0.05)
        raise KeyError(item)

    with pytest.raises(KeyError, match="0"):
        side_by_side(fail, range(50))
    time.sleep(0.5)
    assert len(begun) <= 3
