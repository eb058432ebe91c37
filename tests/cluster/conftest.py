"""Clusters that the tests of one file share."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.nodes import Cluster
from tests.cluster.places import Local
from tests.support.machine import Network


@pytest.fixture(scope="module")
def shared_network() -> Iterator[Network]:
    """A network for all tests of a file, without machines."""
    if os.environ.get("TRAEFIKEE_TEST_NO_NAMESPACES") == "1":
        pytest.skip("TRAEFIKEE_TEST_NO_NAMESPACES=1")
    with Network() as made:
        yield made


@pytest.fixture
def places() -> Iterator[list[Local]]:
    """Loopback places that are to end with the test."""
    made: list[Local] = []
    yield made
    for place in made:
        place.destroy()


@pytest.fixture
def loopback_cluster() -> Iterator[Cluster]:
    """A cluster on loopback addresses that ends with the test, not formed yet."""
    cluster = Cluster(Local)
    yield cluster
    cluster.destroy()
