"""Whether one node is healthy: its own ping entry point is asked, as a load balancer in front would."""

from __future__ import annotations

import httpx
from starlette.responses import JSONResponse, Response

from traefikee.errors import UnreachableError
from traefikee.node.engine import Engine

TIMEOUT = 5.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "127.0.0.1"}  # noqa: S104


def reachable(address: str) -> str:
    """Return an address to connect to for one that is listened on."""
    host, _, port = address.rpartition(":")
    return f"{ANY_ADDRESS.get(host, host)}:{port}"


async def node_health(engine: Engine) -> Response:
    """Ask the entry points that answer ``/ping``; without one, the engine's control socket.

    Answers 200 or 503 with ``{"healthy": bool, "message": ...}``.
    """
    try:
        status = await engine.status()
    except UnreachableError as error:
        return answer(False, str(error))
    if status.get("state") != "running":
        return answer(False, f"the engine is {status.get('state')}")
    pings = [one for one in status.get("listeners", ()) if one.get("ping")]
    async with httpx.AsyncClient(verify=False, timeout=TIMEOUT, trust_env=False) as client:  # noqa: S501
        for one in pings:
            scheme = "https" if one.get("tls") else "http"
            url = f"{scheme}://{reachable(one['address'])}/ping"
            try:
                answered = await client.head(url)
            except httpx.HTTPError as error:
                return answer(False, f"Error calling healthcheck: {url}: {str(error) or type(error).__name__}")
            if answered.status_code != httpx.codes.OK:
                return answer(False, f"Bad healthcheck status: {url}: {answered.status_code}")
            return answer(True, f"OK: {url}")
    return answer(True, "OK: the engine answers (no entry point of this node has ping)")


def answer(healthy: bool, message: str) -> Response:
    """Return an answer: 200 or 503."""
    return JSONResponse({"healthy": healthy, "message": message}, status_code=200 if healthy else 503)
