"""The harness itself: machines in namespaces."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.machine import Machine, Network
from tests.support.wait import wait_for

GUIDE_KILL_LINE = "ps -ef | grep traefikee | awk '{print $2}' | xargs kill -9"


def start_origin_on(machine: Machine) -> None:
    machine.start(
        f"cd {os.getcwd()} && python -m tests.support.origin --listen {machine.address}:80 --name {machine.name}",  # noqa: PTH109
        name="origin",
    ).wait_for_output("listens on")


def test_machines_reach_each_other_by_address_and_have_names(network: Network) -> None:
    one = network.machine("control-node-1", "10.10.0.2")
    two = network.machine("data-node-1", "10.10.0.5")
    start_origin_on(one)
    assert one.check("hostname").strip() == "control-node-1"
    assert '"name": "control-node-1"' in two.check("curl -sS http://10.10.0.2/")
    assert '"name": "control-node-1"' in one.check("curl -sS http://10.10.0.2/")
    assert network.client().run("curl -sS http://10.10.0.5/").returncode == 7, "nobody listens there"


def test_files_are_private(network: Network) -> None:
    one = network.machine("one", "10.10.0.1")
    two = network.machine("two", "10.10.0.2")
    one.check("for f in /var/lib /var/run /tmp .; do echo 1 >$f/traefikee-test-private; done")
    for folder in ("/var/lib", "/run", "/tmp", "/tmp/home"):
        assert two.run(f"cat {folder}/traefikee-test-private").returncode == 1
        assert not Path(folder, "traefikee-test-private").exists()
    assert (one.root / "run/traefikee-test-private").read_text() == "1\n"


def test_the_guides_kill_line_kills_on_its_machine_only(network: Network) -> None:
    one = network.machine("bootstrap-node", "10.10.0.1")
    two = network.machine("control-node-1", "10.10.0.2")
    line = "bash -c 'while :; do sleep 1; done' traefikee bootstrap"
    killed = one.start(line)
    spared = two.start(line)
    bystander = one.start("sleep 1000")
    wait_for(lambda: any("traefikee" in command for command in one.processes()), "it is seen by ps")
    wait_for(lambda: any("traefikee" in command for command in two.processes()), "it is seen by ps")

    one.run(GUIDE_KILL_LINE)

    assert killed.wait() == 128 + signal.SIGKILL
    assert spared.running
    assert bystander.running
    assert not any("traefikee" in command for command in one.processes())
    assert one.check("echo alive") == "alive\n"


def test_signals_reach_the_command_and_its_exit_code_comes_back(network: Network) -> None:
    one = network.machine("one", "10.10.0.1")
    process = one.start("bash -c 'trap \"exit 3\" TERM; echo ready; while :; do sleep 0.01; done'")
    process.wait_for_output("ready")
    assert process.terminate() == 3


def test_orphans_are_reaped(network: Network) -> None:
    one = network.machine("one", "10.10.0.1")
    one.check("(setsid sleep 0.01 &)")
    wait_for(lambda: not any("sleep" in command for command in one.processes()), "no zombie is left")


def test_a_cut_link_loses_everything_until_it_is_back(network: Network) -> None:
    one = network.machine("one", "10.10.0.1")
    two = network.machine("two", "10.10.0.2")
    start_origin_on(one)
    fetch = "curl -sS --connect-timeout 0.5 http://10.10.0.1/"
    two.check(fetch)
    one.kill_link()
    assert two.run(fetch).returncode in {7, 28}
    one.restore_link()
    wait_for(lambda: two.run(fetch).returncode == 0, "the link works again")


def test_a_destroyed_machine_takes_its_processes_and_may_come_back(network: Network) -> None:
    one = network.machine("one", "10.10.0.1")
    process = one.start("sleep 1000")
    one.check("touch /var/lib/traefikee-test-private")
    one.destroy()
    assert not process.running
    again = network.machine("one", "10.10.0.1")
    assert again.run("ls /var/lib/traefikee-test-private").returncode == 2


def test_without_root_there_is_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RuntimeError, match="TRAEFIKEE_TEST_NO_NAMESPACES=1"):
        Network()
