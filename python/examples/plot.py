"""A live plot: the means of the last blocks of arrays, and how long each block took, drawn anew with every block.

    python3 plot.py [URL] [PICTURE] [BLOCKS]

It writes the picture as PNG, so it needs no screen; with a screen, `pyplot.pause(0.001)` in place of `savefig` shows it.
"""
import collections
import sys

import lapwing
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
picture = sys.argv[2] if len(sys.argv) > 2 else "feed.png"
blocks = int(sys.argv[3]) if len(sys.argv) > 3 else 20

means, times = collections.deque(maxlen=1000), collections.deque(maxlen=200)
figure, (above, below) = pyplot.subplots(2, 1, constrained_layout=True)
with lapwing.listen(url, topics=["arrays"], block=5) as feed:
    for drawn, block in enumerate(feed, 1):
        means.extend(block.array.reshape(len(block), -1).mean(axis=1))
        times.append(block.elapsed or 0)
        above.clear(), below.clear()
        above.plot(means)
        above.set_ylabel("mean of an array")
        below.bar(range(len(times)), times)
        below.set_ylabel("seconds for a block")
        figure.savefig(picture)
        if drawn == blocks:
            break
print(f"{drawn} blocks in {picture}")
