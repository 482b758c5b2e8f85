"""The error of this folder, those that damaged type information causes, and how both are said."""

import struct


class UnreadableError(Exception):
    """The kernel does not let itself be read, or is not laid out as expected."""


DAMAGE = (UnreadableError, OSError, struct.error, LookupError, ArithmeticError, ValueError)
"""What reading a kernel raises, be it that it refuses or that what it says of itself is damaged."""


def reason(error: Exception) -> str:
    """Why the kernel cannot be read, in a few words."""
    if isinstance(error, OSError):
        return f"{error.filename or '/proc/kcore'}: {error.strerror}"
    return str(error) if isinstance(error, UnreadableError) else "what the kernel says of its structs is damaged"
