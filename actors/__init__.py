"""Actors: an actor runtime with the contract of pykka and the supervision of OTP."""

from actors.actor import Actor, ActorRef
from actors.clock import Clock, SystemClock
from actors.dispatch.cooperative import CooperativeDispatcher, Dispatcher
from actors.errors import (
    ActorError,
    AskFromLoop,
    FrameError,
    HandlerCancelled,
    LinkFull,
    LinkRefused,
    MailboxFull,
    SystemStopped,
)
from actors.events import DeadLetter, DeadLetters, Event, EventStream
from actors.links.endpoint import LinkClient, LinkServer
from actors.links.link import Identity, Link, Window
from actors.mailbox import MailboxSpec
from actors.processes.control import ControlChannel
from actors.processes.supervisor import ProcessInfo, ProcessSpec, ProcessSupervisor, StartFailed
from actors.restart import RestartPolicy, RestartTracker
from actors.system import ActorSystem

__all__ = [
    "Actor",
    "ActorError",
    "ActorRef",
    "ActorSystem",
    "AskFromLoop",
    "Clock",
    "ControlChannel",
    "CooperativeDispatcher",
    "DeadLetter",
    "DeadLetters",
    "Dispatcher",
    "Event",
    "EventStream",
    "FrameError",
    "HandlerCancelled",
    "Identity",
    "Link",
    "LinkClient",
    "LinkFull",
    "LinkRefused",
    "LinkServer",
    "MailboxFull",
    "MailboxSpec",
    "ProcessInfo",
    "ProcessSpec",
    "ProcessSupervisor",
    "RestartPolicy",
    "RestartTracker",
    "StartFailed",
    "SystemClock",
    "SystemStopped",
    "Window",
]
