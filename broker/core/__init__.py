"""What the broker decides, as functions of (state, event, now): no socket, no clock and no database in here."""
