"""A client of binary arrays in 30 lines, with numpy and websockets and nothing of Lapwing's: what PROTOCOL.md says, done.

    pip install numpy websockets
    python3 binary.py [URL] [COUNT]
"""
import sys

import numpy
from websockets.sync.client import connect


def decode(frame):
    """Topic, offset, time and array of a binary frame; the array is a view of the frame."""
    if frame[:4] != b"LWA\x01":
        raise ValueError(f"no array of version 1: {frame[:4]!r}")
    kind, rank, name = frame[4:6].decode("ascii"), frame[6], frame[7]
    begin = int.from_bytes(frame[12:16], "little")
    offset, micros = numpy.frombuffer(frame, "<i8", 2, 16).tolist()
    shape = numpy.frombuffer(frame, "<u4", rank, 32)
    topic = frame[32 + 4 * rank : 32 + 4 * rank + name].decode("ascii")
    array = numpy.frombuffer(frame, "<" + kind, offset=begin).reshape(shape)
    return topic, offset, numpy.datetime64(micros, "us"), array


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with connect(f"{url}/?topics=arrays&encoding=binary", max_size=None) as feed:
        for _ in range(count):
            topic, offset, time, array = decode(feed.recv())
            print(topic, offset, time, array.dtype, array.shape, array.ravel()[:10].tolist())
