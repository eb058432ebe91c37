"""Whom a node may trust while one authority takes another's place."""

from traefikee.cluster import authorities, pki
from traefikee.cluster.authorities import Authorities
from traefikee.cluster.roles import Role
from traefikee.cluster.tokens import authority_digest

OLD, NEW, OTHER = (pki.new_authority("cluster", mark) for mark in ("1", "2", "3"))
D, N, X = OLD.chain_pem, NEW.chain_pem, OTHER.chain_pem
BY_OLD, BY_NEW, BY_OTHER = pki.endorse(OLD, N), pki.endorse(NEW, D), pki.endorse(OTHER, N)


def adopt(known: list[str], offered: list[str], endorsements: list[str]) -> tuple[str, ...]:
    return authorities.adopt([authority_digest(one) for one in known], offered, endorsements, pki.endorsed)


def test_who_knows_either_learns_of_the_other_in_the_order_that_is_told() -> None:
    both = [BY_OLD, BY_NEW]
    assert adopt([D], [N, D], both) == (N, D)
    assert adopt([N], [D, N], both) == (D, N)
    assert adopt([D, N], [N, D], []) == (N, D)


def test_nobody_is_trusted_without_an_endorsement_by_who_is() -> None:
    assert adopt([D], [D, N], []) == (D,)
    assert adopt([D], [D, N], [BY_OTHER]) == (D,)
    assert adopt([D], [D, N], [BY_NEW, "nonsense", X]) == (D,)
    assert adopt([D], [N], [BY_OLD]) == (), "the one who vouches is not among them any more"
    assert adopt([X], [N, D], [BY_OLD, BY_NEW]) == ()


def test_trust_goes_from_one_to_the_next() -> None:
    assert adopt([D], [D, N, X], [BY_OLD, pki.endorse(NEW, X)]) == (D, N, X)


def test_an_endorsement_is_for_one_key_and_makes_no_certificate_valid() -> None:
    forged = pki.new_authority("cluster", "2")
    assert pki.endorsed(N, D, BY_OLD)
    assert not pki.endorsed(forged.chain_pem, D, BY_OLD), "the same name, another key"


def test_the_issuer_of_a_certificate_is_told_by_its_name() -> None:
    mine = pki.issue_for_new_key(NEW, identity="me", role=Role.DATA).chain_pem
    assert authorities.issuer_digest(mine, D + N) == authority_digest(N)
    assert authorities.issuer_digest(mine, D) == ""


def test_the_one_that_signs_comes_first() -> None:
    known = Authorities(trusted=(N, D))
    assert known.signing == N
    assert authorities.digests(known.bundle) == (authority_digest(N), authority_digest(D))
    assert Authorities.model_validate_json(known.stored()) == known
