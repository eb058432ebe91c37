"""Engines for the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import EngineProcess
from tests.support.origin import Origin
from tests.support.ports import loopback_address
from tests.support.snapshots import entry_point, route, service, snapshot


class Router:
    """An engine in front of one origin: entry point `http` on `address`:8000, one route for everything."""

    def __init__(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        self.engine = engine
        self.address = address
        self.port = 8000
        self.url = f"http://{address}:{self.port}"
        self.origin = origin


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    """A running engine without a snapshot."""
    process = EngineProcess(tmp_path)
    try:
        process.start()
        yield process
    finally:
        process.cleanup()


@pytest.fixture
def router(engine: EngineProcess, address: str, origin: Origin) -> Router:
    """A running engine that hands every request to the origin."""
    made = Router(engine, address, origin)
    engine.apply(snapshot([entry_point(f"{address}:{made.port}")], [route()], [service(origin.url)]))
    return made


@pytest.fixture(scope="module")
def shared_router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """The same for the whole module, for tables of many small cases. It must be the same after a case as before."""
    origin = Origin()
    engine = EngineProcess(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        made = Router(engine, loopback_address(), origin)
        engine.apply(snapshot([entry_point(f"{made.address}:{made.port}")], [route()], [service(origin.url)]))
        yield made
    finally:
        engine.cleanup()
        origin.close()
