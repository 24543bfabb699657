"""What the commands print in common."""

from typing import Any

from rich.console import Console


def console() -> Console:
    """As wide as the terminal; wide enough for the tables where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=160)


def metrics(measured: dict[str, Any]) -> str:
    """Accuracy and what goes with it, in a line; of a detector mAP, and a line for each class."""
    if "map" in measured:
        rows = {"all classes": measured, **measured["per_class"]}
        return "\n".join(f"{name}: {_of_detector(row)}" for name, row in rows.items())
    return (
        f"accuracy {100 * measured['accuracy']:.2f}%, NLL {measured['nll']:.4f}, "
        f"ECE {100 * measured['ece']:.2f}%, AURC {1000 * measured['aurc']:.2f}e-3"
    )


def _of_detector(row: dict[str, Any]) -> str:
    boxes = f" ({row['boxes']} boxes)" if "boxes" in row else ""
    return f"mAP {100 * row['map']:.2f}%, mAP50 {100 * row['map50']:.2f}%, AR {100 * row['ar']:.2f}%{boxes}"


def print_row(method: str, row: dict[str, float]) -> None:
    """An epoch of one training."""
    parts = ", ".join(
        f"{name} {value:.4f}"
        for name, value in row.items()
        if name not in ("epoch", "lr") and not name.startswith("val_")
    )
    shown = {"val_accuracy": "accuracy", "val_map": "mAP", "val_map50": "mAP50"}
    validation = "".join(f", validation {word} {100 * row[name]:.2f}%" for name, word in shown.items() if name in row)
    print(f"{method} epoch {row['epoch']:.0f}: {parts}{validation}", flush=True)


def print_summary(summary: dict[str, Any]) -> None:
    """What a training came to."""
    print(f"{summary['method']}, seed {summary['seed']}: test {metrics(summary['test'])}")
    select = summary.get("select", "best" if summary["val"] else "last")
    chosen = "chosen on validation" if select == "best" else "the last one"
    print(f"epoch {summary['best_epoch']} of {summary['epochs']} (from 0), {chosen}")
    if summary["teacher"] and summary["teacher_train_accuracy"] is None:
        print(f"teacher's mAP50 on the training data: {100 * summary['teacher_train_map50']:.2f}%")
    elif summary["teacher"]:
        print(f"teacher's accuracy on the training data: {100 * summary['teacher_train_accuracy']:.2f}%")
    if summary["rectified_fraction_per_epoch"]:
        fractions = summary["rectified_fraction_per_epoch"]
        print(
            f"rectified targets: {100 * fractions[0]:.1f}% in the first epoch, {100 * fractions[-1]:.1f}% in the last"
        )
    for note in summary["notes"]:
        print(f"note: {note}")
    print("One seed is no comparison: `drkd compare` runs several, paired.")
