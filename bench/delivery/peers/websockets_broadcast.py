"""A broadcast with Python's `websockets` in the form its documentation recommends: `broadcast()` over the set of connections.

websockets_broadcast.py --port PORT [--every-ms MS --burst N | --saturate]

Its keepalive is off: the load throws bytes away unseen, so it answers no ping.
"""
import argparse
import asyncio
import datetime
import itertools
import logging
import time

from websockets.asyncio.server import broadcast, serve

# At saturation: as many messages before the loop is given back, and no more than this waiting for a client.
SATURATED_BURST = 50
WAITING_BYTES_MAX = 1 << 20
OFFSETS = itertools.count()


def message():
    """Lapwing's envelope, 250 bytes: delivery/src/message.rs."""
    time_made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f'{{"topic":"feed","offset":{next(OFFSETS)},"time":"{time_made}","data":"'.ljust(248, "x") + '"}'


def send(server, count):
    for _ in range(count):
        broadcast(server.connections, message())


async def publish(server, asked):
    if asked.saturate:
        while True:
            waiting = (connection.transport.get_write_buffer_size() for connection in server.connections)
            if max(waiting, default=0) < WAITING_BYTES_MAX:
                send(server, SATURATED_BURST)
            await asyncio.sleep(0)
    due = time.monotonic()
    while asked.every_ms:
        due += asked.every_ms / 1000
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        send(server, asked.burst)
    await asyncio.get_running_loop().create_future()


async def until_closed(connection):
    await connection.wait_closed()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--every-ms", type=int, default=0)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--saturate", action="store_true")
    asked = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    async with serve(until_closed, "127.0.0.1", asked.port, ping_interval=None, backlog=4096) as server:
        await publish(server, asked)


asyncio.run(main())
