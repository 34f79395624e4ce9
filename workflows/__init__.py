"""The workflows of this deployment: yours go here.

Write a module beside ``examples``, import its workflow below and add it to the registry; nothing is found
by scanning. ``examples`` is ours and changes with upstream merges, the rest of this package is yours. Take
the examples out of the registry when you no longer need them; ``make demo`` has a registry of its own.
"""

from onewrite import Registry
from workflows.examples.approval import approval
from workflows.examples.media import media
from workflows.examples.onboarding import onboarding
from workflows.examples.order import order
from workflows.examples.shipment import shipment
from workflows.examples.subscription import subscription

registry = Registry(order, media, onboarding, shipment, approval, subscription)
"""What ``WORKFLOWS=workflows:registry`` leads to: every workflow, and every version that still has runs."""
