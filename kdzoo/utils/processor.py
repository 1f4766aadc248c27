"""What the processor of this machine computes in hardware, as far as Linux says it."""

CPUINFO = "/proc/cpuinfo"


def x86_features() -> frozenset[str]:
    """Returns what an x86 processor can do, such as `"avx2"`; nothing on other machines.

    Windows and macOS do not say it, and neither does an ARM processor by these names.
    """
    return frozenset(_first_value("flags").split())


def x86_vendor() -> str:
    """Returns who made the processor, such as `"GenuineIntel"`; nothing on other machines."""
    return _first_value("vendor_id")


def _first_value(wanted: str) -> str:
    """Returns the value of a line of the first core, or an empty string."""
    try:
        with open(CPUINFO, errors="replace") as lines:
            for line in lines:  # No further: there is a paragraph for each of up to 1,000 cores.
                name, _, value = line.partition(":")
                if name.strip() == wanted:
                    return value.strip()
    except OSError:
        pass
    return ""
