"""What the program tells people, and its caller, when it cannot go on."""

FAILED, MISUSED, INTERRUPTED = 1, 2, 130  # exit statuses


class UsageError(Exception):
    """What was asked makes no sense; one line that names field, value and limit."""


class OperationError(Exception):
    """What was asked cannot be done now; one line: what is wrong and what to do."""


class UnusableControllerError(OperationError):
    """A controller is there, and cannot be driven: another may be all the same."""
