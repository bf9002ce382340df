"""Starts the spawner: `python -I -S appliance/spawner --folder DIR`, from wherever the package lies."""

import sys


def main() -> None:
    """Find the package, which the isolated interpreter does not, and run."""
    if len(sys.argv) != 3 or sys.argv[1] != "--folder":
        raise SystemExit("usage: spawner --folder DIR")
    # Behind the standard library, so that nothing beside the package stands in for a part of that.
    sys.path.append(__file__.rsplit("/", 3)[0])
    from appliance.spawner.start import serve

    serve(sys.argv[2])


if __name__ == "__main__":
    main()
