"""What the demo claims of its runs: told in sentences, and checked against their logs and the world outside."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence

from msgspec import Struct

from hosts.local.demo.cases import Json, Played, Trouble
from workflows.examples.outside import World
from workflows.examples.outside.studio import MINUTES_PER_POLL


class Verdict(Struct, frozen=True):
    """What is said about a run, and the claims that must hold for it to be true."""

    told: str
    claims: dict[str, bool]


def verdict(played: Played, world: World) -> Verdict:
    """What happened to a run that had trouble."""
    return _TELLERS[played.case.trouble](played, world)


def general(runs: Sequence[Played], listed: Collection[str], world: World) -> dict[str, bool]:
    """What must hold of all runs together; ``listed`` are the ids that the API lists."""
    claims = {
        f"{each.case.name} is {each.case.status}: {each.run}": each.view["status"] == each.case.status for each in runs
    }
    orders = [each for each in runs if each.case.workflow == "order"]
    refused = [each for each in orders if each.case.trouble is Trouble.REFUSED]
    charged = {each.run: _count(world, each, "payment.charged") for each in orders}
    shipped = {each.run: _count(world, each, "carrier.shipped") for each in orders}
    claims["each order is charged exactly once"] = all(charged[each.run] == 1 for each in orders if each not in refused)
    claims["no refused order is charged"] = not any(charged[each.run] for each in refused)
    claims["each completed order is shipped exactly once, and no other"] = all(
        shipped[each.run] == (1 if each.view["status"] == "completed" else 0) for each in orders
    )
    shipments = [each for each in runs if each.case.workflow == "shipment"]
    claims["each shipment's customer is told exactly once"] = all(
        _count(world, each, "customer.told") == 1 for each in shipments
    )
    claims["the value of each lost parcel is claimed exactly once, and of no other"] = all(
        _count(world, each, "carrier.claimed") == (each.case.trouble is Trouble.LOST) for each in shipments
    )
    invoices = [each for each in runs if each.case.workflow == "approval"]
    claims["each invoice is paid exactly once, or rejected"] = all(
        _count(world, each, "bank.paid") == (each.view.get("state") == "paid") for each in invoices
    )
    claims["the API lists exactly these runs"] = sorted(listed) == sorted(each.run for each in runs)
    claims["no stage is recorded as completed twice"] = not any(map(_twice, runs))
    return claims


def _twice(played: Played) -> bool:
    """A stage has been recorded as completed more than once."""
    completed = [event["stage"] for event in played.events("StageCompleted")]
    return len(completed) != len(set(completed))


def _count(world: World, played: Played, kind: str) -> int:
    return len(world.effects(kind, played.run))


def _worker_dies(played: Played, world: World) -> Verdict:
    begun = [effect.by for effect in world.effects("warehouse.begun", played.run)]
    expired = played.events("LeaseExpired", "pack")
    starts = played.events("StageStarted", "pack")
    claims = {
        "a worker was killed": played.killed is not None,
        "it had begun to pack": begun[:1] == [played.killed],
        "the tick found out": [each["by"] for each in expired] == ["tick"],
        "pack was started twice": len(starts) == len(begun) == 2,  # noqa: PLR2004 - as it says
        "another worker packed": begun[-1:] != [played.killed],
        "it was packed once": _count(world, played, "warehouse.packed") == 1,
    }
    found = (expired[0]["at"] - starts[0]["at"]) / 1000 if expired and starts else 0
    told = (
        f"worker process {played.killed} got {signal.SIGKILL.name} in the middle of `pack`. {found:.1f} s after that "
        f"had been started, the tick found its lease run out, and process {begun[-1] if begun else '?'} packed at "
        f"attempt {len(starts)}. Begun {len(begun)} times, packed once."
    )
    return Verdict(told, claims)


def _undone(played: Played, world: World) -> Verdict:
    refunds = world.effects("payment.refunded", played.run)
    undone = [each["stage"].partition(":")[2] for each in played.events("StageStarted") if ":" in each["stage"]]
    error = played.view.get("error", {})
    compensation = played.view.get("compensation")
    claims = {
        "it failed in ship": error.get("stage") == "ship",
        "it was undone in reverse order": undone == ["invoice", "charge"],
        "the compensation is complete": compensation == "complete",
        "the money was given back once": len(refunds) == 1,
        "the invoice was cancelled once": _count(world, played, "invoice.cancelled") == 1,
    }
    amount = int(refunds[0].details["amount"]) / 100 if refunds else 0
    told = (
        f"`ship` failed for good ({error.get('message')}), so what had been done was undone in reverse order: the "
        f"invoice was cancelled and {amount:,.2f} given back. The run failed, its compensation is {compensation}."
    )
    return Verdict(told, claims)


def _retried(played: Played, world: World) -> Verdict:
    failures = played.events("StageFailed")
    stage = failures[0]["stage"] if failures else "nothing"
    message = failures[0]["error"]["message"] if failures else ""
    pauses = [f"{(each['retry_at'] - each['at']) / 1000:.1f}" for each in failures if each.get("retry_at")]
    wanted = 2 if played.case.file.endswith("twice") else 1
    claims = {
        f"it failed {wanted}x": len(failures) == wanted,
        "each time it was tried again": len(pauses) == len(failures),
        "then it succeeded": len(played.events("StageCompleted", stage)) == 1,
    }
    if played.case.workflow == "order":
        claims["the card was charged once"] = _count(world, played, "payment.charged") == 1
    told = (
        f"`{stage}` failed ({message}), was tried again after {' and '.join(pauses)} s, and went through at attempt "
        f"{len(played.events('StageStarted', stage))}."
    )
    return Verdict(told, claims)


def _suspended(played: Played, world: World) -> Verdict:
    suspended, ready = played.events("StageSuspended"), played.events("StageCompleted", "transcode")
    minutes = int(played.case.input["minutes"])
    # At least: a check has no claim, so two workers may ask at the same time.
    asked, needed = _count(world, played, "provider.asked"), -(-minutes // MINUTES_PER_POLL)
    claims = {
        "it was suspended once": len(suspended) == 1,
        "the provider got one job": _count(world, played, "provider.submitted") == 1,
        f"the provider was asked {needed} times": asked >= needed,
        "it resumed": len(ready) == 1,
    }
    away = (ready[0]["at"] - suspended[0]["at"]) / 1000 if ready and suspended else 0
    questions = "one short question" if asked == 1 else f"{asked} short questions"
    told = (
        f"`transcode` handed {minutes} minutes of film to a provider and suspended. For {away:.1f} s nothing ran but "
        f"{questions} whether it was ready; then the run went on."
    )
    return Verdict(told, claims)


def _sent_twice(played: Played, world: World) -> Verdict:
    again = played.again or {}
    claims = {
        "the second start gave the same run": again.get("run") == played.run,
        "it said so": again.get("replay") is True,
        "the card was charged once": _count(world, played, "payment.charged") == 1,
    }
    told = (
        "its start was sent twice with the same Idempotency-Key. Both answers name this run, the second one as a "
        "`replay`; there is one run and one charge."
    )
    return Verdict(told, claims)


def _cancelled(played: Played, _world: World) -> Verdict:
    checked = played.events("StageChecked")
    progress = checked[-1].get("progress") if checked else 0
    last = played.log[-1]["events"][-1]["type"] if played.log else ""
    claims = {
        "nothing happened afterwards": last == "RunCancelled",
        "nothing was published": not played.events("StageStarted", "publish"),
    }
    told = f"somebody cancelled it while `transcode` was suspended at {progress:.0%}. Nothing of it ran afterwards."
    return Verdict(told, claims)


def _refused(played: Played, _world: World) -> Verdict:
    error = played.view.get("error", {})
    claims = {
        "it was tried once": len(played.events("StageStarted")) == 1,
        "nothing else ran": len(played.view["stages"]) == 1,
    }
    told = (
        f"`{error.get('stage')}` failed with {error.get('kind')} ({error.get('message')}). No other try would help, "
        "so there was none, and the run failed."
    )
    return Verdict(told, claims)


def _skipped(played: Played, world: World) -> Verdict:
    skipped = [each["stage"] for each in played.events("StageSkipped")]
    claims = {
        "the stage was skipped": skipped == ["enrol_payroll"],
        "nobody was put on the payroll": _count(world, played, "office.payroll") == 0,
    }
    return Verdict("contractors are not on the payroll: `enrol_payroll` was skipped, at no cost.", claims)


def _early(played: Played, world: World) -> Verdict:
    answers = [each["status"] for each in played.answers if each["name"] == "PickedUp"]
    received, begun = played.events("EventReceived", "PickedUp"), played.events("WaitStarted", "collection")
    early = bool(received and begun) and received[0]["seq"] < begun[0]["seq"]
    claims = {
        "it was accepted": answers == ["accepted"],
        "nobody waited for it yet": early,
        "it was kept for who waited later": _taken(played, "collection") == _ids(received) != [],
        "the parcel was booked once": _count(world, played, "carrier.booked") == 1,
    }
    before = (begun[0]["at"] - received[0]["at"]) / 1000 if early else 0
    told = (
        f"the carrier hung up on `book`, and had the parcel scanned before `book` was tried again. `PickedUp` was "
        f"{' and '.join(answers)}, and kept; the wait for it began {before:.1f} s later, and was over at once."
    )
    return Verdict(told, claims)


def _again(played: Played, world: World) -> Verdict:
    first, again, *_ = [each for each in played.answers if each["id"] == "scan-1"] + 2 * [{"status": "not answered"}]
    received = _ids(played.events("EventReceived"))
    told_customer = _count(world, played, "customer.told")
    times = "once" if told_customer == 1 else f"{told_customer} times"
    claims = {
        "both answers tell of one event": [first.get(name) for name in ("id", "at")]
        == [again.get(name) for name in ("id", "at")]
        != [None, None],
        "each event is applied once": sorted(received) == ["scan-1", "scan-1b", "scan-2"],
        "what comes under another id is taken by no wait": _taken(played) == ["scan-1", "scan-2"],
        "the customer was told once": told_customer == 1,
    }
    told = (
        f"the carrier sent `PickedUp` as `scan-1`: {first['status']}. It sent that again: {again['status']}, as the "
        "same event, which was applied once. Sent as `scan-1b` it was another one, and no wait was left for it. "
        f"`Delivered` came twice, too. The customer was told {times}."
    )
    return Verdict(told, claims)


def _out_of_order(played: Played, _world: World) -> Verdict:
    collected, delivered = (played.events("EventReceived", name) for name in ("PickedUp", "Delivered"))
    reversed_ = bool(collected and delivered) and delivered[0]["seq"] < collected[0]["seq"]
    claims = {
        "`Delivered` came first": reversed_,
        "each wait took its own": _taken(played) == _ids([*collected, *delivered]) != [],
    }
    before = (collected[0]["at"] - delivered[0]["at"]) / 1000 if reversed_ else 0
    told = (
        f"`Delivered` came {before:.1f} s before `PickedUp`, while the run waited for that. It was kept, and taken by "
        "the wait that was for it, as soon as there was one."
    )
    return Verdict(told, claims)


def _lost(played: Played, world: World) -> Verdict:
    lost = played.events("EventReceived", "Lost")
    claimed = world.effects("carrier.claimed", played.run)
    claims = {
        "the wait for either event took this one": _taken(played, "delivery") == _ids(lost) != [],
        "the value was claimed once": len(claimed) == 1,
    }
    value = int(claimed[0].details["value"]) / 100 if claimed else 0
    reason = claimed[0].details["reason"] if claimed else "nothing was"
    told = (
        f"a wait for `Delivered` or `Lost` got `Lost`. So `settle` claimed {value:,.2f} from the carrier ({reason}), "
        "and told the customer."
    )
    return Verdict(told, claims)


def _two_sign(played: Played, world: World) -> Verdict:
    approved = played.events("EventReceived", "Approve")
    paid = world.effects("bank.paid", played.run)
    claims = {
        "a manager signed, then a director": _roles(approved) == ["manager", "director"],
        "each led one state on": _states(played) == ["review", "escalated", "paying", "paid"],
        "it was paid once": len(paid) == 1,
    }
    amount = int(paid[0].details["amount"]) / 100 if paid else 0
    told = (
        f"{amount:,.2f} takes two signatures. `Approve` by a manager led from `review` to `escalated`, where a "
        "director was asked; `Approve` by a director led to `paying`. Then it was paid, once."
    )
    return Verdict(told, claims)


def _forbidden(played: Played, world: World) -> Verdict:
    first, *_ = [*played.answers, {"status": "not sent", "reason": "nobody tried"}]
    approved = played.events("EventReceived", "Approve")
    claims = {
        "a clerk's `Approve` was refused": first["status"] == "refused",
        "with the role that it takes": "from these roles only: manager" in str(first.get("reason")),
        "only a manager's was applied": _roles(approved) == ["manager"],
        "it was paid once": _count(world, played, "bank.paid") == 1,
    }
    told = (
        f"a clerk sent `Approve`, and got 403: {str(first.get('reason')).rstrip('.')}. Nothing of it was kept. "
        "A manager sent it as well, and it was paid."
    )
    return Verdict(told, claims)


def _signs_twice(played: Played, world: World) -> Verdict:
    again = played.settled.get("click-2", {})
    approved = played.events("EventReceived", "Approve")
    claims = {
        "the second signature was accepted, and then refused": again.get("status") == "refused",
        "two others were applied": _ids(approved) == ["click-1", "click-3"],
        "it was paid once": _count(world, played, "bank.paid") == 1,
    }
    told = (
        "one who is a manager and a director signed as the one, and then as the other. The second `Approve` was "
        f"{again.get('status', 'not sent')} ({again.get('reason', 'nobody tried')}); it took another director."
    )
    return Verdict(told, claims)


def _turned_down(played: Played, world: World) -> Verdict:
    letters = [str(each.details["text"]) for each in world.effects("letter.sent", played.run)]
    claims = {
        "it was rejected": _states(played) == ["review", "rejected"],
        "the supplier was told before": [each["stage"] for each in played.events("StageCompleted")][-1:]
        == ["tell_supplier"],
        "nothing was paid": _count(world, played, "bank.paid") == 0,
    }
    told = (
        "a manager sent `Reject`. The work of that transition wrote to the supplier before the run ended in "
        f"`rejected`: {letters[-1] if letters else 'nobody did'}."
    )
    return Verdict(told, claims)


def _roles(received: Sequence[Json]) -> list[str]:
    """What those who sent events acted as."""
    return [" and ".join(each.get("roles", ())) for each in received]


def _states(played: Played) -> list[str]:
    """The states that a machine was in, in order."""
    return [str(each["state"]) for each in played.events("StateEntered")]


def _ids(received: Sequence[Json]) -> list[str]:
    """Of events, in the order in which they were applied."""
    return [str(each["event"]) for each in received]


def _taken(played: Played, wait: str = "") -> list[str]:
    """Ids of the events that waits have taken, in order."""
    return _ids(played.events("WaitMatched", wait))


_TELLERS = {
    Trouble.WORKER_DIES: _worker_dies,
    Trouble.UNDONE: _undone,
    Trouble.RETRIED: _retried,
    Trouble.SUSPENDED: _suspended,
    Trouble.SENT_TWICE: _sent_twice,
    Trouble.CANCELLED: _cancelled,
    Trouble.REFUSED: _refused,
    Trouble.SKIPPED: _skipped,
    Trouble.EARLY: _early,
    Trouble.AGAIN: _again,
    Trouble.OUT_OF_ORDER: _out_of_order,
    Trouble.LOST: _lost,
    Trouble.TWO_SIGN: _two_sign,
    Trouble.FORBIDDEN: _forbidden,
    Trouble.SIGNS_TWICE: _signs_twice,
    Trouble.TURNED_DOWN: _turned_down,
}
