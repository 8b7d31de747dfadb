"""Errors that a user can act on: one line that says what, where and what to do."""

from __future__ import annotations


class PairmillError(Exception):
    """A failure of the data, the machine or the network that ends the run; the command exits with 1."""

    exit_code = 1


class UsageError(PairmillError):
    """A wrong recipe, option, pool or folder, found before any work; the command exits with 2."""

    exit_code = 2
