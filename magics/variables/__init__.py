"""Variables of a ``%%gpu`` cell: what travels, what stays, and who has the newest value."""

from .remote_value import RemoteValue
from .sync import VariableSync

__all__ = ["RemoteValue", "VariableSync"]
