"""``linkpeek doctor``: look at everything the service needs, and say what to do."""

import click

from linkpeek import doctor as examination
from linkpeek.cli.options import config_argument
from linkpeek.resources import Resources

MARKS = {"ok": ("ok", "green"), "warning": ("!!", "yellow"), "problem": ("XX", "red")}


@click.command()
@config_argument
def doctor(resources: Resources) -> None:
    """Check browser, sandbox, fonts, storage, database, broker and clock; say what to do.

    Exits with 1 when something is wrong that keeps the service from working.
    """
    findings = []
    for finding in examination.examine(resources):
        findings.append(finding)
        mark, color = MARKS[finding.level]
        click.echo(f"{click.style(mark, fg=color)}  {finding.name}: {finding.text}")
        if finding.advice:
            click.echo(f"    -> {finding.advice}")
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)
