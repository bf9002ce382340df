"""Sizes for people."""


def size(size_bytes: float) -> str:
    """A number of bytes in the unit that suits it: 512 B, 4.2 KiB, 1.5 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.3g} GiB" if size_bytes < 1000 else f"{size_bytes:.0f} GiB"
