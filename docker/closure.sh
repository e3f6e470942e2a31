#!/bin/sh
# Copies files and folders, and every shared library that they need, below a new root: closure.sh ROOT PATH...
# The last stage of an image is then made of what runs and nothing else: no shell, no package manager, no compiler.
set -eu

root=$1
shift

for path in "$@"; do
    mkdir -p "$root$(dirname "$path")"
    if [ -d "$path" ]; then
        cp -a "$path" "$root$(dirname "$path")/"
    else
        cp -L "$path" "$root$path"
    fi
done

find "$root" -type f \( -name '*.so' -o -name '*.so.*' -o -perm -u+x \) -exec ldd {} + 2>/dev/null |
    sed -n 's/.* => \(\/[^ ]*\) (.*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' |
    sort -u |
    while read -r library; do
        case $library in
        "$root"/*) ;;  # a package brought it along
        *)
            mkdir -p "$root$(dirname "$library")"
            [ -e "$root$library" ] || cp -L "$library" "$root$library"
            ;;
        esac
    done

# The one user that everything runs as; Kubernetes checks its number against `runAsNonRoot`.
mkdir -p "$root/etc"
echo 'burger:x:10001:10001:burger:/nonexistent:/nonexistent' >"$root/etc/passwd"
echo 'burger:x:10001:' >"$root/etc/group"
mkdir -p -m 1777 "$root/tmp"
