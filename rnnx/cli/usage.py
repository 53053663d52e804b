"""What was typed wrong: exit status 2, as for the errors that Typer finds itself."""

from rnnx.errors import OptionError


class UsageError(OptionError):
    """An argument or option of a command that means nothing."""
