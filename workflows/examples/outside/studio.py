"""A pretend transcoding provider, which works on its own time, and the places that its films go to."""

from __future__ import annotations

from math import ceil

from onewrite import PermanentError
from workflows.examples.outside import world

MINUTES_PER_POLL = 30
"""The provider gets through half an hour of film between two questions whether it is ready."""
CODECS = frozenset({"h264", "hevc", "prores", "vp9"})


class UnknownCodec(PermanentError):
    """The provider cannot read the film."""


def submit(key: str, source: str, codec: str, minutes: int) -> str:
    """Have a film transcoded; gives the job's id. The same key makes one job."""
    if codec not in CODECS:
        raise UnknownCodec(f"the provider cannot read {codec}; it reads {', '.join(sorted(CODECS))}")
    job = f"job-{key}"
    world().once("provider.submitted", key, job=job, source=source, minutes=minutes)
    return job


def percent(job: str, minutes: int) -> int:
    """How far a job is. Every question finds it half an hour of film further on."""
    asked = world().count("provider.asked", job.removeprefix("job-"))
    return min(100, 100 * asked // ceil(minutes / MINUTES_PER_POLL))


def store(key: str, kind: str, name: str) -> str:
    """Put a file where viewers find it; gives its address. The same key and kind store it once."""
    address = f"https://media.example/{key[:8]}/{name}"
    return str(world().once(f"studio.{kind}", key, address=address).details["address"])
