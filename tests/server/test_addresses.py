"""Where a client is, as far as it can be believed; and how many connections it may have."""

from collections.abc import Sequence

import pytest

from earshot_asr.engine.errors import ConfigError
from earshot_asr.server.addresses import Census, Proxies, canonical
from earshot_asr.server.app import most_per_address
from earshot_asr.server.settings import ServerConfig

PROXIES = Proxies(["10.0.0.0/8", "192.0.2.7", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),  # no proxy of ours
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("192.0.2.7", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # what the client itself has written comes first
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1, 10.0.0.2,192.0.2.7"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:DB8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, _hidden, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["", ","], "10.0.0.1"),
    ],
)
def test_where_a_client_is(peer: str, forwarded: Sequence[str], client: str) -> None:
    assert PROXIES.client(peer, forwarded) == client


@pytest.mark.parametrize(
    ("written", "address"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("2001:DB8:0::1", "2001:db8::1"), ("", ""), ("/a/socket", "/a/socket")],
)
def test_an_address_is_written_in_one_way(written: str, address: str) -> None:
    assert canonical(written) == address


def test_census() -> None:
    census = Census(2)
    for _ in range(3):
        census.add("a")
    assert census.exceeds("a") and not census.exceeds("a", spare=1) and not census.exceeds("b")
    census.remove("a")
    assert not census.exceeds("a")
    census.most = None
    for _ in range(1000):
        census.add("a")
    assert not census.exceeds("a")


@pytest.mark.parametrize(
    ("setting", "room", "most"), [(None, 1, 2), (None, 4, 3), (None, 1000, 750), (5, 1000, 5), (0, 4, None)]
)
def test_what_an_address_may_have(setting: int | None, room: int, most: int | None) -> None:
    assert most_per_address(setting, room) == most


def test_a_proxy_is_an_address_or_a_network() -> None:
    with pytest.raises(ConfigError, match=r"trusted_proxy is 'nginx'; it must be like 10\.0\.0\.7 or 10\.0\.0\.0/8"):
        ServerConfig(trusted_proxy=("nginx",))
