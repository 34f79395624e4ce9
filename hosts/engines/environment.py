"""What all engines share: the error of one that cannot run here, and credentials that open nothing."""

from __future__ import annotations

from kernel.errors import OnewriteError

REGION = "eu-west-1"
ACCOUNT = "123456789012"  # moto's own, so that ARNs made by hand agree with those it makes


class EngineMissing(OnewriteError):
    """An engine cannot run on this machine. The message names what is missing and how to install it."""


def aws_environment(endpoint_url: str | None = None) -> dict[str, str]:
    """Environment variables under which boto3 reaches an engine and cannot reach AWS.

    The credentials are made up, and the variables that would let boto3 find real ones (profiles, files, the
    instance's metadata) are overridden: a mistake in a test must not write into somebody's account.

    Args:
        endpoint_url: the engine's address, given to every service; None to leave that to each client.

    Returns:
        Variables to merge into `os.environ` or into a subprocess's environment.
    """
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    if endpoint_url is not None:
        environment["AWS_ENDPOINT_URL"] = endpoint_url
    return environment
