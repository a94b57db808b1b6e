#!/usr/bin/env python3
"""Writes made-up.mmdb: networks for documentation, with systems and countries that do not exist.

The form is that of https://maxmind.github.io/MaxMind-DB/.
"""

import ipaddress
import pathlib

NETWORKS = {
    "192.0.2.0/25": {"autonomous_system_number": 64500, "autonomous_system_organization": "Example One", "country": {"iso_code": "DE"}},
    "192.0.2.128/25": {"autonomous_system_number": 64501, "country": {"iso_code": "FR"}},
    "198.51.100.0/24": {"asn": "AS64502", "as_name": "Example Two", "country_code": "US", "country": "Nowhere"},
    "2001:db8::/32": {"autonomous_system_number": 64503, "autonomous_system_organization": "Example Six", "country": {"iso_code": "JP"}},
}


def encode(value):
    if isinstance(value, dict):
        head = bytes([7 << 5 | len(value)])
        return head + b"".join(encode(key) + encode(member) for key, member in value.items())
    if isinstance(value, str):
        size = len(value)
        head = [2 << 5 | size] if size < 29 else [2 << 5 | 29, size - 29]
        return bytes(head) + value.encode()
    if isinstance(value, list):
        return bytes([len(value), 4]) + b"".join(map(encode, value))
    kind, number = value if isinstance(value, tuple) else (6, value)
    digits = number.to_bytes(8, "big").lstrip(b"\0")
    return (bytes([kind << 5 | len(digits)]) if kind < 8 else bytes([len(digits), kind - 7])) + digits


def main():
    data, nodes = b"", [[None, None]]
    for text, record in NETWORKS.items():
        network = ipaddress.ip_network(text)
        # IPv4 is in ::/96.
        begin = 0 if network.version == 6 else 96
        length = network.prefixlen + begin
        address = int(network.network_address)
        at = 0
        for depth in range(length):
            bit = address >> (127 - depth) & 1
            if depth == length - 1:
                nodes[at][bit] = ("data", len(data))
            elif nodes[at][bit] is None:
                nodes.append([None, None])
                nodes[at][bit] = len(nodes) - 1
                at = len(nodes) - 1
            else:
                at = nodes[at][bit]
        data += encode(record)
    count = len(nodes)

    def number(entry):
        if entry is None:
            return count
        return entry if isinstance(entry, int) else count + 16 + entry[1]

    tree = b"".join(number(entry).to_bytes(3, "big") for node in nodes for entry in node)
    metadata = {
        "node_count": count,
        "record_size": (5, 24),
        "ip_version": (5, 6),
        "database_type": "Made-Up",
        "languages": ["en"],
        "binary_format_major_version": (5, 2),
        "binary_format_minor_version": (5, 0),
        "build_epoch": (9, 1795347000),
        "description": {"en": "Made up for tests"},
    }
    out = pathlib.Path(__file__).with_name("made-up.mmdb")
    out.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + encode(metadata))


main()
