"""What Lapwing is to reach, whatever the machine: ratios to the floor, bytes, and what must not be told apart."""
import statistics

import table

LAPWING = "lapwing"
WITH_RING = "lapwing-uring"
# server, workload, figure, whether at most or at least, bound, and what it is of
OVER_FLOOR = [
    (LAPWING, "single", "cpu_us", "at most", 1.05, "the floor's CPU time a delivery"),
    (WITH_RING, "single", "cpu_us", "at most", 0.85, "the floor's CPU time a delivery"),
    (LAPWING, "burst", "cpu_us", "at most", 1.1, "the floor's CPU time a delivery"),
    (WITH_RING, "burst", "cpu_us", "at most", 1.1, "the floor's CPU time a delivery"),
    (LAPWING, "saturate", "deliveries_per_second", "at least", 0.85, "the floor's deliveries a second"),
    (WITH_RING, "saturate", "deliveries_per_second", "at least", 0.85, "the floor's deliveries a second"),
]
IDLE_BYTES_MAX = 256


def lines(results):
    """One line for each goal whose workload was measured."""
    said = []
    for server, workload, figure, way, bound, what in OVER_FLOOR:
        found = table.ratios(table.chosen(results, workload, server), results, figure)
        if found:
            median = statistics.median(found)
            reached = median <= bound if way == "at most" else median >= bound
            said.append(line(reached, results, [workload],
                             f"{workload}, {server}: {table.spread(found, table.times)} × {what}, {way} {bound} ×"))
    idle = table.values(table.chosen(results, "idle", LAPWING), "bytes_per_connection")
    if idle:
        said.append(line(statistics.median(idle) <= IDLE_BYTES_MAX, results, [],
                         f"idle: {table.spread(idle, table.size)} a client, at most {IDLE_BYTES_MAX} B"))
    stuck, without = (table.values(table.chosen(results, workload, LAPWING), "p99_ms") for workload in ("stuck", "all-read"))
    if stuck and without:
        said.append(line(not table.apart(stuck, without), results, ["stuck", "all-read"],
                         f"stuck: p99 {table.spread(stuck, table.millis)} beside clients that read nothing, "
                         f"{table.spread(without, table.millis)} without them"))
    return said


def line(reached, results, workloads, what):
    """What became of one goal; times of the floor and of Lapwing mean nothing where others had the cores."""
    runs = [table.chosen(results, workload, server) for workload in workloads for server in (LAPWING, table.FLOOR)]
    if any(table.disturbed(found) for found in runs if found):
        return f"UNCLEAR, other programs used the cores: {what}"
    return f"{'reached' if reached else 'MISSED'}: {what}"
