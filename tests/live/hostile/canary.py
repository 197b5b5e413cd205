"""A canary: notes every attempt to connect, to whatever address and port, that any program here makes.

A packet socket sees the first packet of each TCP connection and every UDP
packet on loopback, which in the tests' network is the way to all addresses.
The kernel filters, so that no amount of other traffic can drown one.
"""

import ctypes
import ipaddress
import socket
import struct
import threading
from dataclasses import dataclass

_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26

#: Classic BPF (code, jump if true, jump if false, value), over packets that start
#: with their IP header: UDP, and TCP with SYN but without ACK.
_FILTER = (
    (0x30, 0, 0, 0),  # ldb [0]
    (0x74, 0, 0, 4),  # rsh 4: the IP version
    (0x15, 1, 0, 4),  # jeq 4
    (0x15, 7, 11, 6),  # jeq 6, else drop
    (0x30, 0, 0, 9),  # IPv4: ldb protocol
    (0x15, 8, 0, 17),  # UDP: take
    (0x15, 0, 8, 6),  # not TCP: drop
    (0xB1, 0, 0, 0),  # ldxb 4 * ([0] & 0xf): length of the header
    (0x50, 0, 0, 13),  # ldb [x + 13]: TCP flags
    (0x54, 0, 0, 0x12),  # and SYN | ACK
    (0x15, 3, 4, 0x02),  # SYN alone: take
    (0x30, 0, 0, 6),  # IPv6: ldb next header
    (0x15, 1, 0, 17),  # UDP: take
    (0x15, 2, 1, 6),  # TCP: look at the flags, else drop
    (0x06, 0, 0, 0xFFFFFFFF),  # take
    (0x06, 0, 0, 0),  # drop
    (0x30, 0, 0, 53),  # IPv6: TCP flags
    (0x54, 0, 0, 0x12),
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 0xFFFFFFFF),  # take
    (0x06, 0, 0, 0),  # drop
)


@dataclass(frozen=True, slots=True, order=True)
class Attempt:
    """Somebody wanted to reach this, from this port of theirs."""

    protocol: str
    address: str
    port: int
    source: int


class Canary(threading.Thread):
    """Collects attempts until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.attempts: set[Attempt] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024 * 1024)
        code = b"".join(struct.pack("HBBI", *instruction) for instruction in _FILTER)
        buffer = ctypes.create_string_buffer(code)
        program = struct.pack("HL", len(_FILTER), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        self._socket.settimeout(0.2)
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                packet = self._socket.recv(2048)
            except TimeoutError:
                continue
            self.attempts.add(_read(packet))
        self._socket.close()

    def stop(self) -> set[Attempt]:
        """Give what was seen."""
        self._stopped.set()
        self.join()
        return self.attempts


def _read(packet: bytes) -> Attempt:
    if packet[0] >> 4 == 4:
        header, protocol, address = 4 * (packet[0] & 0xF), packet[9], packet[16:20]
    else:
        header, protocol, address = 40, packet[6], packet[24:40]
    source, port = struct.unpack_from("!HH", packet, header)
    return Attempt("udp" if protocol == 17 else "tcp", str(ipaddress.ip_address(address)), port, source)
