"""The one exception a user's mistake ends in."""


class UserError(Exception):
    """A mistake in the user's input, told in one clear sentence.

    The text names the sample, the file or the column, says what is wrong and what to do. Whoever runs the
    package as a program prints it without a traceback.
    """
