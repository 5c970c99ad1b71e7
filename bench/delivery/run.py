#!/usr/bin/env python3
"""What does a delivered message cost: against a bare send() loop, and against well-known libraries?

Each server gets the same clients and the same messages, in turn, for several rounds; server and load are pinned to different
cores. The figure is the server process's CPU time per delivered message; where messages have a pace, a floor runs beside every
server and is what it is compared with, elsewhere the floor of the same round is. What it installs goes into the cache folder; a server that cannot be had is left out with a line. docs/performance.md
says how the figures are made and what they were.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import goals  # noqa: E402
import servers  # noqa: E402
import table  # noqa: E402
from lapwing_bench import Others, cores, free_port, machine, pinned, proportional_memory, stop, wait_for_port  # noqa: E402
from workloads import WORKLOADS  # noqa: E402

# From the start of a server, and the first clients that came and went, to its memory without clients.
SETTLE = 1.0
FIRST_CLIENTS = 200


def measure(sink, start, start_floor, load, asked, places):
    """One server, one load, one window: the figures of the load, and the server's memory along the way."""
    port = free_port()
    started = start(port, load)
    own = [os.getpid()]
    with contextlib.ExitStack() as running:
        server = run_until_left(running, started.command, places.server)
        own.append(server.pid)
        wait_for_port(port, server)
        if started.publisher:
            own.append(run_until_left(running, started.publisher, places.load).pid)
        reach = [sink, "--port", port, "--path", started.path, "--pid", server.pid] + ["--nats"] * started.nats
        # Whatever a program loads and sets up for its first clients is its own, and not what a client takes.
        few = [*reach, "--clients", FIRST_CLIENTS, "--stuck", 0, "--warm-up", 0, "--for", 0.1]
        subprocess.run(map(str, few), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, preexec_fn=pinned(places.load))
        time.sleep(SETTLE)
        base = proportional_memory(server.pid)
        command = [*reach, "--clients", load.clients, "--stuck", load.stuck, "--warm-up", load.warm_up, "--for", asked.seconds]
        command += ["--sleep"] * asked.load_sleeps
        if load.has_floor_beside():
            beside = free_port()
            floor = run_until_left(running, start_floor(beside, load).command, places.server)
            own.append(floor.pid)
            wait_for_port(beside, floor)
            command += ["--beside", beside, "--beside-pid", floor.pid]
        loading = run_until_left(running, map(str, command), places.load, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        own.append(loading.pid)
        told = {}
        others = None
        for event in ("connected", "began", "ended"):
            line = loading.stdout.readline()
            if not line:
                raise RuntimeError(f"the load ended before it had {event}")
            told[event] = json.loads(line)
            told[event]["memory"] = proportional_memory(server.pid)
            if event == "connected":
                others = Others(own)
        share = others.share()
    return {**figures(load, base, told), "others_share": share}


def run_until_left(running, command, core_set, **options):
    """Starts a program on some cores; it is stopped when `running` is left."""
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL, **options}
    process = subprocess.Popen(list(command), preexec_fn=pinned(core_set), **options)
    running.callback(stop, process)
    return process


def figures(load, base, told):
    """What one window says, under the names that --json has."""
    ended = told["ended"]
    messages, seconds = ended["messages"], ended["seconds"]
    per_second = messages / seconds
    asked = load.asked_per_second()
    return {
        "cpu_us": ended["cpu_ns"] / messages / 1e3 if messages else None,
        "cpu_share": ended["cpu_ns"] / seconds / 1e9,
        "deliveries_per_second": per_second,
        "of_asked": per_second / asked if asked else None,
        "p50_ms": ended["p50_ms"], "p99_ms": ended["p99_ms"], "max_ms": ended["max_ms"], "latencies": ended["sampled"],
        "missed": ended["missed"], "ended_early": ended["ended_early"],
        "load_idle": ended["idle"],
        "floor_cpu_us": ended["beside_cpu_ns"] / ended["beside_messages"] / 1e3 if ended.get("beside_messages") else None,
        "waited_share": ended["waited_ns"] / seconds / 1e9,
        "connect_seconds": told["connected"]["seconds"],
        "base_bytes": base, "began_bytes": told["began"]["memory"], "ended_bytes": ended["memory"],
        "bytes_per_connection": (told["began"]["memory"] - base) / load.clients,
    }


def prepared(chosen, extra_flags):
    """The servers that can be had, each with how it is started and its version."""
    rows = []
    for server in chosen:
        try:
            start, version = server.prepare()
        except servers.Unavailable as why:
            print(f"left out: {server.label}: {why}", file=sys.stderr)
            continue
        rows.append((server, start, version))
        if server.name == "lapwing":
            for flags in extra_flags:
                start, version = servers.lapwing(*flags.split())()
                rows.append((servers.Server(f"lapwing {flags}", f"Lapwing `{flags}`", None), start, version))
    return rows


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", action="append", choices=[load.name for load in WORKLOADS],
                        help="only this one; may be repeated [default: all]")
    parser.add_argument("--only", action="append", choices=[server.name for server in servers.SERVERS],
                        help="only this server; may be repeated [default: all]")
    parser.add_argument("--rounds", type=int, default=5, help="each server so often, in turn [default: 5]")
    parser.add_argument("--for", dest="seconds", type=float, default=10, help="a window, in seconds [default: 10]")
    parser.add_argument("--server-cores", type=int, default=1, help="cores that a server may use [default: 1]")
    parser.add_argument("--load-sleeps", action="store_true",
                        help="the load sleeps while nothing comes, so that servers pay for waking it [default: it spins]")
    parser.add_argument("--lapwing", action="append", default=[], metavar="FLAGS",
                        help="another row: lapwing serve with these flags; may be repeated")
    parser.add_argument("--json", action="store_true", help="one object a line for each run, as it ends")
    parser.add_argument("--from", dest="earlier", type=pathlib.Path, action="append", default=[], metavar="FILE",
                        help="what an earlier run printed with --json stands in the table too; alone, nothing is measured")
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="replace the table between the markers of this file")
    return parser.parse_args()


def main():
    asked = arguments()
    results = [json.loads(line) for file in asked.earlier for line in file.read_text().splitlines()]
    only_earlier = bool(results) and not (asked.workload or asked.only or asked.lapwing)
    loads = [load for load in WORKLOADS if not only_earlier and (not asked.workload or load.name in asked.workload)]
    chosen = [server for server in servers.SERVERS if not asked.only or server.name in asked.only]
    places = cores(asked.server_cores)
    for line in places.warnings:
        print(line, file=sys.stderr)
    if loads:
        sink = servers.program("delivery", "sink")
        start_floor, _ = servers.floor()()
        rows = prepared(chosen, asked.lapwing)
    for load in loads:
        for nth in range(asked.rounds):
            # The order turns with each round, so that a machine that drifts favours nobody.
            for server, start, version in rows if nth % 2 == 0 else rows[::-1]:
                result = {"workload": load.name, "server": server.name, "label": f"{server.label} {version}".strip(), "round": nth + 1,
                          "window": asked.seconds}
                try:
                    result |= measure(sink, start, start_floor, load, asked, places)
                except (OSError, RuntimeError) as error:
                    print(f"{load.name}, {server.name}, round {nth + 1}: {error}", file=sys.stderr)
                    continue
                results.append(result)
                print(json.dumps(result) if asked.json else table.progress(result), flush=True,
                      file=sys.stdout if asked.json else sys.stderr)
    text = table.markdown(WORKLOADS, results)
    load_rests = "sleeps while nothing comes" if asked.load_sleeps else "never sleeps"
    windows = " or ".join(f"{seconds:g}" for seconds in sorted({run["window"] for run in results}))
    head = (f"{machine()}; windows of {windows} s, rounds: {max(run['round'] for run in results)}; the load {load_rests}; "
            f"Python {platform.python_version()}")
    if asked.write:
        table.write(asked.write, [head, *places.warnings], text)
    if not asked.json:
        print("\n".join([head, *places.warnings, "", text, "", *goals.lines(results)]))


if __name__ == "__main__":
    main()
