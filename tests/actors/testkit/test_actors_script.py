"""Laws of scripted histories of supervisors."""

from __future__ import annotations

from typing import Any

import pytest

from actors import Actor, ChildSpec, Supervisor, SupervisorSpec
from actors.testkit.script import ScriptedFailure, ScriptFailed, SupervisorScript, scripted_children


def script(names: str = "a b c", **options: Any) -> SupervisorScript:
    children = options.pop("children", None) or scripted_children(names)
    options.setdefault("intensity", 10)
    return SupervisorScript(SupervisorSpec(children=children, **options))


def test_a_history_of_each_strategy() -> None:
    """The same failure, by strategy."""
    script(strategy="one_for_one").run("expect +a +b +c\nfail b\nexpect !b +b\nrunning a b c")
    script(strategy="one_for_all").run("expect +a +b +c\nfail b\nexpect !b -c -a +a +b +c")
    script(strategy="rest_for_one").run("expect +a +b +c\nfail b\nexpect !b -c +b +c")


def test_the_steps() -> None:
    """Failing, ending, killing, bad starts, stopping, starting and waiting."""
    children = (
        *scripted_children("p", min_backoff_s=2.0),
        *scripted_children("t", restart="transient"),
        *scripted_children("x", restart="temporary"),
    )
    script(children=children).run(
        """
        expect +p +t +x
        exit t              # a normal end of a transient child
        expect -t
        running p x
        start t
        expect +t
        fail x
        expect !x
        running p t
        fail p
        expect !p
        running t
        wait 1.9
        expect
        wait 0.1
        expect +p
        kill p
        wait 4
        expect +p
        stop t
        expect -t
        bad p 1
        fail p
        wait 8
        expect !p ?p
        wait 10
        expect +p
        running p
        """
    )


def test_giving_up() -> None:
    """One failure more than the intensity allows: the rest stops in reverse order."""
    script(intensity=1, period_s=5).run(
        """
        expect +a +b +c
        fail a
        wait 5.1
        fail a
        expect !a +a !a +a
        fail b
        expect !b -c -a
        gave up
        running
        """
    )


def test_a_spec_of_ones_own_with_nested_supervisors() -> None:
    """Real classes are replaced by stand-ins, at every depth."""

    class Real(Actor):
        def __init__(self, needs: object) -> None:
            raise AssertionError("not to be made")

    inner = SupervisorSpec(
        strategy="one_for_all",
        intensity=1,
        children=[ChildSpec(id=name, actor=Real, args=(1,)) for name in ("b", "c")],
    )
    spec = SupervisorSpec(
        children=[
            ChildSpec(id="a", actor=Real, kwargs={"needs": 1}),
            ChildSpec(id="in", actor=Supervisor, args=(inner,), shutdown_s=None),
        ]
    )
    history = SupervisorScript(spec)
    history.run(
        """
        running a in/b in/c
        expect +a +in/b +in/c
        fail in/b
        expect !in/b -in/c +in/b +in/c
        fail in/c           # the inner one gives up, the outer one starts it again
        expect !in/c -in/b +in/b +in/c
        stop in/b
        expect -in/b
        running a in/c
        """
    )
    assert history.history[:2] == ["  +a +in/b +in/c", "fail in/b"]


def test_an_error_of_ones_own_meets_directives() -> None:
    """``fail`` may raise what the directives of a child are about."""
    children = scripted_children("a", directives={KeyError: "resume", ScriptedFailure: "stop"})
    history = script(children=children)
    history.expect("+a")
    history.fail("a", KeyError("x"))
    history.expect_running("a")
    history.fail("a")
    history.expect_running()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("fail b\nexpect +a", r"expect: \+a was meant, \+a \+b \+c !b \+b came at 0 s"),
        ("running a", "running: a was meant, a b c came"),
        ("gave up", "it supervises"),
        ("stop b\nfail b", "b does not run"),
        ("fail d", "d does not run"),
        ("stop d", "not_found"),
        ("stop x/y", "no supervisor x"),
        ("stop a\nwait 1\nexpect", r"fail|expect: nothing was meant, \+a \+b \+c -a came at 1 s"),
    ],
)
def test_what_does_not_come_out_tells_the_history(steps: str, said: str) -> None:
    """A failed step says what was meant, what came, and how it came to that."""
    with pytest.raises(ScriptFailed, match=said) as caught:
        script().run(steps)
    if "\n" in steps:
        assert steps.splitlines()[0] in str(caught.value)


@pytest.mark.parametrize("line", ["explode b", "fail", "wait long", "bad b"])
def test_what_is_no_step_is_refused(line: str) -> None:
    """A line that is no step is named."""
    with pytest.raises(ValueError, match=r"line 2: .* is no step"):
        script().run("expect +a +b +c\n" + line)
