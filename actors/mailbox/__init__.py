"""Mailboxes: what waits for an actor, in which order, and what happens when there is no room."""

from actors.mailbox.spec import MailboxSpec, StopFlag

__all__ = ["MailboxSpec", "StopFlag"]
