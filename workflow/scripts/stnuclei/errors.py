"""`UserError`, the exception for every mistake of the user."""


class UserError(Exception):
    """Mistake in the input, with one clear sentence as its text.

    The text names the sample, the file or the column, says what is wrong and what to do. Whoever runs the
    package as a program prints it without a traceback.
    """
