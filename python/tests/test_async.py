"""The same for asyncio."""

import asyncio
import threading

import lapwing
import numpy
import pytest


def test_blocks_come_while_others_run(serve):
    server = serve("--topic", "arrays=arrays?every=20ms&burst=5&shape=10")

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        other = asyncio.create_task(tick())
        total = []
        async with lapwing.listen(server.url, topics=["arrays"], block=5) as feed:
            async for block in feed:
                total.append(block)
                if len(total) == 10:
                    break
        other.cancel()
        return total, ticks

    blocks, ticks = asyncio.run(main())
    assert all(block.array.shape[1:] == (10,) for block in blocks)
    offsets = numpy.concatenate([block.offsets for block in blocks])
    assert (numpy.diff(offsets) == 1).all()
    assert ticks > 20


def test_messages_come_as_they_are_published(pushed):
    async def main():
        got = []
        async with lapwing.listen(pushed.url, topics=["t"], block=100) as feed:
            threading.Thread(target=lambda: [pushed.post("t", n) for n in range(20)]).start()
            async for message in feed.messages():
                got.append(message.data)
                if len(got) == 20:
                    return got

    assert asyncio.run(main()) == list(range(20))


def test_a_feed_ends(pushed):
    pushed.post("t", *range(10))

    async def main():
        feed = lapwing.listen(pushed.url, topics=["t"], block=5, start="earliest", count=10)
        return [block.data async for block in feed]

    assert asyncio.run(main()) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_it_is_woken_once_for_all_that_came(pushed, monkeypatch):
    async def main():
        woken = 0
        on_bell = lapwing.Feed._on_bell

        def counted(feed):
            nonlocal woken
            woken += 1
            on_bell(feed)

        monkeypatch.setattr(lapwing.Feed, "_on_bell", counted)
        async with lapwing.listen(pushed.url, topics=["t"], block=1000) as feed:
            woken = 0
            lapwing.publish(pushed.url, "t", range(10_000))
            blocks = [await anext(feed) for _ in range(10)]
        return woken, sum(len(block) for block in blocks)

    woken, count = asyncio.run(main())
    assert count == 10_000
    assert woken <= 10


def test_waiting_can_be_cancelled_and_gone_on_with(pushed):
    async def main():
        async with lapwing.listen(pushed.url, topics=["t"], block=1) as feed:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(feed), 0.1)
            pushed.post("t", 7)
            return (await asyncio.wait_for(anext(feed), 30)).data

    assert asyncio.run(main()) == [7]


def test_two_who_wait_for_one_feed_are_told(pushed):
    async def main():
        async with lapwing.listen(pushed.url, topics=["t"], block=1) as feed:
            first = asyncio.create_task(anext(feed))
            await asyncio.sleep(0)
            with pytest.raises(lapwing.Error, match="somebody else waits"):
                await anext(feed)
            first.cancel()

    asyncio.run(main())


def test_errors_are_raised_where_they_are_awaited(pushed):
    async def main(**wanted):
        async with lapwing.listen(**wanted):
            pass

    with pytest.raises(lapwing.ConnectError):
        asyncio.run(main(url="ws://127.0.0.1:9", connect_timeout=0.3))
    with pytest.raises(lapwing.RefusedError):
        asyncio.run(main(url=pushed.url, topics=["no"]))


def test_a_feed_goes_on_in_another_loop(pushed):
    pushed.post("t", 1)
    feed = lapwing.listen(pushed.url, topics=["t"], block=1, start="earliest")

    async def one():
        return (await asyncio.wait_for(anext(feed), 30)).data

    assert asyncio.run(one()) == [1]
    threading.Timer(0.2, pushed.post, ("t", 2)).start()
    assert asyncio.run(one()) == [2]
    feed.close()
