"""The `signalbox` command: words on the command line → what `form`, `faults`, `doctor`, `slo` and `incidents` do.

Owns the conventions: results on standard output, progress on standard error, `--json` prints one document and nothing
else, exit 0 only when all is well, 1 when something failed, 2 for wrong use, 130 after Ctrl-C. Does no work itself.
"""

import errno
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.exceptions import TyperException

from stack import form
from stack.components import JAEGER, JOBS
from stack.display import Lines, build_countdown, build_display, component_table
from stack.errors import StackError, WrongUse
from stack.layout import LOOPBACK, Layout
from stack.state import StackState

if TYPE_CHECKING:
    from stack.faults import Answers

INTERRUPTED = 130
ROLLING = ("api", "payments", "worker")  # what a deploy replaces while it is used
SIBLINGS = {"slo": "slo.cli", "incident": "incidents.cli", "triage": "incidents.triage.cli"}  # command → its module
SINGLE = ("triage",)  # siblings that are one command, not a group of them
FOLLOW_S = 0.2
WORDS_OF_THE_FAILED = 5

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Service = Annotated[str | None, typer.Option(help="Only this service (api, worker, payments) or replica (api-1).")]


def up(
    clock: Annotated[
        float | None, typer.Option(help="Divide all SLO windows by this: minutes become seconds. [default: 1]")
    ] = None,
    replicas: Annotated[int | None, typer.Option(help="How many API processes. [default: 2]")] = None,
    as_form: Annotated[
        str | None,
        typer.Option("--form", help="native (processes) or compose (containers). [default: native]"),
    ] = None,
    attach: Annotated[bool, typer.Option("--attach", help="Stay; Ctrl-C takes the stack down.")] = False,
    as_json: Json = False,
) -> int:
    """Start the stack; on a running one, change its clock or replicas."""
    layout = Layout.from_environment()
    control = form.choose(layout, as_form)
    starter = f"{os.getpid()}-{time.time_ns()}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us is treated as Ctrl-C
    try:
        state = _bring_up(control, layout, clock, replicas, starter)
        _report(control, layout, state, as_json)
        if attach:
            _stay(control, layout)
    except KeyboardInterrupt:
        return _interrupted(control, layout, starter, attach)
    return 0 if state.ready else 1


def down(
    purge: Annotated[bool, typer.Option("--purge", help="Then delete its data, logs and passwords as well.")] = False,
    as_json: Json = False,
) -> int:
    """Stop everything that `up` started."""
    layout = Layout.from_environment()
    control = form.find(layout)
    with build_display(_notes(), control.current_state(layout)) as display:
        was_up = control.take_down(layout, display.show)
    if purge:
        control.purge(layout)
    _say("The stack is down." if was_up else "Nothing was running.")
    if as_json:
        _print_json({"stopped": was_up, "purged": purge})
    return 0


def restart(
    names: Annotated[
        list[str] | None, typer.Argument(help="Components or services. [default with --rolling: api payments worker]")
    ] = None,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="One after the other, each ready before the next.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Stop processes in order and start them again, with the code as it is now."""
    layout = Layout.from_environment()
    control, state = form.find(layout), _running(layout)
    if not names and not rolling:
        raise WrongUse("nothing to restart is named", "Name a component, or say --rolling")
    chosen = control.named(state, names or ROLLING)
    for batch in [[name] for name in chosen] if rolling else [chosen]:
        wish = control.restart(layout, batch)
        with build_display(_notes(), state) as display:
            state = control.follow(layout, wish, display.show)
        if any((part := state.named(name)) is None or part.state != "ready" for name in batch):
            _report(control, layout, state, as_json)
            return 1
    if as_json:
        _print_json({"restarted": chosen})
    else:
        _say(f"Restarted: {', '.join(chosen)}.")
    return 0


def status(as_json: Json = False) -> int:
    """Show how every component is. Exit code 0 only when all is ready."""
    layout = Layout.from_environment()
    state = form.find(layout).current_state(layout)
    if as_json:
        _print_json(state.document() if state else {"ready": False, "components": []})
    elif state is not None:
        _results().print(component_table(state.components))
    if state is None:
        _complain("the stack is not running. Start it with `signalbox up`")
        return 1
    return 0 if state.ready else 1


def urls(as_json: Json = False) -> int:
    """Show where each part answers."""
    state = _running(Layout.from_environment())
    if as_json:
        _print_json(state.urls)
    else:
        _results().print(_links(state))
    return 0


def logs(
    name: Annotated[str, typer.Argument(help="A component, or supervisor, migrate, seed.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines to begin with.")] = 50,
    as_json: Json = False,
) -> int:
    """Print the last lines of a component's log."""
    layout = Layout.from_environment()
    control = form.find(layout)
    if name not in (known := control.log_names(layout)):
        raise WrongUse(f"there is no log of {name!r}", f"There are {', '.join(known) or 'none: nothing ran yet'}")
    if not as_json:
        return control.print_log(layout, name, lines, follow=follow)
    if follow:
        raise WrongUse("--json is one document, and --follow has no end", "Leave one of the two out")
    _print_json({"name": name, "lines": control.last_lines(layout, name, lines)})
    return 0


def doctor(as_json: Json = False) -> int:
    """Look for what would keep the stack from running."""
    from stack.doctor import examine

    findings = examine(Layout.from_environment())
    if as_json:
        _print_json({"ok": all(f.verdict != "fail" for f in findings), "checks": [asdict(f) for f in findings]})
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("check", "", "finding"):
            table.add_column(heading, overflow="fold")
        styles = {"ok": "green", "warn": "yellow", "fail": "red"}
        for finding in findings:
            said = f"{finding.finding}. {finding.remedy}" if finding.remedy else finding.finding
            table.add_row(finding.check, Text(finding.verdict, style=styles[finding.verdict]), Text(said))
        _results().print(table)
    return 1 if any(finding.verdict == "fail" for finding in findings) else 0


def fault_list(service: Service = None, as_json: Json = False) -> int:
    """Show the faults that each process knows, and which are on."""
    from stack import faults

    return _print_faults(faults.list_faults(faults.faulty(_running(Layout.from_environment()), service)), as_json)


def fault_set(
    name: Annotated[str, typer.Argument(help="For example charge-errors; see `signalbox fault list`.")],
    percent: Annotated[
        float | None, typer.Option(help="Share of the occasions on which it strikes. [default: 100]")
    ] = None,
    ms: Annotated[int | None, typer.Option(help="Milliseconds, where the fault delays.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="Another parameter, as name=value.")] = None,
    for_s: Annotated[float | None, typer.Option("--for", help="Seconds after which it ends by itself.")] = None,
    service: Service = None,
    as_json: Json = False,
) -> int:
    """Switch a fault on in every process that knows it."""
    from stack import faults

    given = {"percent": percent, "ms": ms, "for_s": for_s}
    parameters = {name: value for name, value in given.items() if value is not None}
    parameters |= faults.parse_parameters(param or ())
    processes = faults.faulty(_running(Layout.from_environment()), service)
    return _print_faults(faults.set_fault(processes, name, parameters), as_json)


def fault_clear(
    name: Annotated[str | None, typer.Argument(help="Which fault; all of them when left out.")] = None,
    service: Service = None,
    as_json: Json = False,
) -> int:
    """Switch a fault off, or all of them."""
    from stack import faults

    return _print_faults(
        faults.clear_faults(faults.faulty(_running(Layout.from_environment()), service), name), as_json
    )


def jobs(context: typer.Context) -> int:
    """Look into the queue and put dead letters back: `python -m service jobs` in the stack's environment."""
    layout = Layout.from_environment()
    _running(layout)
    return form.find(layout).run_step(layout, JOBS, context.args)


def profile(
    service: Annotated[str, typer.Argument(help="api, worker or payments; or a replica, like api-2.")],
    seconds: Annotated[int, typer.Option(min=1, max=600, help="How long to look.")] = 10,
    replica: Annotated[int | None, typer.Option(help="Which replica of the API. [default: 1]")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write the SVG.")] = None,
    as_json: Json = False,
) -> int:
    """Write a flame graph of a live process, which runs on meanwhile."""
    from stack import profile as profiling

    target = profiling.find_target(_running(Layout.from_environment()), service, replica)
    file = (out or profiling.default_file(target)).absolute()
    with build_countdown(_notes(), f"Profiling {target.name} (process {target.pid})", seconds) as tick:
        found = profiling.record(target, seconds, file, tick=tick)
    if as_json:
        _print_json(asdict(found))
        return 0
    for frame, percent in found.hottest:
        _results().print(Text(f"{percent:5.1f} %  {frame}"))
    _results().print(Text(found.file), soft_wrap=True)
    if not found.samples:
        _say("The process did nothing meanwhile: the graph is empty.")
    return 0


def rollout(
    version: Annotated[str, typer.Argument(help="What the new version calls itself, like 1.4.0.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the new version.")
    ] = None,
    watch_s: Annotated[float, typer.Option("--watch", help="Watch the canary for so many seconds.")] = 60,
    patience_s: Annotated[
        float, typer.Option("--patience", help="Roll back when it cannot be told after so many seconds.")
    ] = 180,
    doubt: Annotated[float, typer.Option(help="Accepted chance of a wrong answer, on each side.")] = 0.05,
    exception: Annotated[str, typer.Option(metavar="NAME", help="Use an exception of the budget policy.")] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why the exception is used. It is written down.")] = "",
    slo: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this SLO decides; may be repeated.")
    ] = None,
    image: Annotated[str, typer.Option(help="Roll out this image in the cluster of kubectl's context instead.")] = "",
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Where in the cluster.")] = "signalbox",
    prometheus: Annotated[str, typer.Option(metavar="URL", help="The cluster's Prometheus.")] = "",
    as_json: Json = False,
) -> int:
    """Give the API a new version: one replica first, then all, or none if it does worse. 0: promoted. 1: it was not."""
    from stack.rollout import command

    how = (tuple(sets or ()), watch_s, patience_s, doubt, exception, reason, tuple(slo or ()))
    request = command.Request(version, *how, image, namespace, prometheus)
    layout = Layout.from_environment()
    document = command.carry_out(layout, lambda: _running(layout), request, _say)
    if as_json:
        _print_json(document)
    else:
        _results().print(Text(f"{document['outcome']}: {document['reason']}"), soft_wrap=True)
    return 0 if document["promoted"] else 1


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The command line. A sibling's commands are loaded only when they are called or help is asked for."""
    app = typer.Typer(
        name="signalbox",
        help="Run the stack, see how it is, switch faults, reproduce incidents.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for command in (up, down, restart, rollout, status, urls, logs, doctor, profile):
        app.command()(command)
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(context_settings=passed_on)(jobs)
    fault = typer.Typer(no_args_is_help=True, help="Switch faults of the running processes.", rich_markup_mode=None)
    fault.command("list")(fault_list)
    fault.command("set")(fault_set)
    fault.command("clear")(fault_clear)
    app.add_typer(fault, name="fault")
    called = next((word for word in arguments if not word.startswith("-")), None)
    for name, module in SIBLINGS.items():
        if called not in (name, None):
            continue
        try:
            app.add_typer(importlib.import_module(module).app, name=None if name in SINGLE else name)
        except Exception as error:  # its fault must not keep the other commands from working
            if called == name:
                raise StackError(f"`signalbox {name}` cannot be loaded: {error}", "Restore the checkout") from error
    return app


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; the exit code. Never raises for what a person or the machine did wrong."""
    try:
        app = build_app(arguments)
        return int(app(args=list(arguments), standalone_mode=False, obj=_surroundings()) or 0)
    except WrongUse as error:
        _complain(str(error))
        return 2
    except StackError as error:
        _complain(str(error))
        return 1
    except TyperException as error:
        if said := error.format_message():
            _complain(f"{said}{'' if said.endswith(('.', '?')) else '.'} See `signalbox --help`")
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; let Python close in peace
        return 1
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "Free some space, or set SIGNALBOX_STATE to a folder on another disk" if full else ""
        _complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}. {remedy}".rstrip(". "))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def main() -> None:
    """Entry point of the installed command."""
    sys.exit(run(sys.argv[1:]))


# up


def _bring_up(
    control: form.Form, layout: Layout, clock: float | None, replicas: int | None, starter: str
) -> StackState:
    """Bring the stack up and show how it comes. Returns when it is ready, or will not become so."""
    wish = control.bring_up(layout, clock, replicas, starter=starter)
    if wish.starter != starter:
        _say(f"The stack is up already; clock {wish.clock:g}, {wish.replicas} API replicas.")
    with build_display(_notes()) as display:
        return control.follow(layout, wish, display.show)


def _report(control: form.Form, layout: Layout, state: StackState, as_json: bool) -> None:
    """What came of it: the links, or which component is not ready, why, and what it said last."""
    if as_json:
        _print_json(state.document())
    else:
        _results().print(_links(state))
    for part in state.components:
        if part.state == "ready" or (part.state == "absent" and state.ready):
            continue
        _complain(f"{part.name} is {part.state}: {part.detail}")
        for line in control.last_lines(layout, part.name, WORDS_OF_THE_FAILED) if part.state == "failed" else ():
            _say(f"  {part.name} | {line}")


def _interrupted(control: form.Form, layout: Layout, starter: str, attach: bool) -> int:
    """After Ctrl-C: what this command started is ended, what it found running stays (unless it was to stay itself)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _say("Stopping …")
    if attach:
        control.take_down(layout)
        return 0
    if not control.take_back(layout, starter):
        _say("The stack was up before and stays up.")
    return INTERRUPTED


def _stay(control: form.Form, layout: Layout) -> None:
    """Show every change until the stack ends."""
    lines = Lines(_notes(), control.current_state(layout))
    while (state := control.current_state(layout)) is not None:
        lines.show(state)
        time.sleep(FOLLOW_S)


def _links(state: StackState) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, url in state.urls.items():
        part = state.named(name)
        table.add_row(name, url or f"({part.state if part else 'absent'})")
    return table


# what siblings are given


def _surroundings() -> dict[str, Any]:
    """Where the running stack is, and how to have one: all that a sibling's commands learn of it."""
    try:
        layout = Layout.from_environment()
        state = form.find(layout).current_state(layout)
    except (StackError, OSError):
        layout = state = None
    return {
        "endpoints": {name: url for name, url in state.urls.items() if url} if state else {},
        "receivers": {"jaeger": f"http://{LOOPBACK}:{layout.port(JAEGER.ports['jaeger-otlp-http'])}"} if layout else {},
        "clock": state.clock if state else 1.0,
        "ensure": _ensure,
    }


def _ensure(clock: float) -> dict[str, Any]:
    """Have the stack up at that clock. Returns its state document; raises StackError when it does not become ready."""
    layout = Layout.from_environment()
    control = form.choose(layout, None)
    state = control.current_state(layout)
    if state is None or not state.ready or state.clock != clock:
        state = _bring_up(control, layout, clock, None, starter="")
        if not state.ready:
            _report(control, layout, state, as_json=False)
            raise StackError("the stack is not ready", "See `signalbox status`")
    return asdict(state)


# printing


def _running(layout: Layout) -> StackState:
    state = form.find(layout).current_state(layout)
    if state is None:
        raise StackError("the stack is not running", "Start it with `signalbox up`")
    return state


def _print_faults(answers: "Answers", as_json: bool) -> int:
    for problem in answers.problems.values():
        _complain(str(problem))
    code = 1 if answers.problems else 0
    if as_json:
        problems = {process.name: problem.what for process, problem in answers.problems.items()}
        _print_json({"faults": answers.faults, "problems": problems})
        return code
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("process", "fault", "on", "parameters", "what it does"):
        table.add_column(heading, overflow="fold")
    for fault in answers.faults:
        parameters = " ".join(f"{key}={value}" for key, value in fault["parameters"].items())
        on = Text("on", style="red") if fault["active"] else Text("off", style="dim")
        table.add_row(fault["component"], fault["name"], on, Text(parameters), Text(fault["description"]))
    if answers.faults:
        _results().print(table)
    return code


def _results() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=240)  # a pipe has no width that a line would have to fit
    return console


def _notes() -> Console:
    return Console(stderr=True, highlight=False)


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def _say(text: str) -> None:
    _notes().print(Text(text), soft_wrap=True)


def _complain(text: str) -> None:
    """One line on standard error."""
    _say(f"signalbox: {' '.join(text.split()).rstrip('.')}.")
