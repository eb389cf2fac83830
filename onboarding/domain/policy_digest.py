"""The digest of a policy in its two parts: that of its file, and after a point that of what the catalogue says of its
extensions. Each has a column of its own, so that a version of the product which knows the first alone reads it.

A digest without the second part is of such a version. It counts as that of the same version of the policy as long as
the file is the same.
"""

from __future__ import annotations


def joined(of_file: str, of_entries: str) -> str:
    """The whole digest, of its parts; without the second one it is the first."""
    return f"{of_file}.{of_entries}" if of_entries else of_file


def parts(digest: str) -> tuple[str, str]:
    """The part that is about the file, and the part that is about the extensions, which may be empty."""
    of_file, _, of_entries = digest.partition(".")
    return (of_file, of_entries) if of_entries else (digest, "")


def same_version(stored: str, current: str) -> bool:
    """Whether a stored digest is that of this version of a policy, or does not say."""
    return stored in ("", current, parts(current)[0])


def same_file(stored: str, current: str) -> bool:
    """Whether a stored digest is of this file, whatever has changed of its extensions, or does not say."""
    return parts(stored)[0] in ("", parts(current)[0])
