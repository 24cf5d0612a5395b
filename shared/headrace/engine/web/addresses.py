"""Which addresses an automation may call. Authors are strangers: their requests leave from inside our network.

The check is made on the address that is connected to, after the name was resolved, so that a name cannot point to a
public address while it is checked and to a private one afterwards.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_METADATA = frozenset(
    (
        # Cloud metadata outside of 169.254.0.0/16: AWS over IPv6, Alibaba, Oracle's classic.
        ip_address("fd00:ec2::254"),
        ip_address("100.100.100.200"),
        ip_address("192.0.0.192"),
    )
)
_CARRIERS = (
    ip_network("64:ff9b::/96"),  # NAT64 (RFC 6052)
    ip_network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765)
)
"""Prefixes of IPv6 addresses whose last 32 bits are an IPv4 address that a translator connects to."""
_LAST_BITS = 0xFFFFFFFF
_CLOSED = (
    ip_network("64:ff9b:1::/48"),  # NAT64 of a site's own (RFC 8215): where the IPv4 bits are, only the site knows
    ip_network("fec0::/10"),  # site-local, deprecated (RFC 3879), still routed by some networks
)
"""Not global, which Python's ipaddress (3.11) does not know."""


def is_literal(host: str) -> bool:
    """Whether aiohttp takes `host` for an address and connects to it without asking the resolver.

    That includes `2130706433` and `127.1`, which the operating system reads as 127.0.0.1.
    """
    return ":" in host or host.replace(".", "").isdigit()


def refusal(address: str, *, allow_private: bool) -> str | None:
    """Why `address` may not be called, in a few words; None when it may."""
    try:
        found = _innermost(ip_address(address))
    except ValueError:
        return "it is no well-formed IP address"
    if found.is_link_local or found in _METADATA:
        return "it is a link-local or metadata address"
    if found.is_unspecified or found.is_multicast:
        return "it is no address of a single host"
    if (not found.is_global or any(found in each for each in _CLOSED)) and not allow_private:
        return "it is a loopback, private or reserved address"
    return None


def _innermost(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one carries (mapped, NAT64, translated, 6to4, Teredo), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if any(address in each for each in _CARRIERS):
        return IPv4Address(int(address) & _LAST_BITS)
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    # `::127.0.0.1`, deprecated, still routed by some stacks.
    if 1 < int(address) <= _LAST_BITS:
        return IPv4Address(int(address))
    return address
