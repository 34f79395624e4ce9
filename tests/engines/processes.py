"""Waiting for processes, whose ends and beginnings nobody here decides on."""

from __future__ import annotations

import ipaddress
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 20.0
"""Seconds that something may take on a machine that has a lot to do."""


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Wait for a condition; whether it became true in this time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    """Whether there is such a process. One that has ended and that nobody has asked about does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # macOS has none
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not status.parent.parent.exists()


def gone(pid: int) -> bool:
    """Whether a process ends, soon if not at once."""
    return until(lambda: not alive(pid))


def listening(pid: int) -> set[str]:
    """Addresses that a process listens on, as ``host:port``. Source: proc(5), ``/proc/net/tcp``."""
    sockets = {target for link in Path(f"/proc/{pid}/fd").iterdir() if (target := _target(link))}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.add(_address(local))
    return found


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def _address(text: str) -> str:
    """An address as the kernel writes it: words of the machine's byte order, in hexadecimal digits."""
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[at : at + 8]) for at in range(0, len(host), 8)]
    address = ipaddress.ip_address(b"".join(word[::-1] if sys.byteorder == "little" else word for word in words))
    return f"{getattr(address, 'ipv4_mapped', None) or address}:{int(port, 16)}"
