#!/bin/sh
# Installs the program beside this script, its man pages and completions:
#
#   ./install.sh                  into /usr/local, for which it may take sudo
#   ./install.sh PREFIX           for example ~/.local
#
# DESTDIR is put before the prefix, for those who make packages. Nothing is fetched, and nothing else is changed.
set -eu

case ${1:-} in
-*)
    echo "usage: $0 [PREFIX], which is /usr/local otherwise" >&2
    exit 2
    ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
prefix=${DESTDIR:-}${1:-/usr/local}

put() { # the mode, the file, the name below the prefix
    mkdir -p "$prefix/$(dirname "$3")"
    # Beside it first: the program of that name may be running.
    cp "$here/$2" "$prefix/$3.new"
    chmod "$1" "$prefix/$3.new"
    mv -f "$prefix/$3.new" "$prefix/$3"
}

for page in "$here"/man/*.1; do
    put 644 "man/${page##*/}" "share/man/man1/${page##*/}"
done
put 644 completions/sam3.bash share/bash-completion/completions/sam3
put 644 completions/_sam3 share/zsh/site-functions/_sam3
put 644 completions/sam3.fish share/fish/vendor_completions.d/sam3.fish
for document in LICENSE-program.txt README.md; do
    put 644 "$document" "share/doc/sam3/$document"
done
put 755 sam3 bin/sam3
echo "installed $prefix/bin/sam3"
