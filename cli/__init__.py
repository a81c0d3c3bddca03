"""The ``perijove`` command."""
