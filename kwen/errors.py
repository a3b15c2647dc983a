"""The one exception for what a user did wrong."""


class UserError(ValueError):
    """A user's mistake: one line that says what is wrong, where, and what to do next.

    The command line prints it after `error: ` and exits with code 2; nothing below the command line prints.
    """
