"""The protocol's version, and the refusal across versions that do not understand each other."""

from __future__ import annotations

from pydantic import BaseModel

from .errors import IncompatibleVersion


class ProtocolVersion(BaseModel):
    """``major`` changes when an older side would misunderstand; ``minor`` when it would only miss something."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


PROTOCOL = ProtocolVersion(major=1, minor=4)
LIMITS_TOLD_SINCE_MINOR = 4  # an older agent does not say which limit it goes by
USAGE_SINCE_MINOR = 3  # an older broker would close a link on which an agent reports what its GPUs do
WATCH_SINCE_MINOR = 4  # ... or one on which a client asks to watch a kernel, or to keep its GPU


def check_compatible(theirs: ProtocolVersion, *, who: str, program_version: str) -> None:
    """Refuse a peer of another major version.

    Raises:
        IncompatibleVersion: naming both sides' versions and what to install.
    """
    if theirs.major != PROTOCOL.major:
        raise IncompatibleVersion(
            f"{who} speaks protocol {theirs}, this side speaks {PROTOCOL} (perijove {program_version}); "
            "install the same version of perijove on both"
        )
