"""Every place that writes to the store, and what keeps its write from undoing another's.

A write that is not in this list fails the test: think of what happens if its process sleeps just before it
for a minute while another node leads, and enter it with the comparison that makes that harmless.
"""

import ast
from pathlib import Path

import traefikee

SOURCES = Path(traefikee.__file__).parent

WRITES = {"transact", "remove_member", "add_learner", "promote", "grant", "revoke", "_post"}
"""What changes the store, or etcd's membership."""

TERM = "the fence of the leader's term, by its type (FencedStore)"
LEASE = "only what hangs on the caller's own lease"

KNOWN = {
    ("api/backup.py", "_told"): "nothing: a new entry of the audit log",
    ("api/trust.py", "_change"): "the tokens before",
    ("api/trust.py", "credentials"): "nothing: a new entry of the audit log",
    ("api/trust.py", "revoke_token"): "the tokens before",
    ("backup/rebirth.py", "write"): "that there is no cluster",
    ("cluster/admission.py", "rotate_ticket_keys"): TERM + ", and the keys before",
    ("cluster/admission.py", "_record"): "the holder of the name, and that nobody lets it in",
    ("cluster/admission.py", "bring_into_store"): LEASE,
    ("cluster/admission.py", "_stand_in_line"): "that nobody joins",
    ("cluster/admission.py", "_note_member"): "this join's turn, and the record before",
    ("cluster/admission.py", "_add_and_promote"): "(etcd's membership) a learner that this join has added",
    ("cluster/admission.py", "_learner"): "(etcd's membership) this join's turn, looked at just before",
    ("cluster/admission.py", "_promote"): "(etcd's membership) the learner by its id",
    ("cluster/admission.py", "forget"): "the record, the sign of life, the fence; then a member whose end is decided",
    ("cluster/attendance.py", "_end"): "that nobody has written that sign of life since",
    ("cluster/attendance.py", "_keep_lease"): LEASE,
    ("cluster/attendance.py", "_write_some"): LEASE,
    ("cluster/attendance.py", "_tell_sum"): LEASE,
    ("cluster/audit.py", "prune"): TERM,
    ("cluster/draining.py", "_put"): "the nodes' records, all marks of others, and the leader key that was seen",
    ("cluster/election.py", "_live"): LEASE,
    ("cluster/election.py", "_stand"): "that nobody leads",
    ("cluster/election.py", "resign"): "the leader key of this node's term",
    ("cluster/election.py", "end"): LEASE,
    ("cluster/election.py", "depose"): "the leader key that was seen",
    ("cluster/fencing.py", "transact"): "the fence",
    ("cluster/fencing.py", "remove_member"): "(etcd's membership) a member whose end was decided under the fence",
    ("cluster/history.py", "clean"): "the number of the deployment that it was decided for",
    ("cluster/removing.py", "_write"): "the node's record, what it was decided from, and the removal before",
    ("cluster/renewal.py", "note_serial"): "the record before",
    ("cluster/upgrade.py", "keep_raising"): TERM + ", and the format before",
    ("node/authority_rotation.py", "_write"): "the term, where the leader carries it on, and the authorities before",
    ("node/bootstrap.py", "enter"): "that there is no cluster",
    ("node/bootstrap.py", "_leave"): "its own record; then its own member",
    ("node/bootstrap.py", "_give_up"): "that the cluster still forms",
    ("node/deployed_files.py", "store_parts"): "nothing: the key is the digest of what it holds",
    ("node/leader.py", "_form"): TERM + ", and the phase before",
    ("node/licensing.py", "_check"): TERM + ", and what was known before",
    ("node/licensing.py", "change_key"): "the key, and what was known of it, before",
    ("node/own_certificate.py", "_follow_in_store"): "that nobody restarts; then its own lease",
    ("node/publishing.py", "publish"): TERM + ", and the pointer before",
    ("node/routing.py", "_put_statuses"): TERM + ", and the statuses before",
    ("node/storing.py", "commit"): "the number before, and that the contents are still there",
}

LEADERS_OWN = ("node/leader.py", "node/routing.py")
"""What runs only while this node leads: here nothing but a term may write."""


def calls() -> dict[tuple[str, str], list[ast.Call]]:
    """The calls that write, by file and function."""
    found: dict[tuple[str, str], list[ast.Call]] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        name = str(path.relative_to(SOURCES))
        if name == "cluster/store.py":
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                called = node.func if isinstance(node, ast.Call) else node
                if isinstance(called, ast.Attribute) and called.attr in WRITES and isinstance(node, ast.Call):
                    found.setdefault((name, function.name), []).append(node)
    return found


def test_every_write_is_known() -> None:
    unknown = set(calls()) - set(KNOWN)
    assert not unknown, f"writes that nobody has thought through: {sorted(unknown)}"
    assert set(KNOWN) == set(calls()), "the list names writes that are no longer there"


def test_the_leaders_duties_write_through_their_term_alone() -> None:
    for name in LEADERS_OWN:
        source = (SOURCES / name).read_text()
        imported = {one for line in source.splitlines() if line.startswith("from traefikee.cluster.store import")
                    for one in line.partition(" import ")[2].replace(",", " ").split()}  # fmt: skip
        if name == "node/routing.py":
            assert "Store" not in imported, f"{name} gets a store without a fence"
    for (name, function), found in calls().items():
        for call in found:
            if name in LEADERS_OWN:
                assert isinstance(call.func, ast.Attribute)
                receiver = ast.unparse(call.func.value)
                assert receiver in {"term", "self._store"}, f"{name}: {function} writes through {receiver}"
                assert receiver == "term" or name == "node/routing.py", f"{name}: {function} writes without a fence"
            elif name == "node/publishing.py":
                assert ast.unparse(call.func).startswith("term."), f"{name}: {function} writes without a fence"
