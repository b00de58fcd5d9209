#!/usr/bin/env bash
# fuzz.sh TIME [i/n]: every fuzz target one after another, or the i-th of n shares.
set -euo pipefail
time=$1 share=${2:-1/1}
i=${share%/*} n=${share#*/}

mapfile -t packages < <(grep -rlE '^func Fuzz' --include='*_test.go' --exclude-dir=node_modules . | xargs -n1 dirname | sort -u)
# `go test -list` prints the targets of a package, then its closing line.
targets=$(go test -list '^Fuzz' "${packages[@]}" |
	awk '/^Fuzz/ { name[k++] = $1 } /^ok/ { for (j = 0; j < k; j++) print $2, name[j]; k = 0 }')
log=$(mktemp)
trap 'rm -f "$log"' EXIT
k=0 ran=0
while read -r pkg name; do
	if [ -z "$name" ] || [ $((k++ % n)) -ne $((i - 1)) ]; then continue; fi
	echo "fuzz $name ($pkg, $time)"
	ran=$((ran + 1))
	if go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$pkg" >"$log" 2>&1; then
		tail -n 2 "$log"
	elif grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then
		# The end of the time, reported as a failure by the go command: no input failed.
		tail -n 4 "$log"
		echo "fuzz $name: the time was over, no input failed"
	else
		cat "$log"
		exit 1
	fi
done <<<"$targets"
echo "fuzz: $ran of $k targets, none failed"
