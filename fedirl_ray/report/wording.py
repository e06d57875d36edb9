"""Numbers, counts and names as every table, page and picture writes them."""


def counted(count: int, noun: str) -> str:
    """A number of things: 1 seed, 2 seeds."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def signed(value: float, digits: int) -> str:
    """A difference; what rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


def plain(value: float, digits: int) -> str:
    """A number; what rounds to zero has no sign."""
    text = f"{value:.{digits}f}"
    return text if float(text) else text.lstrip("-")


def printable(text: str) -> str:
    """A text whose control characters (colours of a terminal, say) are written out.

    Line ends and tabs stay.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def in_markdown(text: str) -> str:
    """A name or value of a user's, on one line, that Markdown shows as it is."""
    line = printable(" ".join(text.split()))
    return "".join(f"\\{c}" if c in r"\`*_[]|<&" else c for c in line)
