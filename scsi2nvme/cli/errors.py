"""What the program tells people when it cannot go on."""


class UsageError(Exception):
    """What was asked makes no sense; one line that names field, value and limit."""


class OperationError(Exception):
    """What was asked cannot be done now; one line: what is wrong and what to do."""
