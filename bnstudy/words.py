"""How numbers are written in sentences."""


def counted(n: int, what: str) -> str:
    """Return a number of things: 1 seed, 2 seeds."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def clock(seconds: float) -> str:
    """Return a duration as 0:42 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Return a duration in one unit, no finer than it is known: 40 seconds, 3 minutes, 1.5 hours."""
    if seconds < 100:
        return counted(round(seconds), "second")
    if seconds < 100 * 60:
        return counted(round(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"
