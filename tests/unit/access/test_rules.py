"""The rules of the access room: permissions, Host and Origin, and the Merkle tree of RFC 9162."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.access.model import ANONYMOUS, OWNER, Identity, check_permission
from mainspring.access.rules import MerkleTree, host_is_own, is_allowed, is_loopback, origin_is_own, own_hosts
from mainspring.access.service import Access, check_binding
from mainspring.core.errors import Forbidden, Invalid, Refused, Unauthenticated

VIEWER = Identity("ada", "viewer")
HOSTS = own_hosts(7600)

# The leaves and roots of the test data published with RFC 6962 (certificate-transparency, merkle_tree_test).
LEAVES = [
    bytes.fromhex(h)
    for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def _by_definition(leaves: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + _by_definition(leaves[:k]) + _by_definition(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_the_tree_gives_the_published_roots(size: int) -> None:
    assert MerkleTree(LEAVES[:size]).root().hex() == ROOTS[size - 1]


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    assert MerkleTree().root() == hashlib.sha256(b"").digest()


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_tree_is_the_one_of_the_definition(leaves: list[bytes]) -> None:
    assert MerkleTree(leaves).root() == _by_definition(leaves)


def test_a_leaf_that_looks_like_a_node_gives_another_root() -> None:
    left, right = (hashlib.sha256(b"\x00" + leaf).digest() for leaf in (b"a", b"b"))
    assert MerkleTree([left + right]).root() != MerkleTree([b"a", b"b"]).root()


@pytest.mark.parametrize("text", ["models:read", "pipeline_runs:write", "public"])
def test_a_noun_with_read_or_write_is_a_permission(text: str) -> None:
    assert check_permission(text) == text


@pytest.mark.parametrize("text", ["", "models", "models:delete", "Models:read", "models:read\n", ":read"])
def test_anything_else_is_not_a_permission(text: str) -> None:
    with pytest.raises(Invalid):
        check_permission(text)


@pytest.mark.parametrize(
    ("identity", "permission", "allowed"),
    [
        (OWNER, "models:write", True),
        (OWNER, "models:read", True),
        (VIEWER, "models:read", True),
        (VIEWER, "models:write", False),
        (ANONYMOUS, "models:read", False),
        (ANONYMOUS, "public", True),
        (Identity("x", "no such role"), "models:read", False),
    ],
)
def test_what_each_role_may_do(identity: Identity, permission: str, allowed: bool) -> None:
    assert is_allowed(identity, permission) is allowed


def test_somebody_from_another_machine_is_unknown_in_embedded_mode() -> None:
    access = Access()
    assert access.identify("192.0.2.7") == ANONYMOUS
    with pytest.raises(Unauthenticated):
        access.check(access.identify("192.0.2.7"), "models:read")


def test_a_viewer_who_wants_to_write_is_told_what_is_forbidden() -> None:
    with pytest.raises(Forbidden, match="ada") as refusal:
        Access().check(VIEWER, "models:write")
    assert refusal.value.where == "models:write"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_loopback_may_be_listened_on(host: str) -> None:
    assert is_loopback(host)
    check_binding(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", "", "localhost.example.com"])
def test_listening_elsewhere_is_refused_in_three_lines(host: str) -> None:
    with pytest.raises(Refused) as refusal:
        check_binding(host)
    assert len(str(refusal.value).splitlines()) == 3


@pytest.mark.parametrize("host", ["127.0.0.1:7600", "localhost:7600", "LocalHost:7600", "[::1]:7600"])
def test_the_server_knows_its_own_names(host: str) -> None:
    assert host_is_own(host, HOSTS)


@pytest.mark.parametrize(
    "host", ["", "evil.example:7600", "127.0.0.1", "127.0.0.1:80", "localhost:7600.evil.example", "localhost.:7600"]
)
def test_any_other_host_is_foreign(host: str) -> None:
    assert not host_is_own(host, HOSTS)


@pytest.mark.parametrize(
    ("method", "origin", "fetch_site", "own"),
    [
        ("POST", None, None, True),  # a program
        ("POST", "http://127.0.0.1:7600", "same-origin", True),  # our own page
        ("POST", "http://127.0.0.1:7600", None, True),  # a browser without fetch metadata
        ("POST", None, "none", True),  # typed by the person
        ("POST", None, "cross-site", False),
        ("POST", None, "same-site", False),  # another port of this machine
        ("POST", "http://127.0.0.1:9999", None, False),
        ("POST", "https://evil.example", "same-origin", False),
        ("POST", "null", None, False),
        ("POST", "http://[", None, False),
        ("DELETE", "https://evil.example", None, False),
        ("GET", "https://evil.example", "cross-site", True),  # a link; the answer cannot be read there
    ],
)
def test_only_our_own_pages_and_programs_may_change_something(
    method: str, origin: str | None, fetch_site: str | None, own: bool
) -> None:
    assert origin_is_own(method, origin, fetch_site, HOSTS) is own
