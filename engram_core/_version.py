"""The version of Engram, in its one place, and the protocol it speaks; the build reads it without running it."""

__all__ = ["PROTOCOL", "__version__"]

__version__ = "0.1.0"
PROTOCOL = (1, 1)  # oldest and newest version of the socket protocol, the same for daemon and client
