"""Metrics as others read them: Python's parsers, promtool, and the dashboard's queries."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from program import DEADLINE_S, Program, Server, until

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"


@pytest.fixture
def watched(tmp_path):
    """A server with topics of every kind, and what its metrics say after a listener has reported."""
    topics = ("users=users?every=20ms", "arrays=arrays?every=50ms&burst=5", "orders=push?durability=none")
    flags = [flag for topic in topics for flag in ("--topic", topic)]
    with Server(*flags, "--data", str(tmp_path / "data")) as server:
        with Program("listen", server.ws(), "--block", "5", "--quiet"):
            server.publish("orders", {"n": 1})
            until(lambda: 'lapwing_block_drift_seconds_count{topic="arrays"' in scrape(server)[1], "a report")
            yield server


def scrape(server, accept="*/*"):
    """Content type and text of an answer."""
    request = urllib.request.Request(server.http("/metrics"), headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def promtool(*arguments, **options):
    """Runs promtool; gives what it said, after it found nothing wrong."""
    tool = shutil.which(os.environ.get("LAPWING_PROMTOOL") or "promtool")
    run = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, **options)
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    return said


def both_texts(server):
    """What Python's parsers make of both texts, each family by its name; nothing, when something came to be between them."""
    def series(families):
        return {(sample.name, *sorted(sample.labels.items())) for family in families.values() for sample in family.samples}

    kind, text = scrape(server, "application/openmetrics-text; version=1.0.0")
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    opened = {family.name: family for family in open_metrics(text)}
    kind, text = scrape(server)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    plain = {family.name: family for family in prometheus(text)}
    return (opened, plain) if series(opened) == series(plain) else None


def test_both_texts_are_read_by_pythons_parsers_and_say_the_same(watched):
    # A histogram is there from its first value on.
    opened, plain = until(lambda: both_texts(watched), "the same series in both texts")
    # The parser of the older text gives a count's name without its end, and knows no info.
    assert {"lapwing_build" if name == "lapwing_build_info" else name for name in plain} == set(opened)
    for name, family in opened.items():
        other = plain.get(name) or plain["lapwing_build_info"]
        assert family.documentation == other.documentation and family.documentation
        assert other.type == ("gauge" if family.type == "info" else family.type)
        if name.endswith(("_seconds", "_bytes")):
            assert family.unit == name.rsplit("_", 1)[1]
    values = {sample.name: sample.value for sample in opened["lapwing_reports"].samples if sample.labels["topic"] == "arrays"}
    assert values["lapwing_reports_total"] >= 1


def test_buckets_rise_to_the_count(watched):
    histograms = [family for family in open_metrics(scrape(watched, "application/openmetrics-text")[1]) if family.type == "histogram"]
    assert len(histograms) == 5
    seen = 0
    for family in histograms:
        series = {}
        for sample in family.samples:
            labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
            part = series.setdefault(labels, {"buckets": []})
            if sample.name.endswith("_bucket"):
                part["buckets"].append((float(sample.labels["le"]), sample.value))
            else:
                part[sample.name.rsplit("_", 1)[1]] = sample.value
        for part in series.values():
            bounds, counts = zip(*part["buckets"])
            assert list(bounds) == sorted(bounds) and bounds[-1] == float("inf")
            assert list(counts) == sorted(counts) and counts[-1] == part["count"]
            seen += part["count"] > 0
    assert seen >= 5


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing_to_say_about_the_metrics(watched):
    assert promtool("check", "metrics", input=scrape(watched)[1]) == ""


@pytest.mark.needs("promtool")
def test_promtool_takes_the_alerts_and_they_fire_when_they_should():
    assert "SUCCESS" in promtool("check", "rules", str(DEPLOY / "alerts.yml"))
    assert "SUCCESS" in promtool("test", "rules", str(pathlib.Path(__file__).with_name("alerts_test.yml")))


def dashboard():
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return board, [panel for panel in board["panels"] if panel["type"] != "row"]


@pytest.mark.needs("promtool")
def test_promtool_understands_each_query_of_the_dashboard(tmp_path):
    board, panels = dashboard()
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    queries += [found["expr"] for found in board["annotations"]["list"]]
    assert len(queries) > 30
    names = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    groups = []
    for number, query in enumerate(queries):
        used = re.findall(r"\$(\w+)", query)
        assert set(used) <= names, query
        plain = re.sub(r"\$\w+", "1m", query)
        groups.append({"name": f"query {number}", "rules": [{"record": f"query:{number}", "expr": plain}]})
    rules = tmp_path / "queries.json"
    # YAML holds JSON.
    rules.write_text(json.dumps({"groups": groups}), encoding="utf-8")
    assert "SUCCESS" in promtool("check", "rules", str(rules))


def test_the_panels_of_the_dashboard_are_explained_and_overlap_nowhere():
    board, panels = dashboard()
    taken = {}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        assert panel["title"] and len(panel["description"]) > 10, panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for spot in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            assert spot not in taken, f"{panel['title']} lies on {taken[spot]}"
            taken[spot] = panel["title"]
