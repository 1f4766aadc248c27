"""The limits that kdzoo is held to, and the tables: what is made of the measured seconds."""

import os
import platform
import statistics
import sys

import rich.table
import shared_work as sw

STEP_LIMIT = 1.08
EVALUATE_LIMIT = 1.05
MEMORY_LIMIT = 1.0
KERAS_SPEEDUP = 3.0
PYTORCH_SPEEDUP = 1.1


def ratio(ours, theirs):
    """Median and quartiles of the ratio of two lists of seconds, round by round."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    quartiles = statistics.quantiles(ratios, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {"median": statistics.median(ratios), "quartiles": [quartiles[0], quartiles[2]]}


def summary(work, times, name):
    """Returns a contender's figures.

    Args:
        work: The `Work`.
        times: Name -> seconds of a step, by round.
        name: The contender's name.
    """
    return {
        "step_seconds": times[name],
        "images_per_second": work.batch / statistics.median(times[name]),
        "to_floor": ratio(times[name], times["floor"]),
        "to_kdzoo": ratio(times[name], times["kdzoo"]),
    }


def targets(row):
    """Holds a measured row against the targets.

    Args:
        row: What `measuring.measure` returns.

    Returns:
        A list of dictionaries: `target`, `measured`, `limit`, `at_most` and `met`.
    """
    contenders = row["contenders"]
    ours = contenders["kdzoo"]
    memory = ours["peak_memory_bytes"] / contenders["keras.distillation"]["peak_memory_bytes"]
    evaluate = row["evaluate"]["ratio"]["median"]
    found = [
        ("step / floor", ours["to_floor"]["median"], STEP_LIMIT, True),
        ("memory / keras.distillation", memory, MEMORY_LIMIT, True),
        ("evaluate / student's own", evaluate, EVALUATE_LIMIT, True),
    ]
    if row["work"]["taps"] and row["work"]["dtype"] == "mixed_bfloat16":
        for name, limit in (("keras.distillation", KERAS_SPEEDUP), ("pytorch", PYTORCH_SPEEDUP)):
            if name in contenders:
                speedup = contenders[name]["to_kdzoo"]["median"]
                found.append((f"speed / {name}", speedup, limit, False))
    return [
        {
            "target": target,
            "measured": value,
            "limit": limit,
            "at_most": at_most,
            "met": value <= limit if at_most else value >= limit,
        }
        for target, value, limit, at_most in found
    ]


def table(row):
    """Returns a measured row as a rich table, its targets below."""
    shown = rich.table.Table(title=row["label"], title_justify="left", title_style="bold")
    for column in ("", "images/s", "time / floor (quartiles)", "kdzoo is faster", "peak MiB"):
        shown.add_column(column, justify="right" if column else "left")
    for name, found in row["contenders"].items():
        low, high = found["to_floor"]["quartiles"]
        shown.add_row(
            name,
            f"{found['images_per_second']:.1f}",
            f"{found['to_floor']['median']:.3f} ({low:.3f}–{high:.3f})",
            "" if name == "kdzoo" else f"{found['to_kdzoo']['median']:.2f}×",
            f"{found['peak_memory_bytes'] / 2**20:.0f}",
        )
    shown.add_section()
    for target in row["targets"]:
        verdict = "[green]met[/]" if target["met"] else "[red]missed[/]"
        sign = "≤" if target["at_most"] else "≥"
        limit = f"target {sign} {target['limit']:.2f}"
        shown.add_row(target["target"], "", f"{target['measured']:.3f}", limit, verdict)
    return shown


def machine():
    """Returns what the figures depend on besides the code."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            model = next((x.split(":")[1].strip() for x in lines if "model name" in x), model)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {"cpu": model, "threads": sw.threads(), "load": load, "python": sys.version.split()[0]}
