"""A simulation in NumPy that a page in a browser draws: a wave on a string, published as arrays of float64.

    lapwing serve --topic 'waves=push?dtype=float64' --allow-origin http://127.0.0.1:8000
    python3 -m http.server 8000            (in this folder; then open http://127.0.0.1:8000/simulation.html)
    python3 simulation.py [URL] [STEPS]
"""
import sys
import time

import lapwing
import numpy

url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 2000


def waves(steps, points=200, pause=0.02):
    """The string at each step, by finite differences: fixed at both ends, plucked at a quarter of its length."""
    place = numpy.linspace(0, 1, points)
    now = numpy.minimum(place / 0.25, (1 - place) / 0.75)
    before = now.copy()
    for _ in range(steps):
        yield now
        bend = numpy.zeros(points)
        bend[1:-1] = now[2:] - 2 * now[1:-1] + now[:-2]
        before, now = now, 2 * now - before + 0.9 * bend
        time.sleep(pause)


published = lapwing.publish(url, "waves", waves(steps))
print(f"published {published.messages} arrays: offsets {published.first} to {published.last}")
