"""What goes wrong, how often, and what of it did: the faults of one history."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container

from kernel.testing.simulator.chance import Chance

RATED = (
    "crash-before",  # the process dies, the call was not made
    "crash-after",  # the call took effect, the process dies
    "lost-reply",  # the call took effect, the caller hears that the service is unavailable
    "unavailable",  # throttled: the call was not made
    "failing",  # an error that no repetition helps: the call was not made
    "garbled",  # what was read is damaged, or not there
    "slow",  # the call takes seconds
    "frozen",  # the process stands still for long, then goes on as if nothing had been
    "clock",  # the process's clock jumps
    "stale",  # an index shows what was
    "vanished",  # what is past its time to live is deleted, some of it, in any order
    "unpublished",  # the sink refuses an event
    "lost",  # a message is lost
    "doubled",  # a message comes twice
    "late",  # a message comes late, behind others
    "returned",  # a message was dealt with, and comes again: its deletion was lost
    "cut-off",  # an invocation gets little time
    "missed",  # a tick does not come
    "extra",  # two ticks come at once
    "deploy",  # an invocation runs the other version of the code
    "body-crash",  # user code takes the process with it
)
"""What goes wrong at single calls, each with a rate of its own."""
OF_STREAMS = (
    "stopped",  # a worker is told to stop, whatever it is in the middle of
    "emptied",  # all messages are gone, those in hand, too
)
"""What goes wrong only where messages are in streams and workers are processes that stay."""
KINDS = (
    *RATED,
    *OF_STREAMS,
    "outage",  # a service cannot be reached for minutes or hours
)
"""Every kind of fault."""

RATES = (0.0, 0.0, 0.01, 0.03, 0.1, 0.25)
CRASHES = {
    "crash-before": (0.003, 0.01, 0.03, 0.06),
    "crash-after": (0.003, 0.01, 0.03, 0.06),
    "lost-reply": (0.003, 0.01, 0.03, 0.06),
    "body-crash": (0.0, 0.03, 0.1),
}
"""Rates of what may go wrong where it is looked at how late things are: so rare that looks are not all in vain."""
MOST = 400
"""Faults in one history, after which the weather is fair."""


class Weather:
    """Decides what goes wrong.

    Each history has rates of its own, many of them nought: a crash after every lost reply shows other things than a
    little of everything.

    Attributes:
        calm: nothing goes wrong any more.
        wild: clocks are off by minutes, which breaks timers but must break nothing else.
        happened: what went wrong, in order, by names that are the same in each replay.
        counts: how often, by kind.
        now: gives true time, in milliseconds.
    """

    def __init__(self, seed: int, keep: Container[str] | None = None) -> None:
        """The weather of a seed; of its faults only those in ``keep``, if given."""
        chance = Chance(seed, "weather")
        self.rates = {kind: chance.pick(RATES) for kind in RATED}
        scale = chance.pick((0.3, 1.0, 1.0, 1.0))
        for kind in ("crash-before", "crash-after", "body-crash", "frozen", "clock"):
            self.rates[kind] *= scale * 0.5
        self.rates["cut-off"] *= 2
        self.rates["vanished"] *= 4
        self.rates["failing"] *= 0.2
        self.rates["garbled"] *= 0.4
        self.wild = chance.happens(0.1)
        streams = Chance(seed, "weather of streams")
        self.rates |= {"stopped": streams.pick((0.0, 0.1, 0.3, 0.5)), "emptied": streams.pick((0.0, 0.3, 1.0))}
        self._outage = _outage(Chance(seed, "outage"))
        self.calm = False
        self.happened: list[str] = []
        self.counts: Counter[str] = Counter()
        self.now: Callable[[], int] = lambda: 0
        self._times: list[int] = []
        self._keep = keep
        self._chance = chance

    def out(self, service: str, passed: int) -> bool:
        """Whether a service cannot be reached, so many milliseconds after the history began."""
        if self.calm or self._outage is None:
            return False
        which, begins, ends = self._outage
        name = f"outage of the {which}"
        kept = self._keep is None or name in self._keep
        if which != service or not kept or not begins <= passed < ends:
            return False
        if name not in self.happened:
            self.happened.append(name)
            self.counts["outage"] += 1
        return True

    def clear(self, *, crashes: bool) -> None:
        """Nothing goes wrong in this history, or nothing but that processes die and replies are lost."""
        self.rates = dict.fromkeys(self.rates, 0.0)
        if crashes:
            self.rates |= {kind: self._chance.pick(rates) for kind, rates in CRASHES.items()}
        self.wild = False
        if self._outage and self._outage[0] != "sink":
            self._outage = None  # messages of ticks must arrive where it is looked at how late things are

    def since(self, time: int) -> int:
        """How much went wrong from a time on."""
        return len(self._times) - bisect_left(self._times, time)

    def strikes(self, kind: str, chance: Chance, where: str, *, often: float = 1.0) -> bool:
        """Whether a fault of this kind happens here, where it does so more or less often than elsewhere."""
        if self.calm or not chance.happens(self.rates[kind] * often) or len(self.happened) >= MOST:
            return False
        name = f"{where} {kind}"
        if self._keep is not None and name not in self._keep:
            return False
        self.happened.append(name)
        self._times.append(self.now())
        self.counts[kind] += 1
        return True


def _outage(chance: Chance) -> tuple[str, int, int] | None:
    """Which service cannot be reached, from when on and until when, if one cannot."""
    if not chance.happens(0.1):
        return None
    service = chance.pick(("sink", "sink", "queue", "blobs"))
    begins = chance.pick((0, 30_000, 600_000))
    return service, begins, begins + chance.pick((60_000, 600_000, 7_200_000))
