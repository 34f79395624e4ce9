"""Stand-ins for AWS on this machine, each on a free loopback port: moto embedded, DynamoDB Local, LocalStack.

Nothing here needs Docker, an account, or a fixed port that could be taken. What each can be believed about:
DynamoDB Local about conditions and about units of single writes; moto about the shape of answers, and about
conditions only because of the lock that `embedded_moto` puts around it; LocalStack about what a template makes and how
its parts call each other, but not about what roles allow. What runs handlers in `lambda_runtime` is AWS's own.

The engines are imported from their own modules, because importing moto takes a second that others can save.
"""

from __future__ import annotations

from hosts.engines.environment import EngineMissing, aws_environment

__all__ = ["EngineMissing", "aws_environment"]
