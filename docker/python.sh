#!/bin/sh
# Copies Python itself, without what only developers use, below a new root: python.sh ROOT PATH...
# Further paths go along. Works for Debian's Python in /usr and for the official images' in /usr/local.
set -eu

root=$1
shift

python=$(command -v python3)
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
zones=/usr/share/zoneinfo
[ -d "$zones" ] || zones=

# What is pruned goes before the libraries that it would need are looked for.
mkdir -p "$root$(dirname "$library")"
cp -a "$library" "$root$library"
for unused in test tests idlelib tkinter turtledemo turtle.py lib2to3 ensurepip pydoc_data distutils venv unittest/test \
    site-packages dist-packages ctypes/test sqlite3/test curses dbm; do
    rm -rf "${root:?}$library/$unused"
done
for unused in _test _tkinter _curses _dbm _gdbm nis readline ossaudiodev; do
    rm -f "$root$library/lib-dynload/$unused"*
done
rm -rf "$root$library"/config-*
find "$root" -name __pycache__ -type d -prune -exec rm -rf {} +

sh "$(dirname "$0")/closure.sh" "$root" "$python" ${zones:+"$zones"} "$@"
# Compiled once and for all: the file system of a container is read-only. By content, so that it comes out the same.
# Python's own modules run without their sources, which are half of them; packages and the program keep theirs.
python3 -m compileall -q -b -j 0 --invalidation-mode unchecked-hash -s "$root" "$root$library"
find "$root$library" -name '*.py' -delete
