"""Becomes a program that is handed listening sockets, in the manner of systemd.

python -I -S activate.py NAME=DESCRIPTOR,... PROGRAM [ARGUMENT...]
"""

import fcntl
import os
import sys

FIRST = 3


def main() -> None:
    given = [pair.rpartition("=") for pair in sys.argv[1].split(",") if pair]
    # All away from where they shall be, so that none is overwritten by another.
    moved = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, FIRST + len(given)) for _, _, number in given]
    for _, _, number in given:
        os.close(int(number))
    for position, descriptor in enumerate(moved):
        os.dup2(descriptor, FIRST + position)
    names = ":".join(name for name, _, _ in given)
    listen = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given)), "LISTEN_FDNAMES": names}
    os.execve(sys.argv[2], sys.argv[2:], os.environ | listen)  # noqa: S606 a list of arguments, and no shell


if __name__ == "__main__":
    main()
