"""Webhooks go to the addresses that the operator names, however another is spelt."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallywire.ledger.errors import InvalidRequest
from tallywire.webhooks.destinations import LOOPBACK, Destinations

NAMED = Destinations(
    [
        "hooks.example.com",
        "*.partner.net",
        "10.0.0.0/8",
        "192.168.7.7:8443",
        "[::1]",
        "fd00::/8",
        "[2001:db8::1]:444",
        "Only.example.org:8080",
        "xn--bcher-kva.example",
    ]
)


def allows(destinations: Destinations, url: str) -> bool:
    try:
        destinations.check(url)
    except InvalidRequest as refused:
        assert refused.pointer == "/url"
        return False
    return True


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/a/b?c=d@e",
        "http://hooks.example.com:8080/",
        "HTTPS://Hooks.EXAMPLE.com/",
        "https://a.partner.net/",
        "https://a.b.partner.net/",
        "http://10.1.2.3:9999/",
        "https://192.168.7.7:8443/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]:80/",
        "http://[fdab::1]/",
        "https://[2001:db8::1]:444/",
        "http://only.example.org:8080/",
        "https://xn--bcher-kva.example/",
    ],
)
def test_what_is_named_passes(url: str) -> None:
    assert allows(NAMED, url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "//hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "https:hooks.example.com",
        "https:///hooks.example.com",
        "https://hooks.example.com./",
        "https://hooks.example.com.evil.net/",
        "https://evil-hooks.example.com/",
        "https://x.hooks.example.com/",
        "https://partner.net/",
        "https://evilpartner.net/",
        "https://.partner.net/",
        "https://a..partner.net/",
        "https://-.partner.net/",
        f"https://{'a' * 64}.partner.net/",
        f"https://{'a.' * 130}partner.net/",
        "https://hooks.example.com@evil.net/",
        "https://user@hooks.example.com/",
        "https://user:word@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com#x",
        "https://hooks.example.com/#",
        "https://evil.net\\@hooks.example.com/",
        "https://evil.net\\.partner.net/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:65536/",
        "https://hooks.example.com:-1/",
        "https://hooks.example.com:x/",
        "https://hooks.ex%61mple.com/",
        "https://hooks.example.com%00.partner.net/",
        "https://evil.net%2f.partner.net/",
        "https://evil.net%23.partner.net/",
        "https://ev il.partner.net/",
        "https://hooks.example.com/\n",
        "https://hooks.example.com/\x00",
        "https://hooks。example。com/",
        "https://bücher.example/",
        "https://ⓗooks.example.com/",
        "https://only.example.org/",
        "https://192.168.7.7/",
        "https://192.168.7.7:443/",
        "http://11.0.0.1/",
        "http://[::2]/",
        "http://[fe80::1%25eth0]/",
        "http://[fdab::1%25eth0]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::ffff:a00:1]/",
        "http://[::10.0.0.1]/",
        "http://[64:ff9b::10.0.0.1]/",
        "http://[10.0.0.1]/",
        "http://[::1/",
        "http://::1/",
        "http://10.0.0.1./",
        "http://10.0.0/",
        "http://10.1/",
        "http://167772161/",
        "http://0xa000001/",
        "http://0x0a.0.0.1/",
        "http://012.0.0.1/",
        "http://10.0.0.01/",
        "http://10.0.0.0x1/",
        "http://10.0.0.256/",
        "http://\uff11\uff10.0.0.1/",
        "http://a.partner.net.10/",
        "https://hooks.example.com/" + "x" * 2_048,
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    assert not allows(NAMED, url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.1/",
        "http://127.0.0.1.nip.io/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://0/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost./",
        "http://localhost.localdomain/",
        "http://x.localhost/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
    ],
)
def test_this_machine_has_three_names_only(url: str) -> None:
    assert not allows(Destinations(LOOPBACK), url)


@pytest.mark.parametrize(
    "url", ["http://localhost:1/", "http://LOCALHOST/", "http://127.9.9.9/", "http://[::1]:80/x"]
)
def test_this_machine_by_its_names(url: str) -> None:
    assert allows(Destinations(LOOPBACK), url)


def test_a_name_admits_no_number_and_a_number_no_name() -> None:
    assert not allows(Destinations(["*.example.com", "localhost"]), "http://127.0.0.1/")
    assert not allows(Destinations(["0.0.0.0/0", "::/0"]), "http://localhost/")
    # Every address there is: but not one that stands for another.
    assert not allows(Destinations(["::/0"]), "http://[::ffff:169.254.169.254]/")


def test_nothing_named_is_nothing_allowed_and_the_refusal_says_where_to_name_it() -> None:
    with pytest.raises(InvalidRequest, match="TALLYWIRE_WEBHOOK_HOSTS"):
        Destinations([]).check("https://hooks.example.com/")


@given(st.integers(0, 2**32 - 1), st.integers(8, 32), st.data())
def test_an_address_passes_in_its_one_spelling_exactly_where_its_network_is_named(
    number: int, prefix: int, data: st.DataObject
) -> None:
    network = ip_network((data.draw(st.integers(0, 2**32 - 1)), prefix), strict=False)
    address = IPv4Address(number)
    destinations = Destinations([str(network)])
    assert allows(destinations, f"http://{address}/") is (address in network)
    octets = str(address).split(".")
    for other in (
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(f"0{int(octet):o}" for octet in octets),
        ".".join(hex(int(octet)) for octet in octets),
        f"{octets[0]}.{number & 0xFFFFFF}",
        f"{address}.",
        f"[::ffff:{address}]",
        f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[::{address}]",
    ):
        assert not allows(destinations, f"http://{other}/"), other


@given(st.text(alphabet="abz.-_*%@:/?#[]\\019 éß。", max_size=12))
def test_no_prefix_of_a_name_makes_another_host_of_it(prefix: str) -> None:
    """What passes as being below a name is below it for the parser that is connected by, too."""
    destinations = Destinations(["*.partner.net"])
    try:
        url = destinations.check(f"https://{prefix}.partner.net/hook")
    except InvalidRequest:
        return
    assert url.raw_host.endswith(b".partner.net")
    assert url.raw_path == b"/hook"


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.",
        "a.*",
        "*.*.example.com",
        "https://example.com",
        "example.com/path",
        "example.com:0",
        "example.com:99999",
        "example.com:http",
        "exa mple.com",
        "bücher.example",
        "10.0.0.1/8",
        "10.0.0",
        "10.0.0.256",
        "0x7f.1",
        "[hooks.example.com]",
        "[::1",
        "::1]:80",
        "*.10",
    ],
)
def test_an_entry_of_another_form_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is not|a port is"):
        Destinations([entry])
