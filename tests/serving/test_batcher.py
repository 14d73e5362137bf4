"""The queue in front of a model: what is scored together, what is refused, what nobody waits for."""

import asyncio

import pytest

from jrank.errors import ServeError
from jrank.serving._batcher import Batcher, QueueFull


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def run_queue(slow, work, **options):
    async def main():
        batcher = Batcher(slow, **options)
        try:
            return await work(batcher)
        finally:
            slow.gate.set()
            await asyncio.to_thread(batcher.close)

    return asyncio.run(main())


@pytest.mark.usefixtures("unchecked")
def test_requests_that_wait_are_scored_together_and_apart_when_one_is_poison(slow_ranker):
    slow = slow_ranker()

    async def work(batcher):
        first = asyncio.ensure_future(batcher.score([("first", "1")]))
        await until(lambda: slow.begun == 1)
        rest = [
            asyncio.ensure_future(batcher.score([(name, value)]))
            for name, value in (("b", "2"), ("c", "poison"), ("d", "4"))
        ]
        await until(lambda: len(batcher._jobs) == 3)
        slow.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    results = run_queue(slow, work)
    assert slow.rounds == [["first"], ["b", "c", "d"], ["b"], ["c"], ["d"]]
    assert [results[i].tolist() for i in (0, 1, 3)] == [[1.0], [2.0], [4.0]]
    assert isinstance(results[2], ServeError)


@pytest.mark.usefixtures("unchecked")
def test_models_whose_scores_depend_on_the_batch_never_mix_requests(slow_ranker):
    slow = slow_ranker(batch_invariant=False)

    async def work(batcher):
        jobs = [asyncio.ensure_future(batcher.score([(name, "1")] * 3)) for name in "abc"]
        await asyncio.sleep(0.05)
        slow.gate.set()
        return await asyncio.gather(*jobs)

    run_queue(slow, work)
    assert all(len(set(names)) == 1 for names in slow.rounds)


@pytest.mark.usefixtures("unchecked")
def test_a_large_request_does_not_hold_up_a_small_one(slow_ranker):
    slow = slow_ranker()

    async def work(batcher):
        large = asyncio.ensure_future(batcher.score([("large", str(i)) for i in range(200)]))
        await until(lambda: slow.begun == 1)
        small = asyncio.ensure_future(batcher.score([("small", "7")]))
        await asyncio.sleep(0.05)
        slow.gate.set()
        return await small, await large

    small, large = run_queue(slow, work, round_pairs=32)
    assert small.tolist() == [7.0]
    assert large.tolist() == list(range(200))
    assert "small" in slow.rounds[1]


@pytest.mark.usefixtures("unchecked")
def test_a_full_queue_refuses_at_once_and_recovers(slow_ranker):
    slow = slow_ranker()

    async def work(batcher):
        waiting = [asyncio.ensure_future(batcher.score([("a", "1")] * 4)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFull):
            await batcher.score([("b", "1")])
        slow.gate.set()
        await asyncio.gather(*waiting)
        return await batcher.score([("c", "3")]), batcher.waiting

    scores, waiting = run_queue(slow, work, max_waiting=8)
    assert (scores.tolist(), waiting) == ([3.0], 0)


@pytest.mark.usefixtures("unchecked")
def test_what_would_wait_too_long_is_refused(slow_ranker):
    slow = slow_ranker(gate=False)

    async def work(batcher):
        await batcher.score([("a", "1")])
        batcher._pair_seconds = 2.0  # as if a pair took that long
        slow.gate.clear()
        first = asyncio.ensure_future(batcher.score([("b", "1")] * 4))
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFull) as caught:
            await batcher.score([("c", "1")])
        slow.gate.set()
        await first
        return caught.value.seconds, await batcher.score([("d", "5")])

    seconds, scores = run_queue(slow, work, max_seconds=5.0)
    assert (seconds, scores.tolist()) == (4.0, [5.0])


@pytest.mark.usefixtures("unchecked")
def test_what_nobody_waits_for_is_not_scored(slow_ranker):
    slow = slow_ranker()

    async def work(batcher):
        first = asyncio.ensure_future(batcher.score([("first", "1")]))
        await until(lambda: slow.begun == 1)
        gone = asyncio.ensure_future(batcher.score([("gone", "1")]))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        slow.gate.set()
        await first
        return batcher.waiting

    assert run_queue(slow, work) == 0
    assert slow.rounds == [["first"]]
