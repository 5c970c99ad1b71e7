"""Arrays into a pandas frame: a row for each message, with its offset and both times.

    python3 frame.py [URL] [BLOCKS]
"""
import itertools
import sys

import lapwing
import pandas

url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
blocks = int(sys.argv[2]) if len(sys.argv) > 2 else 4


def frame_of(block):
    rows = pandas.DataFrame(block.array.reshape(len(block), -1), index=pandas.Index(block.offsets, name="offset"))
    return rows.assign(appended=block.times, received=block.received)


with lapwing.listen(url, topics=["arrays"], block=5) as feed:
    frame = pandas.concat(frame_of(block) for block in itertools.islice(feed, blocks))
print(frame.describe())
print(f"{len(frame)} rows from offset {frame.index[0]} to {frame.index[-1]}")
