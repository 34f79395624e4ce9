"""Six workflows that people recognise, over realistic inputs in ``inputs/<workflow>/``.

What goes wrong in a run can be read from its input: a card that is declined twice, an address that nobody
delivers to, a film that takes the provider a while, a carrier that sends everything twice, a director who signs twice.
"""

from pathlib import Path

from onewrite import Registry
from workflows.examples import approval, media, onboarding, order, shipment, subscription

INPUTS = Path(__file__).parent / "inputs"
"""Holds a folder per workflow with one JSON file per input."""

registry = Registry(
    order.order,
    media.media,
    onboarding.onboarding,
    shipment.shipment,
    approval.approval,
    subscription.subscription,
)
"""What the demo has deployed, whatever ``workflows.registry`` holds."""
