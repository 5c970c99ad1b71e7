"""One table of all results: medians, spread, and ratios to the floor beside them, or else of the same round."""
import statistics

BEGIN, END = "<!-- bench/delivery: begin -->", "<!-- bench/delivery: end -->"
FLOOR = "floor"
# Below this share of time without anything to read, the load may have been the limit.
LOAD_IDLE_MIN = 0.05
# A server that delivers less of what was asked fell behind.
OF_ASKED_MIN = 0.99
# A server that is the limit uses its core, or its threads wait for each other there.
USED_MIN = 0.9
# What programs that are no part of it may have of the cores, before a figure is not to be judged.
OTHERS_MAX = 0.05


def markdown(loads, results):
    """The table, a row for each workload and server that was measured."""
    lines = ["| workload | server | CPU per delivery | × floor | deliveries a second | p99 | memory a client | remarks |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for load in loads:
        title = load.title
        measured = [run for run in results if run["workload"] == load.name]
        for server, label in dict.fromkeys((run["server"], run["label"]) for run in measured):
            runs = chosen(results, load.name, server)
            lines.append(f"| {title} | {label} | " + " | ".join(cells(load, runs, results)) + " |")
            title = ""
    return "\n".join(lines)


def cells(load, runs, results):
    """What stands behind workload and server."""
    if load.name == "idle":
        return ["", "", "", "", spread([run["bytes_per_connection"] for run in runs], size), remarks(load, runs, results)]
    compared = "deliveries_per_second" if load.saturate else "cpu_us"
    # At saturation a message waits for its turn among thousands: its latency is the length of that row.
    latency = "" if load.saturate else spread(values(runs, "p99_ms"), millis)
    return [spread(values(runs, "cpu_us"), micros), spread(ratios(runs, results, compared), times),
            spread(values(runs, "deliveries_per_second"), many), latency, "", remarks(load, runs, results)]


def remarks(load, runs, results):
    """What one must know to read the row: what was the limit, what was lost, what cannot be told apart."""
    said = []
    if load.name == "stuck":
        said += beside_stuck(runs, chosen(results, "all-read", runs[0]["server"]))
    measured = "deliveries_per_second" if load.saturate else "cpu_us"
    over_floor = ratios(runs, results, measured)
    if disturbed(runs):
        said.append("other programs used the cores meanwhile: not to be judged")
    elif load.name != "idle" and runs[0]["server"] != FLOOR and over_floor and min(over_floor) <= 1 <= max(over_floor):
        said.append("not distinguishable from the floor")
    of_asked = values(runs, "of_asked")
    if of_asked and statistics.median(of_asked) < OF_ASKED_MIN:
        said.append(f"delivered {statistics.median(of_asked):.0%} of what was asked")
    if min(values(runs, "load_idle")) < LOAD_IDLE_MIN:
        said.append("the load was the limit")
    used, waited = (statistics.median(values(runs, name)) for name in ("cpu_share", "waited_share"))
    if load.saturate and used + waited < USED_MIN:
        said.append(f"the server used {used:.0%} of its core: something else was the limit")
    missed = sum(values(runs, "missed"))
    if missed:
        share = missed / (missed + sum(values(runs, "latencies")))
        said.append(f"{share:.1%} of messages skipped")
    ended = sum(values(runs, "ended_early"))
    if ended:
        said.append(f"{ended} connections ended by the server")
    return "; ".join(said)


def disturbed(runs):
    """Whether other programs, or other machines on the same metal, had much of the time."""
    return statistics.median(values(runs, "others_share")) > OTHERS_MAX


def beside_stuck(runs, without):
    """p99 with and without those that read nothing, and the memory they cost."""
    growth = spread([run["ended_bytes"] - run["began_bytes"] for run in runs], size)
    said = [f"memory in the window {growth}"]
    if without:
        mine, theirs = values(runs, "p99_ms"), values(without, "p99_ms")
        said.insert(0, f"p99 is {statistics.median(mine) / statistics.median(theirs):.2f} × that without them"
                    + ("" if apart(mine, theirs) else ", not distinguishable"))
    return said


def apart(ours, theirs):
    """Whether two spreads have nothing in common."""
    return min(ours) > max(theirs) or min(theirs) > max(ours)


def ratios(runs, results, name):
    """Each run over the floor that ran beside it, or else over that of its round."""
    beside = [run[name] / run["floor_cpu_us"] for run in runs if name == "cpu_us" and run[name] and run.get("floor_cpu_us")]
    if beside or not runs:
        return beside
    floors = {run["round"]: run[name] for run in chosen(results, runs[0]["workload"], FLOOR) if run[name]}
    return [run[name] / floors[run["round"]] for run in runs if run[name] and run["round"] in floors]


def chosen(results, workload, server):
    return [run for run in results if (run["workload"], run["server"]) == (workload, server)]


def values(runs, name):
    return [run[name] for run in runs if run[name] is not None]


def spread(found, form):
    """The median, and how far the rounds lay apart."""
    if not found:
        return ""
    if len(found) == 1:
        return form(found[0])
    return f"{form(statistics.median(found))} ({form(min(found))}–{form(max(found))})"


def progress(run):
    """One run, for whoever waits."""
    cost = f"{micros(run['cpu_us'])} a delivery, " if run["cpu_us"] else ""
    return (f"{run['workload']:<9} {run['server']:<12} round {run['round']}: {cost}{many(run['deliveries_per_second'])}/s, "
            f"p99 {millis(run['p99_ms'])}, {size(run['bytes_per_connection'])} a client, core {run['cpu_share']:.0%} busy, "
            f"load {1 - run['load_idle']:.0%} busy")


def micros(value):
    return f"{value:.3f} µs" if value < 10 else f"{value:.1f} µs"


def millis(value):
    return f"{value:.2f} ms" if value < 100 else f"{value:,.0f} ms"


def times(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def many(value):
    return f"{value:,.0f}" if value < 1e6 else f"{value / 1e6:.2f} M"


def size(value):
    return f"{value:,.0f} B" if abs(value) < 10_000 else f"{value / 1024:,.0f} KiB"


def write(file, head, text):
    """Replaces what stands between the markers, so that no figure is ever typed by hand."""
    page = file.read_text()
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{file} has no markers {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n" + "  \n".join(head) + f"\n\n{text}\n{END}{after}")
