"""What all tests share."""

from hypothesis import settings

# A loaded machine is slow, not wrong: laws have no time limit per example.
settings.register_profile("ndpsim", deadline=None)
settings.load_profile("ndpsim")
