"""Test kit: clock, dispatcher, probe, scripts of supervisors, flaky links, and fault points.

Time moves when a test says so, turns run when a test says so, and faults come from a seed, so that
a failure can be run again.
"""

from actors.testkit.clock import ManualClock
from actors.testkit.dispatcher import SyncDispatcher
from actors.testkit.faults import FaultPlan, FaultRule, armed
from actors.testkit.flaky import Faults, FlakyPair
from actors.testkit.probe import Probe, ProbeLog
from actors.testkit.proxy import FlakyProxy
from actors.testkit.script import ScriptedFailure, ScriptFailed, SupervisorScript, scripted_children

__all__ = [
    "FaultPlan",
    "FaultRule",
    "Faults",
    "FlakyPair",
    "FlakyProxy",
    "ManualClock",
    "Probe",
    "ProbeLog",
    "ScriptFailed",
    "ScriptedFailure",
    "SupervisorScript",
    "SyncDispatcher",
    "armed",
    "scripted_children",
]
