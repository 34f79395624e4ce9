"""What is deployed while the API is stormed. What becomes of a run can be read from its input; nothing in it sleeps.

Its models are strict, so that an input fits its JSON Schema exactly when the model takes it. Loaded by name, by the
functions of a local host: ``WORKFLOWS=tests.hostile.deployed:registry``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from handlers.requests import WHOLE
from onewrite import Context, Pending, PermanentError, Registry, Retry, Suspend, Workflow, stage

SOON = timedelta(seconds=5)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class Line(Strict):
    sku: str = Field(min_length=1, max_length=20)
    quantity: Annotated[int, Field(gt=0, le=1_000), WHOLE]


class Parcel(Strict):
    """A parcel, and what fate has in store for it."""

    number: str = Field(pattern=r"^[A-Z0-9-]{1,20}$")
    lines: list[Line] = Field(min_length=1, max_length=5)
    fate: Literal["fine", "declined", "stolen", "lost", "slow"]
    gift: bool = False
    note: str | None = Field(default=None, max_length=2_000)


class Bank(Strict):
    limit: int = 100


class Note(BaseModel):
    text: str


class DeclinedError(Exception):
    """Not this time."""


def refund(ctx: Context[Bank], note: Note) -> None:
    """Undone."""


@stage(retry=Retry(2, first=timedelta(milliseconds=200)), timeout=SOON, compensate=refund)
def charge(ctx: Context[Bank], parcel: Parcel) -> Note:
    if parcel.fate == "stolen":
        raise PermanentError("the card was reported stolen")
    if parcel.fate == "declined" and ctx.attempt == 1:
        raise DeclinedError("ask again")
    return Note(text=f"{len(parcel.lines)} lines charged up to {ctx.config.limit}")


def packed(ctx: Context, note: Note) -> Note | Pending:
    return note


@stage(check=packed, every=timedelta(seconds=3), limit=timedelta(hours=1), timeout=SOON)
def pack(ctx: Context, note: Note) -> Note | Suspend[Note]:
    slow = ctx.run_input(Parcel).fate == "slow"
    return Suspend(note) if slow else note


@stage(timeout=SOON)
def wrap(ctx: Context, note: Note) -> Note:
    return Note(text="in paper")


@stage(timeout=SOON)
def ship(ctx: Context, pack: Note, wrap: Note) -> Note:
    if ctx.run_input(Parcel).fate == "lost":
        raise PermanentError("nobody knows where it is")
    return Note(text=f"{pack.text}, {wrap.text}")


older = Workflow("parcel", input=Parcel, version=1).then(charge)
parcel = Workflow("parcel", input=Parcel, version=2, presets={"thrifty": {"charge": {"limit": 5}}})
registry = Registry(older, parcel.then(charge).together(pack, wrap).then(ship))
