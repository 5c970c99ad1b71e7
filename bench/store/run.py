#!/usr/bin/env python3
"""What does keeping topics on disk cost, against the bare writes and syncs of the same bytes in the same run?

Runs `cargo bench --bench store` and prints its figures, then the ones with a goal and whether they reach it. LAPWING_BENCH_DIR names
the disk (default: the build folder), LAPWING_BENCH_MESSAGES how many messages are scanned (default: 10,000,000, which take 2.9 GB).
"""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import ROOT, machine  # noqa: E402

GOALS = [
    ("os, batches of 100", 1, "M messages a second of 250 bytes"),
    ("os through the log, batches of 100", 1, "M messages a second of 250 bytes, each publish acknowledged"),
    ("ratio to bare, groups of 100", 0.8, "of a bare append and fdatasync"),
    ("ratio to bare, groups of 1000", 0.8, "of a bare append and fdatasync"),
    ("ratio to bare through the log, groups of 1000, 4 at a time", 0.8, "of a bare append and fdatasync, with the envelopes of 4 publishes on their way"),
    ("scan of", 1, "GB/s from the page cache"),
]


def main():
    print(machine())
    done = subprocess.run(["cargo", "bench", "-p", "lapwing", "--bench", "store"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    figures = {}
    for line in done.stdout.splitlines():
        name, _, rest = line.partition("\t")
        if rest:
            value, _, unit = rest.partition("\t")
            figures[name] = float(value)
            print(f"{name:<50} {float(value):12.3f} {unit}")
    missed = 0
    for begin, goal, what in GOALS:
        for name, value in figures.items():
            if name.startswith(begin) and (name == begin or begin.endswith("of")):
                reached = value >= goal
                missed += not reached
                print(f"{'reached' if reached else 'MISSED'}: {name}: {value:.2f}, goal {goal} {what}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
