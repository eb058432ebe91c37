"""Objects that are configured before every node understands them."""

import pytest

from traefikee import formats
from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, Route
from traefikee.formats import NewerFieldError
from traefikee.node.newer import without_newer
from traefikee.providers.base import Emitted

OLD, NEW = (Frontend(backend="b", routes={"r": Route(rule=f"Host:{host}")}) for host in ("old", "new"))
SAID = Emitted(DynamicConfiguration(frontends={"old": OLD, "new": NEW}, backends={"b": Backend()}), source="here")


@pytest.fixture(autouse=True)
def new_is_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    def newer(item: object, number: int) -> NewerFieldError | None:
        return NewerFieldError("auth.oidc", 2) if item is NEW and number < 2 else None

    monkeypatch.setattr(formats, "newer_field", newer)


def test_an_object_with_an_option_that_not_all_nodes_know_is_left_out_and_named() -> None:
    told = without_newer("consul", SAID, 1, newest=2)
    assert told.configuration.frontends == {"old": OLD}
    assert told.configuration.backends == SAID.configuration.backends
    (error,) = told.errors
    assert error.sentence() == ('frontend "consul/new": auth.oidc can be used once all nodes are upgraded (format 2)')
    assert (error.severity, error.path, told.source) == ("error", "auth.oidc", "here")


def test_it_follows_once_they_do() -> None:
    assert without_newer("consul", SAID, 2, newest=2) is SAID
