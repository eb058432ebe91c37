"""What every provider is: it emits whole dynamic configurations under its name, and says how it fares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from traefikee.config.dynamic import DynamicConfiguration
from traefikee.config.runtime import ObjectError


@dataclass(frozen=True)
class Emitted:
    """A provider's whole configuration at one moment.

    :ivar errors: objects that were left out, and why.
    :ivar places: where in a file things are, as :func:`~traefikee.config.runtime.located` takes it.
    :ivar notes: what a reader should know though nothing is wrong.
    :ivar source: where it was read, as :func:`traefikee.config.places.place` takes it.
    """

    configuration: DynamicConfiguration
    errors: tuple[ObjectError, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = ""
    places: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A provider cannot read its source now; its last configuration stays in force."""

    message: str


Listener = Callable[[Emitted | Failed], None]


class Provider(ABC):
    """A source of dynamic configuration.

    :ivar name: the provider's name in the API and in object ids.
    """

    name: str

    @abstractmethod
    async def run(self, listener: Listener) -> None:
        """Call ``listener`` with each new configuration or failure; runs until it is cancelled.

        A failure is reported once, then again only with another message; after a recovery the configuration is
        emitted even if it did not change.
        """
