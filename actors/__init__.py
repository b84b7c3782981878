"""Actors: an actor runtime with the contract of pykka and the supervision of OTP."""

from actors.actor import Actor, BlockingActor
from actors.ask import ReplyTo
from actors.behaviour.pipe import Piped
from actors.behaviour.receive_timeout import ReceiveTimeout
from actors.behaviour.timers import Timers
from actors.clock import Clock, SystemClock
from actors.counters import Counters, TurnCounters
from actors.dispatch.cooperative import CooperativeDispatcher
from actors.dispatch.dispatcher import Dispatcher
from actors.dispatch.threads import PinnedDispatcher, PoolDispatcher
from actors.entities.address import Entity, EntityRef
from actors.entities.cluster import CoordinatorNode, EntityNode
from actors.entities.entities import Entities
from actors.entities.handoff import HandoffOptions
from actors.entities.options import EntityCounters, EntityOptions
from actors.entities.sharded import ShardedEntities
from actors.errors import (
    ActorError,
    AskCycle,
    AskFromLoop,
    AskTimeout,
    ChildError,
    EntityUnavailable,
    FrameError,
    HandlerCancelled,
    LinkFull,
    LinkRefused,
    MailboxFull,
    NoLoop,
    StartFailed,
    StashFull,
    SupervisorFailed,
    SystemStopped,
    WordGarbled,
)
from actors.events import DeadLetter, DeadLetters, Event, EventStream
from actors.future import Future
from actors.introspection import ActorInfo, TreeNode, dump_on_signal
from actors.links.endpoint import LinkClient, LinkServer
from actors.links.hello import Identity, Window
from actors.links.link import Link
from actors.mailbox.spec import MailboxSpec
from actors.processes.control import ControlChannel
from actors.processes.spec import ProcessCounters, ProcessInfo, ProcessSpec
from actors.processes.supervisor import ProcessSupervisor
from actors.ref import ActorRef
from actors.supervision.commands import SupervisorRef
from actors.supervision.restart import RestartPolicy, RestartTracker
from actors.supervision.spec import ChildInfo, ChildSpec, SupervisorSpec
from actors.supervision.supervisor import Supervisor
from actors.system import ActorSystem, default_system
from actors.watch import Subscription, Terminated

__all__ = [
    "Actor",
    "ActorError",
    "ActorInfo",
    "ActorRef",
    "ActorSystem",
    "AskCycle",
    "AskFromLoop",
    "AskTimeout",
    "BlockingActor",
    "ChildError",
    "ChildInfo",
    "ChildSpec",
    "Clock",
    "ControlChannel",
    "CooperativeDispatcher",
    "CoordinatorNode",
    "Counters",
    "DeadLetter",
    "DeadLetters",
    "Dispatcher",
    "Entities",
    "Entity",
    "EntityCounters",
    "EntityNode",
    "EntityOptions",
    "EntityRef",
    "EntityUnavailable",
    "Event",
    "EventStream",
    "FrameError",
    "Future",
    "HandlerCancelled",
    "HandoffOptions",
    "Identity",
    "Link",
    "LinkClient",
    "LinkFull",
    "LinkRefused",
    "LinkServer",
    "MailboxFull",
    "MailboxSpec",
    "NoLoop",
    "PinnedDispatcher",
    "Piped",
    "PoolDispatcher",
    "ProcessCounters",
    "ProcessInfo",
    "ProcessSpec",
    "ProcessSupervisor",
    "ReceiveTimeout",
    "ReplyTo",
    "RestartPolicy",
    "RestartTracker",
    "ShardedEntities",
    "StartFailed",
    "StashFull",
    "Subscription",
    "Supervisor",
    "SupervisorFailed",
    "SupervisorRef",
    "SupervisorSpec",
    "SystemClock",
    "SystemStopped",
    "Terminated",
    "Timers",
    "TreeNode",
    "TurnCounters",
    "Window",
    "WordGarbled",
    "default_system",
    "dump_on_signal",
]
