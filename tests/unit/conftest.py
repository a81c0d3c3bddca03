"""No test here depends on how fast the machine is or what else it does: hypothesis sets no deadlines."""

from hypothesis import settings

settings.register_profile("perijove", deadline=None)
settings.load_profile("perijove")
