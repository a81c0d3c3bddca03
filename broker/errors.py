"""What can go wrong in a broker on its own machine. What travels on the wire is in :mod:`perijove.wire.errors`."""

from __future__ import annotations

from ..wire.errors import BrokerError


class LedgerError(BrokerError):
    """The database cannot be used as it is."""

    code = "ledger_error"


class SettingsError(BrokerError):
    """A setting or a file it names is wrong."""

    code = "settings_error"
