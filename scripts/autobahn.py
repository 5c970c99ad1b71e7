"""Runs the cases of scripts/autobahn in the roles named, and tells what came of them."""

import collections
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

KOSOKU, PROGRAMS = os.environ["KOSOKU"], pathlib.Path(os.environ["PROGRAMS"])
JOBS = os.environ["JOBS"]
CASES = [part for case in os.environ["CASES"].split(",") if case != "*" for part in ("--include", case)]
# All 517 take minutes on two cores that others use, too.
LIMIT_S = 1500


def server(reports):
    """The suite is the client, `lapwing serve --echo` the server."""
    command = [PROGRAMS / "lapwing", "serve", "--json", "--echo", "--topic", "quiet=push", "--listen", "127.0.0.1:0"]
    with open(reports / "log", "wb") as log:
        lapwing = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            address = json.loads(lapwing.stdout.readline())["address"]
            drain = subprocess.Popen(["cat"], stdin=lapwing.stdout, stdout=log)
            suite = [KOSOKU, "--mode", "fuzzingclient", "--parallelism", JOBS, "--outdir", reports, *CASES]
            subprocess.run([*suite, f"{address}/echo"], stdout=log, stderr=log, timeout=LIMIT_S)
        finally:
            lapwing.terminate()
            lapwing.wait(30)
        drain.wait(30)


def client(reports):
    """The suite is the server, the example `echo` the client."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % free.getsockname()[1]
    with open(reports / "log", "wb") as log:
        suite = [KOSOKU, "--mode", "fuzzingserver", "--outdir", reports, *CASES, address]
        suite = subprocess.Popen(suite, stdout=log, stderr=log)
        try:
            listens(address, suite)
            echo = [PROGRAMS / "examples" / "echo", f"ws://{address}", "lapwing", JOBS]
            subprocess.run(echo, stdout=log, stderr=log, timeout=LIMIT_S)
            # It ends by itself when the reports are written.
            suite.wait(60)
        finally:
            if suite.poll() is None:
                suite.kill()
                suite.wait()


def listens(address, suite):
    host, port = address.split(":")
    deadline = time.monotonic() + 60
    while suite.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), 5).close()
            return
        except OSError:
            time.sleep(0.05)


def tell(role, reports, seconds):
    """Prints a line for each group; gives whether every case is as it should be."""
    try:
        agents = json.loads((reports / "index.json").read_text())
    except OSError:
        print(f"{role}: no results; {reports / 'log'} ends with")
        print("    " + "\n    ".join((reports / "log").read_text(errors="replace").splitlines()[-10:]))
        return False
    found = {case: result for cases in agents.values() for case, result in cases.items()}
    groups, wrong = collections.defaultdict(collections.Counter), []
    for case, result in sorted(found.items(), key=lambda one: [int(part) for part in one[0].split(".")]):
        outcome = result["behavior"], result["behaviorClose"]
        groups[int(case.split(".")[0])][outcome[0]] += 1
        if not set(outcome) <= {"OK", "INFORMATIONAL"}:
            wrong.append((case, *outcome))
    print(f"{role}: {len(found)} cases in {seconds:.0f} s")
    for group, outcomes in sorted(groups.items()):
        print(f"  {group:>3}.*  " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    for case, behavior, close in wrong[:50]:
        print(f"  wrong: {case}: {behavior}, close {close}")
    print(f"  {len(found) - len(wrong)} as they should be, {len(wrong)} not; reports: {reports}/index.html")
    return bool(found) and not wrong


def main():
    fine = True
    for role in sys.argv[1:]:
        reports = PROGRAMS.parent / "autobahn" / role
        shutil.rmtree(reports, ignore_errors=True)
        reports.mkdir(parents=True)
        began = time.monotonic()
        try:
            {"server": server, "client": client}[role](reports)
        except subprocess.TimeoutExpired as late:
            print(f"{role}: {late.cmd[0]} took more than {LIMIT_S} s")
            fine = False
        fine &= tell(role, reports, time.monotonic() - began)
    sys.exit(0 if fine else 1)


main()
