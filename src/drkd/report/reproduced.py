"""A reproduction on the console: measured beside published, and what differs."""

from rich.console import Console
from rich.table import Table

from drkd.studies.reproduction import Gain, Measured, Reproduction
from drkd.studies.statistics import mean_and_deviation


def print_reproduction(done: Reproduction, console: Console) -> None:
    """Print the table, the gain over the baseline, every deviation, and where the numbers are kept.

    Neither a difference to a published figure nor a published gain is printed where they mean nothing.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "recipe", "published %", "measured %", "difference", "seeds"):
        table.add_column(heading, justify="left" if heading in ("", "recipe") else "right")
    for line in done.lines:
        table.add_row(line.role, line.recipe, _published(line), *_measured(line, comparable=done.comparable))
    console.print(table)
    if done.gain is not None and done.gain.mean is not None:
        whole = done.gain.ci95 is not None and not done.failures  # one seed is no result, nor are those that remain
        gain = _describe_gain(done.gain, comparable=done.comparable and whole)
        console.print(f"gain over the baseline, paired by seed: {gain}", highlight=False)
    if not done.comparable:
        reasons = "; ".join(done.incomparable)
        console.print(f"not comparable with the published figures: {reasons}", highlight=False, soft_wrap=True)
    console.print("deviations from the published experiment:")
    for deviation in done.deviations:
        console.print(f"  - {deviation}", highlight=False, soft_wrap=True)
    if any(line.from_earlier_runs for line in done.lines):
        taken = ", ".join(line.role for line in done.lines if line.from_earlier_runs)
        console.print(f"reused from earlier runs with the same configuration: {taken}", highlight=False)
    console.print(f"kept in {done.file}", highlight=False, soft_wrap=True)


def _published(line: Measured) -> str:
    if line.published is None:
        return "-"
    return f"{line.published:.2f}" if line.spread is None else f"{line.published:.2f} ± {line.spread:.2f}"


def _measured(line: Measured, *, comparable: bool) -> tuple[str, str, str]:
    """Measured, difference to published, number of seeds."""
    known = [accuracy for accuracy in line.accuracies if accuracy is not None]
    if not known:
        return "-", "-", "0"
    mean, deviation = mean_and_deviation(known)
    measured = f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"
    failed = len(line.accuracies) - len(known)
    if failed:  # those that remain are no random choice
        return measured, "-", f"{len(known)} ({failed} failed)"
    difference = f"{mean - line.published:+.2f}" if comparable and line.published is not None else "-"
    return measured, difference, str(len(known))


def _describe_gain(gain: Gain, *, comparable: bool) -> str:
    text = f"{gain.mean:+.2f} points"
    if gain.ci95 is not None:
        text += f", 95% interval {gain.ci95[0]:+.2f} to {gain.ci95[1]:+.2f}"
    else:
        text += ", no interval"
    if not comparable:
        return text
    published = "no figure" if gain.published is None else f"{gain.published:+.2f}"
    return f"{text} (published: {published})"
