"""What users write: stages and workflows, checked when they are defined, typed throughout."""

from kernel.define.code import NotYet, StageCode, Suspended
from kernel.define.context import AwaitCallback, Context, Failed, Handle, Log, NoConfig, Pending, Suspend
from kernel.define.machine import Machine
from kernel.define.policy import OnCancel, OnFailure, Retry
from kernel.define.registry import Registry
from kernel.define.stage import Stage, stage
from kernel.define.states import State, Transition
from kernel.define.workflow import Workflow

__all__ = [
    "AwaitCallback",
    "Context",
    "Failed",
    "Handle",
    "Log",
    "Machine",
    "NoConfig",
    "NotYet",
    "OnCancel",
    "OnFailure",
    "Pending",
    "Registry",
    "Retry",
    "Stage",
    "StageCode",
    "State",
    "Suspend",
    "Suspended",
    "Transition",
    "Workflow",
    "stage",
]
