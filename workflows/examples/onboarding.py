"""Onboarding a new colleague: thirteen steps in a row, each in somebody else's office. Shows what steps cost.

One worker goes from step to step; each costs one write. Payroll is for employees only, so contractors skip
that step. The payroll office may be engaged (the step is tried again); a missing document ends the run at
once.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from pydantic import BaseModel, Field

from onewrite import Context, Retry, Workflow, stage
from workflows.examples.outside import office

SOON = timedelta(seconds=10)


class NewHire(BaseModel):
    """Whom human resources announces."""

    name: str = Field(min_length=1, max_length=100)
    number: str = Field(pattern=r"^\d{3,8}$")
    kind: Literal["employee", "contractor"]
    team: str
    country: str = Field(pattern=r"^[A-Z]{2}$")
    starts: date
    documents: list[str]
    laptop: str = "ThinkPad X1"


class Dossier(BaseModel):
    number: str
    documents: int


class Contract(BaseModel):
    number: str
    kind: Literal["employee", "contractor"]


class Payroll(BaseModel):
    number: str


class Identity(BaseModel):
    login: str


class Mailbox(BaseModel):
    address: str


class Membership(BaseModel):
    groups: list[str]


class Laptop(BaseModel):
    model: str
    serial: str


class Badge(BaseModel):
    number: str


class Access(BaseModel):
    doors: list[str]


class Training(BaseModel):
    courses: list[str]


class Buddy(BaseModel):
    name: str


class Agenda(BaseModel):
    day: date
    meet: str


class Welcome(BaseModel):
    sent_to: str
    day: date


@stage(timeout=SOON)
def verify_documents(ctx: Context, hire: NewHire) -> Dossier:
    if "passport" not in hire.documents:
        raise office.DocumentMissing(f"no passport among the documents of {hire.name}")
    return Dossier(number=office.record("dossier", ctx.run_id, hire.number), documents=len(hire.documents))


@stage(timeout=SOON)
def sign_contract(ctx: Context, dossier: Dossier) -> Contract:
    number = office.record("contract", ctx.run_id, f"C-{dossier.number}")
    return Contract(number=number, kind=ctx.run_input(NewHire).kind)


def is_employed(contract: Contract) -> bool:
    return contract.kind == "employee"


@stage(retry=Retry(5, first=timedelta(seconds=1), on=(office.PayrollBusy,)), timeout=SOON)
def enrol_payroll(ctx: Context, contract: Contract) -> Payroll:
    return Payroll(number=office.enrol(ctx.run_id, ctx.run_input(NewHire).country, contract.number))


@stage(timeout=SOON)
def create_identity(ctx: Context, payroll: Payroll | None) -> Identity:
    hire = ctx.run_input(NewHire)
    first, *_, last = (*hire.name.lower().split(), hire.number)
    login = f"{first[0]}.{last}" if payroll else f"x-{first[0]}.{last}"
    return Identity(login=office.record("identity", ctx.run_id, login))


@stage(timeout=SOON)
def create_mailbox(ctx: Context, identity: Identity) -> Mailbox:
    return Mailbox(address=office.record("mailbox", ctx.run_id, f"{identity.login}@onewrite.example"))


@stage(timeout=SOON)
def join_groups(ctx: Context, mailbox: Mailbox) -> Membership:
    hire = ctx.run_input(NewHire)
    groups = ["everybody", hire.team.lower().replace(" ", "-"), f"country-{hire.country.lower()}"]
    office.record("groups", ctx.run_id, f"{mailbox.address} in {', '.join(groups)}")
    return Membership(groups=groups)


@stage(timeout=SOON)
def order_laptop(ctx: Context, _membership: Membership) -> Laptop:
    model = ctx.run_input(NewHire).laptop
    return Laptop(model=model, serial=office.record("laptop", ctx.run_id, f"SN-{ctx.run_id[:6].upper()}"))


@stage(timeout=SOON)
def issue_badge(ctx: Context, laptop: Laptop) -> Badge:
    return Badge(number=office.record("badge", ctx.run_id, f"B-{laptop.serial.removeprefix('SN-')}"))


@stage(timeout=SOON)
def grant_access(ctx: Context, badge: Badge) -> Access:
    doors = ["main entrance", f"floor of {ctx.run_input(NewHire).team}"]
    office.record("access", ctx.run_id, f"{badge.number} opens {', '.join(doors)}")
    return Access(doors=doors)


@stage(timeout=SOON)
def book_training(ctx: Context, _access: Access) -> Training:
    courses = ["security", "first aid", ctx.run_input(NewHire).team]
    office.record("training", ctx.run_id, ", ".join(courses))
    return Training(courses=courses)


@stage(timeout=SOON)
def assign_buddy(ctx: Context, _training: Training) -> Buddy:
    return Buddy(name=office.record("buddy", ctx.run_id, f"somebody of {ctx.run_input(NewHire).team}"))


@stage(timeout=SOON)
def plan_first_day(ctx: Context, buddy: Buddy) -> Agenda:
    day = ctx.run_input(NewHire).starts
    office.record("agenda", ctx.run_id, f"{day}: meet {buddy.name}")
    return Agenda(day=day, meet=buddy.name)


@stage(timeout=SOON)
def send_welcome(ctx: Context, agenda: Agenda) -> Welcome:
    address = ctx.output(create_mailbox).address
    office.record("welcome", ctx.run_id, f"to {address}: see you on {agenda.day}")
    return Welcome(sent_to=address, day=agenda.day)


onboarding = (
    Workflow("onboarding", input=NewHire)
    .then(verify_documents)
    .then(sign_contract)
    .then_if(is_employed, enrol_payroll)
    .then(create_identity)
    .then(create_mailbox)
    .then(join_groups)
    .then(order_laptop)
    .then(issue_badge)
    .then(grant_access)
    .then(book_training)
    .then(assign_buddy)
    .then(plan_first_day)
    .then(send_welcome)
)
