"""Which requests are refused, in a simulated queue: bursts and patient clients are not, lasting overload is."""

import heapq

import numpy as np
import pytest

from jrank.serving._overload import Overload

SERVICE = 0.04  # seconds of a request
PAIRS = 4  # of a request


def simulate(moments=(), *, clients=0, seconds=60.0, overload=None, seed=0, together=1):
    """One server that takes some requests at a time, the oldest first; answers come when all of these are done.

    Requests arrive at moments, or clients ask again when they are answered. Returns the seconds of each accepted
    request, in order of their answers, and the moments of the refused ones.
    """
    rng, overload = np.random.default_rng(seed), overload or Overload()
    events = [(moment, number, "ask", None) for number, moment in enumerate(moments)]
    events += [(0.002 * client, client, "ask", client) for client in range(clients)]
    heapq.heapify(events)
    queue, busy, waiting, number = [], False, 0, len(events)
    times, refused = [], []
    while events:
        now, _, kind, who = heapq.heappop(events)
        number += 1
        if kind == "ask" and now < seconds:
            if overload.refuses(now, PAIRS, waiting, SERVICE / PAIRS):
                refused.append(now)
            else:
                waiting += PAIRS
                queue.append((now, who))
        elif kind == "answer":
            overload.served(now, PAIRS * len(who))
            busy = False
            for asked, client in who:
                times.append(now - asked)
                waiting -= PAIRS
                number += 1
                if client is not None:
                    heapq.heappush(events, (now + rng.uniform(0.001, 0.004), number, "ask", client))
        if queue and not busy:
            some, queue = queue[:together], queue[together:]
            took = len(some) * SERVICE * np.exp(0.1 * rng.standard_normal())
            heapq.heappush(events, (now + took, number, "answer", some))
            busy = True
    return np.array(times), np.array(refused)


def arrivals(load, seconds=60.0, seed=1):
    """Random moments at a multiple of the capacity."""
    return np.cumsum(np.random.default_rng(seed).exponential(SERVICE / load, int(load * seconds / SERVICE)))


@pytest.mark.parametrize("together", [1, 16])
def test_at_twice_the_capacity_the_accepted_wait_shortly_and_the_server_stays_busy(together):
    times, refused = simulate(arrivals(2.0), together=together)
    assert np.quantile(times, 0.99) < 7 * SERVICE  # two wait, and a few more until it is known that the load lasts
    assert times.max() < 0.2 + 10 * SERVICE
    assert len(times) * SERVICE > 0.9 * 60
    assert 0.45 < len(refused) / (len(refused) + len(times)) < 0.6


def test_five_times_the_capacity_is_no_worse():
    times, _ = simulate(arrivals(5.0))
    assert np.quantile(times, 0.98) < 6 * SERVICE
    assert len(times) * SERVICE > 0.95 * 60


def test_at_seven_tenths_of_the_capacity_hardly_anything_is_refused():
    times, refused = simulate(arrivals(0.7))
    assert len(refused) < 0.01 * (len(times) + len(refused))


def test_a_burst_is_taken_whole_even_after_an_overload():
    overload = Overload()
    _, refused = simulate(np.linspace(0, 0.08, 100), overload=overload)
    assert not refused.size
    again = np.concatenate([20 + arrivals(2.0, 5.0), 30 + np.linspace(0, 0.08, 100)])
    _, refused = simulate(again, overload=overload)
    assert refused.size
    assert refused.max() < 30


@pytest.mark.parametrize("together", [1, 4, 16])
def test_clients_that_wait_for_their_answers_are_taken_however_long_the_queue_they_make(together):
    for clients in (1, 2, 3, 16, 17, 40):
        times, refused = simulate(clients=clients, together=together)
        assert not refused.size, clients
        assert np.median(times) > 0.9 * clients * SERVICE


def test_small_requests_are_taken_beside_a_large_one():
    overload = Overload()
    for i in range(20):
        assert not overload.refuses(0.5 * i, PAIRS, 0, 0.01)
        overload.served(0.5 * i + 0.04, PAIRS)
    assert not overload.refuses(10.0, 1000, 0, 0.01)
    for i in range(1, 20):  # a tenth of what is served in the meantime
        overload.served(10.0 + 0.4 * i, 40)
        assert not overload.refuses(10.0 + 0.4 * i, PAIRS, 1000 - 40 * i, 0.01)


def test_nothing_is_refused_before_the_speed_is_known():
    overload = Overload()
    assert not any(overload.refuses(0.1 * i, 10, 10 * i, 0.0) for i in range(100))
