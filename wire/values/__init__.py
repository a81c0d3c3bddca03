"""Variables on the wire: how values are pickled, fingerprinted and described. Used by both ends."""
