#!/usr/bin/env bash
# Whether a crate's tests notice changes: a seeded sample of the changes that cargo-mutants would make, each tried with the
# tests of that crate alone.
#
#   tools/mutants.sh sam3-package 20 1      20 mutants, drawn with seed 1
#
# Run again, it goes on where it stopped. The verdicts are appended to ${XDG_CACHE_HOME:-~/.cache}/sam3-ci/mutants/CRATE-SEED.txt;
# tools/mutants/CRATE.txt keeps the mutants that may survive, with the reason. Exits with 1 where another one survived.
#
# Needs `cargo install cargo-mutants --locked`. A mutant of sam3-package takes half a minute on two cores.
set -euo pipefail

crate=$1 count=$2 seed=$3
cd "$(dirname "$0")/.."
allowed=tools/mutants/$crate.txt
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sam3-ci/mutants
tried=$cache/$crate-$seed.txt
mkdir -p "$cache"
touch "$tried"

# The same bytes for the same seed, which `shuf` draws by.
randomness() {
    openssl enc -aes-256-ctr -pass "pass:$1" -nosalt -pbkdf2 </dev/zero 2>/dev/null
}

# A mutant is known by its file and what it changes: its line moves with the code above it.
name() {
    sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /'
}

cargo mutants --list --package "$crate" >"$cache/all"
total=$(wc -l <"$cache/all")
seq 0 $((total - 1)) | paste - "$cache/all" | shuf -n "$count" --random-source=<(randomness "$seed") >"$cache/drawn"
while IFS=$'\t' read -r index mutant <&3; do
    if cut -f 2 "$tried" | grep -qxF "$(name <<<"$mutant")"; then
        continue
    fi
    # One at a time, so that what was tried is never lost. The tests as they are were seen to pass.
    cargo mutants --package "$crate" --shard "$index/$total" --baseline skip --timeout 300 \
        --output "$cache" -- --lib --tests >"$cache/log" 2>&1 || true
    verdict=
    for kind in caught missed timeout unviable; do
        [ ! -s "$cache/mutants.out/$kind.txt" ] || verdict=$kind
    done
    [ -n "$verdict" ] || { cat "$cache/log" && exit 1; }
    printf '%s\t%s\n' "$verdict" "$(name <<<"$mutant")" | tee -a "$tried"
done 3<"$cache/drawn"

sort "$tried" | cut -f 1 | uniq -c
survivors=$(grep -P '^missed\t' "$tried" | cut -f 2 | { grep -vxFf <(sed -n 's/^\(crates[^\t]*\).*/\1/p' "$allowed" 2>/dev/null) || true; })
if [ -n "$survivors" ]; then
    printf 'survived, and is not in %s:\n%s\n' "$allowed" "$survivors"
    exit 1
fi
