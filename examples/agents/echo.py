"""The smallest Python agent: it says what it heard."""

from caxton import Agent, Message


class Echo(Agent):
    """Answers every message with its own text."""

    def handle(self, message: Message, context: object) -> str:
        """What is returned is sent back as an INFORM."""
        return message.text
