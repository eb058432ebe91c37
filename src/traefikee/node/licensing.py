"""Asking a licence server about the key: at bootstrap, when the key is changed, and now and then by the leader.

One request of JSON over HTTPS (``docs/operations/licence.md``)::

    POST <endpoint>    {"key": "...", "cluster": "<id>", "version": "0.1.0"}
    200                {"accepted": true}  or  {"accepted": false, "reason": "it has expired"}

Everything else is no verdict. ``HTTPS_PROXY`` and its like, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are those of the
node's environment.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl

import httpx

from traefikee import __version__, log
from traefikee.cluster import audit, licence, state
from traefikee.cluster.audit import Actor
from traefikee.cluster.fencing import FencedStore
from traefikee.cluster.licence import LICENCE, LicenceStatus
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import ClusterInfo
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import OPERATOR_PATIENCE, Compare, Put, Store
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError

TIMEOUT = 10.0
"""Seconds that a server may take for its answer."""
LARGEST_ANSWER = 64 * 1024
LONGEST_REASON = 300
TRIES = 3
PAUSE = 1.0
ATTEMPTS = 5
"""How often a change of the key is tried while others change the same."""

_log = log.get("licence")


async def ask(endpoint: str, key: str, cluster: str) -> LicenceStatus:
    """Ask a server about a key; a server that gives no verdict is ``unreachable``, with the reason."""
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    status = LicenceStatus(at=at, asked=endpoint, of=licence.key_digest(key), state="unreachable")
    try:
        async with asyncio.timeout(TIMEOUT):
            code, body = await _post(endpoint, {"key": key, "cluster": cluster, "version": __version__})
    except TimeoutError:
        return status.model_copy(update={"message": f"no answer within {TIMEOUT:.0f} s"})
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return status.model_copy(update={"message": (str(error) or type(error).__name__)[:LONGEST_REASON]})
    return status.model_copy(update=read_verdict(code, body))


async def _post(endpoint: str, body: dict[str, str]) -> tuple[int, bytes]:
    # The system's authorities, or those of SSL_CERT_FILE: httpx would bring its own list.
    context = ssl.create_default_context()
    async with (
        httpx.AsyncClient(verify=context, timeout=TIMEOUT, trust_env=True, follow_redirects=False) as client,
        client.stream("POST", endpoint, json=body) as answer,
    ):
        content = b""
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > LARGEST_ANSWER:
                raise ValueError(f"its answer is larger than {LARGEST_ANSWER} bytes")
        return answer.status_code, content


def read_verdict(code: int, body: bytes) -> dict[str, str]:
    """Return ``state`` and ``message`` of a server's answer: what is not of the form is no verdict."""
    if code != httpx.codes.OK:
        return {"state": "unreachable", "message": f"it answered with status {code}"}
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    accepted = content.get("accepted") if isinstance(content, dict) else None
    if not isinstance(accepted, bool):
        return {"state": "unreachable", "message": 'its answer is not {"accepted": true or false, "reason": "..."}'}
    reason = str(content.get("reason") or "")
    reason = "".join(one if one.isprintable() else " " for one in reason).strip()[:LONGEST_REASON]
    if accepted:
        return {"state": "accepted", "message": reason}
    return {"state": "refused", "message": reason or "without a reason"}


async def check_new(endpoint: str, key: str, cluster: str) -> LicenceStatus:
    """Check the key of a cluster that is to be made.

    :raises TraefikeeError: if it is refused, or nobody says that it is accepted.
    """
    if not endpoint:
        return LicenceStatus()
    for attempt in range(TRIES):
        status = await ask(endpoint, key, cluster)
        if status.state != "unreachable":
            break
        if attempt < TRIES - 1:
            await asyncio.sleep(PAUSE)
    if status.state == "refused":
        raise RefusedError(
            f"the licence key is refused by {endpoint}: {status.message}", "give a valid --licensekey", kind="licence"
        )
    if status.state == "unreachable":
        raise UnreachableError(
            f"the licence server {endpoint} does not answer: {status.message}",
            "check --license.endpoint, HTTPS_PROXY and NO_PROXY; no cluster was made",
            kind="licence",
        )
    _log.info("the licence key is accepted", by=endpoint)
    return status.model_copy(update={"endpoint": endpoint})


async def change_key(store: Store, mirror: Mirror, key: str, actor: Actor, node: str) -> str:
    """Change the key after it was checked; return a sentence.

    :raises TraefikeeError: if it is refused, or its server gives no verdict; nothing is changed then.
    """
    seen = mirror.state
    endpoint, cluster = licence.endpoint_of(seen), seen.info.id if seen.info else ""
    status = LicenceStatus()
    if endpoint:
        status = await ask(endpoint, key, cluster)
        if status.state == "refused":
            raise RefusedError(
                f"the licence key is refused by {endpoint}: {status.message}", "the key before stays", kind="licence"
            )
        if status.state != "accepted":
            raise UnreachableError(
                f"the licence server {endpoint} does not answer: {status.message}",
                "nothing was changed; check HTTPS_PROXY and NO_PROXY of this control node, and try again",
                kind="licence",
            )
    for _ in range(ATTEMPTS):
        found, known = await store.get(state.INFO), await store.get(LICENCE)
        if found is None:
            break
        info = ClusterInfo.model_validate_json(found.value).model_copy(update={"licence": key})
        before = LicenceStatus.model_validate_json(known.value) if known else LicenceStatus()
        compares = [
            Compare.unchanged(state.INFO, found.mod_revision),
            Compare.unchanged(LICENCE, known.mod_revision if known else 0),
        ]
        puts = [
            Put(state.INFO, info.stored()),
            Put(LICENCE, status.model_copy(update={"endpoint": before.endpoint}).stored()),
            audit.entry(actor, node, "update-license", "licence key changed"),
        ]
        if await store.transact(compares, puts, patience=OPERATOR_PATIENCE) is not None:
            return "Licence key changed" + (f", and accepted by {endpoint}." if endpoint else ".")
    raise UnreachableError("the cluster's state changes too fast", "try again", kind="busy")


def pause_of(seen: ClusterState, now: datetime.datetime) -> float | None:
    """Return how many seconds the server is not to be asked yet; None: there is none to ask."""
    if not licence.endpoint_of(seen):
        return None
    status = licence.status_of(seen)
    if not licence.is_known(seen):
        return 0.0
    try:
        since = (now - datetime.datetime.fromisoformat(status.at)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    every = licence.CHECK_AGAIN if status.state == "unreachable" else licence.CHECK_EVERY
    # A clock that was set back must not put the question off for ever.
    return min(every, max(0.0, every - since)) if since >= 0 else 0.0


async def keep_checking(term: FencedStore, mirror: Mirror) -> None:
    """Ask the licence server now and then, for ever; whatever it says, the cluster goes on."""
    while True:
        seen = mirror.state
        pause = pause_of(seen, datetime.datetime.now(datetime.UTC))
        if pause == 0.0 and seen.info is not None:
            try:
                await _check(term, seen, seen.info.id, seen.info.licence)
            except TraefikeeError as error:
                _log.info("what the licence server says cannot be written down now", reason=error.cause)
                await asyncio.sleep(PAUSE)
                continue
            pause = licence.CHECK_AGAIN
        endpoint, key = licence.endpoint_of(seen), seen.info.licence if seen.info else ""
        try:
            async with asyncio.timeout(pause):
                await mirror.wait_for(
                    lambda now, endpoint=endpoint, key=key: (  # type: ignore[misc]
                        licence.endpoint_of(now) != endpoint or (now.info.licence if now.info else "") != key
                    )
                )
        except TimeoutError:
            pass


async def _check(term: FencedStore, seen: ClusterState, cluster: str, key: str) -> None:
    endpoint, before, found = licence.endpoint_of(seen), licence.status_of(seen), seen.keys.get(LICENCE)
    status = await ask(endpoint, key, cluster)
    reason = status.message
    if (status.state, reason, status.asked) != (before.state, before.message, before.asked):
        if status.state == "accepted":
            _log.info("the licence key is accepted", by=endpoint)
        elif status.state == "refused":
            _log.warning("the licence key is refused; change it with update-license", by=endpoint, reason=reason)
        else:
            _log.warning("the licence server does not answer; the cluster goes on", server=endpoint, reason=reason)
    status = status.model_copy(update={"endpoint": before.endpoint})
    unchanged = Compare.unchanged(LICENCE, found.mod_revision if found else 0)
    # If it was changed meanwhile, who changed it has asked.
    await term.transact([unchanged], [Put(LICENCE, status.stored())])
