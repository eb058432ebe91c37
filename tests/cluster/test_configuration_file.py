"""A whole cluster that is deployed from a file of Traefik 1.7, and what a dry run says of it."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.nodes import Cluster
from tests.cluster.places import Local
from tests.support.http1 import get

FILE = """\
logLevel = "INFO"
defaultEntryPoints = ["web"]

[entryPoints.web]
address = ":8000"

[entryPoints.admin]
address = ":8001"

[ping]
entryPoint = "admin"
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A control node with the file beside it, and a data node."""
    cluster = Cluster(Local)
    try:
        cluster.form(control=1, data=1)
        (control,) = cluster.control.values()
        assert isinstance(control.place, Local)
        (control.place.folder / "traefik.toml").write_text(FILE)
        yield cluster
    finally:
        cluster.destroy()


def traefikee(cluster: Cluster, line: str) -> str:
    """What the command prints on the control node; it has to succeed."""
    return cluster.control["control-node-1"].traefikee(line)


def deployed(cluster: Cluster) -> int | None:
    """The number of the configuration in force, as a dry run tells it."""
    number: int | None = json.loads(traefikee(cluster, "deploy -c traefik.toml --dry-run -o json"))["deployed"]
    return number


def test_a_dry_run_deploys_nothing(cluster: Cluster) -> None:
    told = traefikee(cluster, "deploy --configFile=traefik.toml --dry-run").splitlines()
    assert told == [
        "+ entryPoints.web.address: :8000",
        "+ entryPoints.admin.address: :8001",
        "+ defaultEntryPoints: web",
        "+ logLevel: INFO",
        "+ ping.entryPoint: admin",
        "5 changes (nothing is deployed yet). Nothing was deployed: this was a dry run.",
    ]
    assert deployed(cluster) is None


def test_what_the_file_says_is_served_and_a_dry_run_finds_no_difference(cluster: Cluster) -> None:
    """Relies on the test before: nothing was deployed yet."""
    assert "✔ data-node-1: applied" in traefikee(cluster, "deploy --configFile=traefik.toml")
    assert get(cluster.data["data-node-1"].address, 8000).status == 404
    answer = get(cluster.data["data-node-1"].address, 8001, "/ping")
    assert (answer.status, answer.body) == (200, b"OK")
    assert deployed(cluster) == 1
    assert traefikee(cluster, "deploy -c=traefik.toml --dry-run").startswith("No change against configuration 1.")


def test_flags_count_more_than_the_file(cluster: Cluster) -> None:
    """Relies on the tests before: the file is deployed."""
    line = "deploy -c traefik.toml --loglevel=WARN --entryPoints='Name:admin Address::8001 MaxConnections:9'"
    assert traefikee(cluster, f"{line} --dry-run").splitlines()[:2] == [
        "~ entryPoints.admin.maxConnections: 0 -> 9",
        "~ logLevel: INFO -> WARN",
    ]
    traefikee(cluster, line)
    assert deployed(cluster) == 2


def test_a_file_with_mistakes_changes_nothing(cluster: Cluster) -> None:
    """Relies on the tests before."""
    before = deployed(cluster)
    done = cluster.control["control-node-1"].place.run(
        "sed 's/^address/adress/' traefik.toml > bad.toml; traefikee deploy -c bad.toml"
    )
    assert done.returncode == 2
    assert 'bad.toml:5: entryPoints.web.adress: unknown key; did you mean "address"?' in done.stderr
    assert done.stdout == ""
    assert deployed(cluster) == before
