"""How everything of ours reaches a broker: HTTP, the resumable channel, configuration, the embedded broker."""
