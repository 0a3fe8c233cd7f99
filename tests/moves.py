"""What stands in for a stage whose progress a test asks for."""

from contextlib import contextmanager


class Moves:
    """Keeps what it is told, and shows nothing."""

    def __init__(self):
        self.titles, self.moved, self.said = [], [], []

    @contextmanager
    def __call__(self, title, total):
        self.titles.append((title, total))
        yield self

    def move(self, amount):
        self.moved.append(amount)

    def say(self, text):
        self.said.append(text)
