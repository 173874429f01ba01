"""``python -m perf.bench``: all sections of the benchmark, one after the other, each in a process of its own.

A section that fails, or takes longer than its limit, is told and takes no other along; what it had found
stays. Results are written as they come, to ``results.json`` and ``report.html``; ``--only`` measures sections
again and leaves the others as they are (``memory``, ten minutes, is measured by that alone). Nothing else
should run on the machine; how busy it was before each section is kept.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import psutil

from perf import guard, hardware, report, table
from perf.findings import Findings, told
from perf.results import DONE, collect, findings_of, status_of
from perf.sections import APART, FULL, QUICK, Section
from perf.serving import CHECKOUT
from perf.setting import Setting

ANALYZER: Final = CHECKOUT / "out" / "tools" / "bin" / "perf_analyzer"
STOP_TIMEOUT_S: Final = 30.0
QUICK_SETTING: Final[Mapping[str, Any]] = {
    "window_s": 0.8, "seconds": 4.0, "warm_up_s": 1.0, "rounds": 2,
}  # fmt: skip
SOME_FAILED: Final = 1


@click.group(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_BENCH"})
def main() -> None:
    """Measure how fast adlens is, and why."""


@main.command("run")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out/bench"))
@click.option("--quick", is_flag=True, help="The few ratios that are held against the committed ones.")
@click.option("--only", multiple=True, help="Measure this section alone; several times.")
@click.option("--analyzer", type=click.Path(path_type=Path), default=ANALYZER, show_default="out/tools")
@click.option("--window", "window_s", type=float, help="Seconds of each of perf_analyzer's windows.")
@click.option("--seconds", type=float, help="Counted of each closed loop by callers in Python.")
@click.option("--warm-up", "warm_up_s", type=float, help="Seconds before that.")
@click.option("--rounds", type=click.IntRange(1), help="That ways take turns.")
@click.option("--memory-minutes", type=float, help="That `--only memory` watches.")
@click.option("--int8-profile", help="Name of the quantised configurations.")
@click.option("--cache-option", "cache_options", multiple=True, help="Of the server, that keeps answers.")
@click.option("--price-per-hour", type=float, help="Of this machine; tells what a million pictures cost.")
@click.option("--patience", type=float, default=1.0, help="Times the limits of sections, on slow machines.")
def run_command(
    out: Path,
    quick: bool,
    only: tuple[str, ...],
    analyzer: Path,
    price_per_hour: float | None,
    patience: float,
    **given: float | str | tuple[str, ...] | None,
) -> None:
    """Measure, and write results and report; exit status 1 if a section failed, or a ratio got worse."""
    sections = QUICK if quick else FULL
    if unknown := set(only) - set(sections):
        raise click.UsageError(f"--only {', '.join(sorted(unknown))}; there are {', '.join(sections)}")
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    values: dict[str, Any] = {**(QUICK_SETTING if quick else {}), **chosen}
    setting = Setting(out.resolve(), analyzer.resolve(), **values)
    setting.out.mkdir(parents=True, exist_ok=True)
    (setting.out / "setting.json").write_text(json.dumps(asdict(setting), default=str, indent=1))
    signal.signal(signal.SIGTERM, _exit)
    failed = []
    for name in only or [each for each in sections if each not in APART]:
        section = replace(sections[name], limit_s=patience * sections[name].limit_s)
        if not _run(name, section, setting, quick):
            failed.append(name)
        write(setting.out, sections, price_per_hour)
    _say(setting.out)
    worse = guard.tell(setting.out / "results.json") if quick else False
    if failed:
        click.echo(f"without all figures: {', '.join(failed)}", err=True)
    sys.exit(SOME_FAILED if failed or worse else 0)


@main.command("section", hidden=True)
@click.argument("name")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--quick", is_flag=True)
def section_command(name: str, out: Path, quick: bool) -> None:
    """Measure one section, in this process, by the setting in OUT."""
    given = json.loads((out / "setting.json").read_text())
    given |= {"cache_options": tuple(given["cache_options"])}
    setting = Setting(Path(given.pop("out")), Path(given.pop("binary")), **given)
    (QUICK if quick else FULL)[name].measure(setting, Findings(findings_of(out, name)))


@main.command("report")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--price-per-hour", type=float)
def report_command(out: Path, price_per_hour: float | None) -> None:
    """Write results and report anew from what the sections in OUT have found."""
    write(out, FULL, price_per_hour)
    _say(out)


def write(out: Path, sections: Mapping[str, Section], price_per_hour: float | None) -> None:
    """Results and report, as far as they have come."""
    results = {"machine": hardware.describe(), **collect(out, sections, price_per_hour)}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    try:
        (out / "report.html").write_text(report.page(results))
    except (
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # of what a section that was ended has left half done
        click.echo(f"no report: {error!r}", err=True)


def _run(name: str, section: Section, setting: Setting, quick: bool) -> bool:
    """Whether the section came to its end."""
    limit_s = section.limit_s + (60 * setting.memory_minutes if name == "memory" else 0)
    status: dict[str, Any] = hardware.moment()
    click.echo(f"{name} ...", err=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "perf.bench", "section", name, str(setting.out)]
    process = subprocess.Popen(
        [*command, *(["--quick"] if quick else [])],
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that all it starts ends with it
    )
    try:
        said = process.communicate(timeout=limit_s)[1]
        status["status"] = DONE if process.returncode == 0 else "failed"
        if process.returncode:
            status["error"] = told(said)
    except subprocess.TimeoutExpired:
        status |= {"status": "timed out", "error": f"not done within {limit_s:.0f} s"}
    finally:
        _end(process)
    status["seconds"] = round(time.monotonic() - began, 1)
    path = status_of(setting.out, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(status, indent=1))
    line = f"{name}: {status['status']} after {status['seconds']} s"
    click.echo(f"{line}; {status['error']}" if "error" in status else line, err=True)
    return bool(status["status"] == DONE)


def _exit(number: int, _: object) -> NoReturn:
    """Leave in order, or the section's server would go on."""
    sys.exit(128 + number)


def _end(process: subprocess.Popen[str]) -> None:
    """End what is left of a section's group of processes, servers in order if there is time."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_TIMEOUT_S
        if not _is_alive(process):
            break
        os.killpg(process.pid, number)
        while _is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.1)
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def _is_alive(process: subprocess.Popen[str]) -> bool:
    """Whether a process of the group still runs."""
    process.poll()
    for each in psutil.process_iter(["status"]):
        try:
            if os.getpgid(each.pid) == process.pid and each.info["status"] != psutil.STATUS_ZOMBIE:
                return True
        except ProcessLookupError:
            continue
    return False


def _say(out: Path) -> None:
    results = json.loads((out / "results.json").read_text())
    click.echo(table.targets(results))
    click.echo(f"{out / 'results.json'}, {out / 'report.html'}")


if __name__ == "__main__":
    main(prog_name="python -m perf.bench")
