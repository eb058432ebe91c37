"""Who an operator is: what the engine and the kernel say, and apart from it what the command says."""

import os
import pwd

from starlette.requests import Request

from traefikee.api.actor import actor_of
from traefikee.api.serving import LOCAL_USER
from traefikee.cluster.audit import Actor


def actor(client: tuple[str, int], **headers: str) -> Actor:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return actor_of(Request({"type": "http", "client": client, "headers": raw}))


def test_a_certificate_is_told_from_others_by_its_serial_number() -> None:
    headers = {"x_traefikee_peer_id": "traefikectl", "x_traefikee_peer_serial": "1f", "x_traefikee_says": "me@here"}
    assert actor(("", 0), **headers) == Actor("certificate traefikectl (serial 1f)", "api", "me@here")
    assert actor(("", 0), x_traefikee_peer_id="c") == Actor("certificate c", "api")


def test_a_user_of_the_machine_is_who_the_kernel_says() -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    lies = {"x_traefikee_peer_id": "somebody", "x_traefikee_says": "somebody@else"}
    assert actor((LOCAL_USER, os.getuid()), **lies) == Actor(f"user {name}", "socket", "somebody@else")
    assert actor((LOCAL_USER, 4_000_000)) == Actor("user 4000000", "socket")


def test_what_is_said_can_spoil_no_table() -> None:
    assert actor(("", 0), x_traefikee_says="a\x1b[2J").says == ""
    assert len(actor(("", 0), x_traefikee_says="a" * 5000).says) == 200
