"""What a reader of a message says when it cannot be read."""


class ContractError(ValueError):
    """A record breaks its contract: it can never be processed and belongs in the dead-letter topic.

    `type` is one stable word for filters and metrics; the message says what is wrong, where, and what was expected.
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
