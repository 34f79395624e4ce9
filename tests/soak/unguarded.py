"""The soak's workflows, in a process in which the guard that SOAK_WITHOUT names is switched off."""

from __future__ import annotations

import os

from bench.soak.workflows import registry
from infra.dynamodb.guards import ALWAYS, CONDITIONS
from kernel.ports import Guard

__all__ = ["registry"]

CONDITIONS[Guard(os.environ["SOAK_WITHOUT"])] = ALWAYS
