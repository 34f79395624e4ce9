"""What the demo runs: which input, what is to become of it, and what goes wrong on the way."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from kernel.testing.units import Usage
from workflows.examples import INPUTS

Json = dict[str, Any]


class Trouble(StrEnum):
    """What a run is there to show; its value is the title of what is told about it."""

    NONE = ""
    WORKER_DIES = "A worker dies"
    UNDONE = "Undone"
    RETRIED = "Tried again"
    SUSPENDED = "Suspended"
    SENT_TWICE = "Sent twice"
    CANCELLED = "Cancelled"
    REFUSED = "Not tried again"
    SKIPPED = "Skipped"
    EARLY = "An event comes early"
    AGAIN = "Events come twice"
    OUT_OF_ORDER = "Events come out of order"
    LOST = "Bad news"
    TWO_SIGN = "Two people sign"
    FORBIDDEN = "A wrong role"
    SIGNS_TWICE = "Nobody signs twice"
    TURNED_DOWN = "Turned down"


class Case(Struct, frozen=True):
    """A run to make.

    Attributes:
        workflow, file: which input.
        status: how it has to end.
        trouble: what it shows.
    """

    workflow: str
    file: str
    status: str = "completed"
    trouble: Trouble = Trouble.NONE

    @property
    def name(self) -> str:
        """Both, for people."""
        return f"{self.workflow}/{self.file}"

    @property
    def input(self) -> Json:
        """What the run is started with."""
        text = (INPUTS / self.workflow / f"{self.file}.json").read_text(encoding="utf-8")
        value: Json = json.loads(text)
        return value


TOO_LONG = frozenset({"subscription"})
"""Workflows that nobody has the time to watch."""

CASES = (
    # The one whose worker is killed comes first, so that no other run is in that worker's hands.
    Case("order", "grand-piano", trouble=Trouble.WORKER_DIES),
    Case("media", "feature-film", trouble=Trouble.SUSPENDED),
    Case("order", "card-declined-twice", trouble=Trouble.RETRIED),
    Case("order", "antarctica", "failed", Trouble.UNDONE),
    Case("media", "opera-cycle", "cancelled", Trouble.CANCELLED),
    Case("order", "last-one-in-stock", trouble=Trouble.SENT_TWICE),
    Case("onboarding", "payroll-engaged", trouble=Trouble.RETRIED),
    Case("shipment", "early-scan", trouble=Trouble.EARLY),
    Case("shipment", "every-scan-twice", trouble=Trouble.AGAIN),
    Case("shipment", "scans-mixed-up", trouble=Trouble.OUT_OF_ORDER),
    Case("shipment", "lost-at-sea", trouble=Trouble.LOST),
    Case("approval", "server-room", trouble=Trouble.TWO_SIGN),
    Case("approval", "microscope", trouble=Trouble.FORBIDDEN),
    Case("approval", "new-roof", trouble=Trouble.SIGNS_TWICE),
    Case("approval", "dinner", trouble=Trouble.TURNED_DOWN),
    Case("approval", "contract-review", trouble=Trouble.RETRIED),
    Case("media", "documentary", trouble=Trouble.SUSPENDED),
    Case("order", "card-declined-once", trouble=Trouble.RETRIED),
    Case("order", "card-stolen", "failed", Trouble.REFUSED),
    Case("media", "betamax-tape", "failed", Trouble.REFUSED),
    Case("onboarding", "passport-missing", "failed", Trouble.REFUSED),
    Case("onboarding", "contractor", trouble=Trouble.SKIPPED),
    Case("shipment", "bicycle"),
    Case("approval", "stationery"),
    Case("approval", "closed-account"),
    Case("onboarding", "engineer"),
    Case("onboarding", "designer"),
    Case("onboarding", "support-agent"),
    Case("order", "laptop"),
    Case("order", "coffee-subscription"),
    Case("order", "books"),
    Case("order", "garden-chairs"),
    Case("order", "office-restock"),
    Case("order", "phone"),
    Case("media", "trailer", trouble=Trouble.SUSPENDED),
    Case("media", "lecture", trouble=Trouble.SUSPENDED),
)


class Played(Struct):
    """A run of a case.

    Attributes:
        case: which.
        run: its id.
        stages: how many stages its workflow has.
        view: the run as last seen.
        log: its commits, once it is over.
        usage: what it used, once it is over.
        again: the answer to its second start, if it was sent twice.
        killed: the process that was killed in the middle of it, if one was.
        answers: to the events that were sent to it, in order.
        settled: what has become of those by id, as far as their sender has asked.
    """

    case: Case
    run: str
    stages: int
    view: Json = field(default_factory=dict)
    log: list[Json] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    again: Json | None = None
    killed: int | None = None
    answers: list[Json] = field(default_factory=list)
    settled: dict[str, Json] = field(default_factory=dict)

    def events(self, kind: str, of: str = "") -> list[Json]:
        """Events of its log, each with the commit's number as ``seq``, time as ``at`` and writer as ``by``.

        Args:
            kind: which.
            of: those of one stage or wait, or external events of one name.
        """
        return [
            {"seq": entry["seq"], "at": entry["at"], "by": entry["by"], **event}
            for entry in self.log
            for event in entry["events"]
            if event["type"] == kind and of in ("", event.get("stage"), event.get("wait"), event.get("name"))
        ]

    @property
    def attempts(self) -> int:
        """Tries of all stages, compensations included."""
        return len(self.events("StageStarted"))

    @property
    def checks(self) -> int:
        """How often a suspended stage was looked at, the last time included."""
        suspended = self.events("StageSuspended")
        last = [each for each in suspended if self.events("StageCompleted", each["stage"])]
        return len(self.events("StageChecked")) + len(last)

    @property
    def steps(self) -> int:
        """What others charge for as well: tries, compensations, checks, waits for events, and events of a machine."""
        waits = self.events("EventReceived") if self.view.get("state") else self.events("WaitStarted")
        return self.attempts + self.checks + len(waits)
