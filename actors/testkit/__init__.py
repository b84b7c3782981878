"""Test kit: a manual clock, a dispatcher without an event loop, a probe, and a flaky link.

Everything here is deterministic: time moves when a test says so, turns run when a test says so,
and faults come from a seed, so that a failure can be run again.
"""

from actors.testkit.clock import ManualClock
from actors.testkit.dispatcher import SyncDispatcher
from actors.testkit.flaky import Faults, FlakyPair
from actors.testkit.probe import Probe, ProbeLog

__all__ = ["Faults", "FlakyPair", "ManualClock", "Probe", "ProbeLog", "SyncDispatcher"]
