"""What can go wrong through no fault of the code."""


class BadInput(Exception):
    """Something the user gave cannot be used.

    The message is one line: what was wrong, and what would be right. The command line prints it
    without a traceback and exits with code 2.
    """


class UnreadableImage(Exception):
    """One image of a data set cannot be decoded; the run reports, skips and counts it."""
