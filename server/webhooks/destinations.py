"""
Where webhooks may be sent: the addresses that the operator names, and no others. Pure.

A request that others can aim is a way into a network, so an address passes by being named: a host
by its name, which is trusted wherever it leads, and an address in numbers only by an entry in
numbers. What could be read in two ways is refused. A URL is read once, by the same parser whose
result is then connected to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from msgspec import Struct

from ..ledger.errors import InvalidRequest

if TYPE_CHECKING:
    import httpx

VARIABLE = "TALLYWIRE_WEBHOOK_HOSTS"
LONGEST_URL = 2_048
LOOPBACK = ("localhost", "127.0.0.0/8", "[::1]")

_POINTER = "/url"
_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
# Resolvers take such a name for an IPv4 address: 127.1, 0x7f000001, 2130706433, 0177.0.0.1.
_NUMBER_AT_THE_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_ENTRY = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?", re.ASCII)

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


class _Entry(Struct, frozen=True):
    """One entry: a name, the names below it, or a network; port: None for any."""

    name: str | None = None
    below: bool = False
    network: _Network | None = None
    port: int | None = None

    def admits(self, host: str | _Address, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if isinstance(host, str):
            if self.name is None:
                return False
            return host.endswith(f".{self.name}") if self.below else host == self.name
        return self.network is not None and host in self.network


class Destinations:
    """The addresses that webhooks may be sent to."""

    def __init__(self, entries: Iterable[str]) -> None:
        """
        entries: ``hooks.example.com``, ``*.partner.net`` (all below, not itself), ``10.0.0.0/8``,
        ``127.0.0.1``, ``[::1]``, each perhaps with ``:port``, without which any port is meant.

        Raises ValueError on an entry of another form.
        """
        self._entries = tuple(_entry(text) for text in entries)

    def check(self, url: str) -> httpx.URL:
        """`url` as it is to be connected to; raises InvalidRequest where it is not allowed."""
        # It takes a tenth of a server's start, and few servers ever need it.
        import httpx

        if not 1 <= len(url) <= LONGEST_URL or not re.fullmatch(r"[!-~]+", url, re.ASCII):
            raise _refused(f"a URL has 1 to {LONGEST_URL} characters of printable ASCII")
        if "\\" in url or "#" in url:
            raise _refused("the URL has no fragment and no backslash")
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            raise _refused("this is not a URL") from None
        if parsed.scheme not in _PORTS:
            raise _refused("the URL begins with http:// or https://")
        if "@" in _authority(url):
            raise _refused("the URL has no user name and no password")
        host = _host(parsed.raw_host.decode())
        port = _PORTS[parsed.scheme] if parsed.port is None else parsed.port
        if not 1 <= port <= 65_535:
            raise _refused("a port is 1 to 65535")
        if not any(entry.admits(host, port) for entry in self._entries):
            raise _refused(
                f"webhooks may not be sent to {host}, port {port}: {VARIABLE} does not name it"
            )
        return parsed


def _authority(url: str) -> str:
    return re.split(r"[/?]", url.partition("://")[2], maxsplit=1)[0]


def _host(text: str) -> str | _Address:
    """The host of a URL: a name in lower case, or an address; raises InvalidRequest."""
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.scope_id):
        raise _refused("write the address without a zone, and an IPv4 address as IPv4")
    if address is not None:
        return address
    if _NUMBER_AT_THE_END.fullmatch(text):
        raise _refused("write an IPv4 address as four decimal numbers")
    if len(text) > 253 or not _NAME.fullmatch(text):
        raise _refused(
            "a host is a name in ASCII (xn--… for others) without a dot at its end, or an address"
        )
    return text


def _entry(text: str) -> _Entry:
    host, port = text.strip().lower(), None
    # An IPv6 address needs brackets only where a port follows.
    if host.count(":") < 2 or host.startswith("["):
        match = _ENTRY.fullmatch(host)
        if match is None:
            raise ValueError(f"{text!r} is not a host, a network or an address")
        host = match[1].removeprefix("[").removesuffix("]")
        port = int(match[2]) if match[2] else None
    if port is not None and not 1 <= port <= 65_535:
        raise ValueError(f"{text!r}: a port is 1 to 65535")
    try:
        return _Entry(network=ip_network(host), port=port)
    except ValueError:
        below = host.startswith("*.")
        name = host.removeprefix("*.")
        if not _NAME.fullmatch(name) or _NUMBER_AT_THE_END.fullmatch(name) or "[" in text:
            raise ValueError(f"{text!r} is not a host, a network or an address") from None
        return _Entry(name=name, below=below, port=port)


def _refused(detail: str) -> InvalidRequest:
    return InvalidRequest(detail, pointer=_POINTER)
