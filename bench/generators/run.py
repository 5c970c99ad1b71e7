#!/usr/bin/env python3
"""How fast are random people and arrays made, against what people use for that in Python?

Runs `cargo bench --bench generators`, and in the same run NumPy's integers() and Faker's profile fields on one core, and
prints ratios. Installs numpy and faker by name into a virtual environment in the cache folder.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import ROOT, machine  # noqa: E402

PEERS = """
import json, statistics, time
import numpy
from faker import Faker

def best(make, items, rounds=5):
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        make()
        took.append(time.perf_counter() - began)
    return items / statistics.median(took)

rng, fake = numpy.random.default_rng(1), Faker()
Faker.seed(1)

def people(count=500):
    for _ in range(count):
        json.dumps({"name": fake.name(), "username": fake.user_name(), "email": fake.email(), "birth_date": str(fake.date_of_birth()),
                    "job": fake.job(), "company": fake.company(), "address": fake.address(), "phone": fake.phone_number()})

array = rng.integers(0, 100, 1000)
print(json.dumps({
    "numpy int64 below 100": best(lambda: rng.integers(0, 100, 1_000_000), 1_000_000),
    "numpy int64 below 100, as JSON": best(lambda: [json.dumps(array.tolist()) for _ in range(200)], 200_000),
    "faker people, as JSON": best(people, 500),
}))
"""


def peers():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "lapwing" / "bench-python"
    if not (cache / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", cache], check=True)
        subprocess.run([cache / "bin" / "pip", "install", "--quiet", "numpy", "faker"], check=True)
    return json.loads(subprocess.run([cache / "bin" / "python", "-c", PEERS], check=True, stdout=subprocess.PIPE, text=True).stdout)


def ours():
    """Criterion's median throughput by benchmark, in elements a second."""
    done = subprocess.run(["cargo", "bench", "-p", "lapwing", "--bench", "generators", "--",
                           "--warm-up-time", "1", "--measurement-time", "2"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    scale = {"elem/s": 1, "Kelem/s": 1e3, "Melem/s": 1e6, "Gelem/s": 1e9}
    found, name = {}, None
    for line in done.stdout.splitlines():
        if line and not line.startswith(" "):
            name = line.split("time:")[0].strip()
        match = re.search(r"thrpt:\s+\[\S+ \S+ (\S+) (\S+) ", line)
        if match and name:
            found[name] = float(match[1]) * scale[match[2]]
    return found


def main():
    print(machine())
    theirs, mine = peers(), ours()
    for name, rate in {**mine, **theirs}.items():
        print(f"{name:<40} {rate / 1e6:12.3f} M/s")
    for what, name, peer in [("people as JSON", "people/en", "faker people, as JSON"),
                             ("int64 below 100", "arrays/int64 below 100, values", "numpy int64 below 100"),
                             ("int64 below 100 as JSON", "arrays/int64 below 100, JSON", "numpy int64 below 100, as JSON")]:
        print(f"{what}: {mine[name] / theirs[peer]:.1f} x {peer.split(' ')[0]}")


if __name__ == "__main__":
    main()
