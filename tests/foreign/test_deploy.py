"""What stands in deploy/ can be read by those for whom it is, and names flags and settings that there are."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from program import DEADLINE_S

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"


def said(*command, **environment):
    """What a command says, and with which code it ends."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LAPWING_")}
    run = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE_S, env=kept | environment
    )
    return run.stdout, run.returncode


def flags_of_serve():
    text, code = said(os.environ["LAPWING_BIN"], "serve", "--help")
    assert code == 0, text
    return set(re.findall(r"--[a-z][a-z-]+", text))


def assert_understood(command):
    """Every flag of a command line is one of `lapwing serve`, and every topic one that it can make."""
    assert command[0] == "serve"
    typed = {word.split("=")[0] for word in command if word.startswith("--")}
    assert typed <= flags_of_serve(), typed - flags_of_serve()


def assert_topics_understood(topics):
    """The program finds nothing wrong with these topics; it stops at what is wrong on purpose, which it tells together."""
    assert topics
    arguments = [f"--topic={topic}" for topic in topics]
    text, code = said(os.environ["LAPWING_BIN"], "serve", "--listen=nowhere", "--broker=nats://127.0.0.1:1", *arguments)
    assert code == 2 and "nowhere" in text, text
    assert not re.findall("error:.*(?:topic|setting).*", text), text


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_the_servers_of_the_compose_file_are_started_with_flags_and_topics_that_there_are(compose):
    servers = [service for name, service in compose["services"].items() if name.startswith("lapwing")]
    assert len(servers) == 3
    for service in servers:
        assert_understood(service["command"])
        assert service["environment"].keys() == {"LAPWING_BROKER"}
        assert_topics_understood([word.removeprefix("--topic=") for word in service["command"] if "--topic" in word])


def test_the_compose_file_names_only_what_it_has(compose):
    services = compose["services"]
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_file(), volume
        assert set(service.get("secrets", [])) <= compose["secrets"].keys()
        assert set(service.get("depends_on", [])) <= services.keys()
        assert set(service["networks"]) <= compose["networks"].keys()
        build = service.get("build")
        assert not build or (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    for address in re.findall(r"@([a-z0-9-]+):4222", services["lapwing-1"]["environment"]["LAPWING_BROKER"]):
        assert address in services
    targets = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]["targets"]
    assert {target.split(":")[0] for target in targets} == {name for name in services if name.startswith("lapwing")}


@pytest.mark.needs("nats-server")
def test_a_server_of_nats_takes_the_configuration():
    nats = os.environ["LAPWING_NATS_SERVER"]
    text, code = said(nats, "-t", "--config", str(DEPLOY / "nats.conf"), NATS_NAME="nats-1", NATS_PASSWORD="n0", NATS_STORE="/data")
    assert code == 0, text


@pytest.mark.needs("promtool")
def test_prometheus_takes_its_configuration(tmp_path):
    text = (DEPLOY / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/prometheus", str(tmp_path / "token")))
    (tmp_path / "token").write_text("x")
    shutil.copy(DEPLOY / "alerts.yml", tmp_path)
    tool = shutil.which(os.environ.get("LAPWING_PROMTOOL") or "promtool")
    text, code = said(tool, "check", "config", str(tmp_path / "prometheus.yml"))
    assert code == 0, text


def units():
    return sorted((DEPLOY / "systemd").glob("*.service"))


def test_the_service_is_started_with_flags_and_settings_that_there_are():
    text = (DEPLOY / "systemd" / "lapwing.service").read_text()
    command = shlex.split(re.search("^ExecStart=(.*)$", text, re.MULTILINE).group(1))
    assert command[0].endswith("/lapwing")
    assert_understood(command[1:])
    loaded = set(re.findall("^LoadCredential=([^:]+):", text, re.MULTILINE))
    assert set(re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/(\S+)", " ".join(command))) == loaded
    settings = (DEPLOY / "systemd" / "lapwing.toml").read_text()
    assert_topics_understood([f"{name}={source}" for name, source in re.findall(r'^(\w+) = "(.*replicas.*)"$', settings, re.MULTILINE)])
    file = DEPLOY / "systemd" / "lapwing.toml"
    text, code = said(os.environ["LAPWING_BIN"], "serve", f"--config={file}", "--listen=nowhere", "--broker=nats://127.0.0.1:1")
    assert code == 2 and "nowhere" in text and "settings file" not in text, text


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", units(), ids=lambda unit: unit.name)
def test_systemd_understands_a_unit_and_finds_it_confined(unit, tmp_path):
    # It looks for the program, which is not where a service has it.
    text = unit.read_text()
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    copy = tmp_path / unit.name
    copy.write_text(text)
    told, code = said("systemd-analyze", "verify", str(copy))
    assert code == 0 and unit.name not in told, told
    told, _ = said("systemd-analyze", "security", "--offline=true", str(copy))
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", told)
    assert exposure and float(exposure.group(1)) < 2.5, told[-500:]
