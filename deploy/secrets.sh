#!/bin/sh
# Makes what is secret, once: every file that is there stays as it is.
#
#   deploy/secrets.sh [NAME or ADDRESS of the front]…
#
# The hosts are for the certificate; without any it is this machine's name and
# addresses. HADIR_SECRETS is the folder (./secrets), HADIR the program
# (bin/hadir, else the image HADIR_IMAGE).
#
# Only its owner can enter the folder. The files in it can be read by everybody,
# because a container sees them alone, without the folder, and its user is
# another one. The key of the authority is the exception: no container gets it.
set -eu
cd "$(dirname "$0")/.."
dir=${HADIR_SECRETS:-secrets}
umask 077
mkdir -p "$dir"
chmod 700 "$dir"
dir=$(cd "$dir" && pwd)

# hadir runs the program in the folder.
hadir() {
    program=${HADIR:-$PWD/bin/hadir}
    if [ -x "$program" ]; then
        (cd "$dir" && "$program" "$@")
    else
        docker image inspect "${HADIR_IMAGE:-hadir:dev}" >/dev/null 2>&1 || { echo "secrets: make the program or the image first: make build, or make docker" >&2; exit 1; }
        docker run --rm --network none --user "$(id -u):$(id -g)" -v "$dir:/secrets" -w /secrets "${HADIR_IMAGE:-hadir:dev}" "$@"
    fi
}

random() { od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'; }

# put NAME writes standard input to a file that appears whole, unless it is there.
put() {
    if [ -e "$dir/$1" ]; then
        cat >/dev/null
        return
    fi
    cat >"$dir/.new"
    [ -s "$dir/.new" ] || { echo "secrets: $1 came out empty" >&2; exit 1; }
    chmod 444 "$dir/.new"
    mv "$dir/.new" "$dir/$1"
    echo "made $1"
}

if [ ! -e "$dir/cluster.key" ]; then
    key=$(hadir keygen)
    printf '%s\n' "$key" | put cluster.key
fi
for name in admin redis mysql mysql-root grafana; do
    random | put "$name.password"
done
printf 'requirepass %s\n' "$(cat "$dir/redis.password")" | put redis.conf
printf 'redis://:%s@redis:6379/0\n' "$(cat "$dir/redis.password")" | put redis.url
printf 'mysql://hadir:%s@mysql:3306/hadir\n' "$(cat "$dir/mysql.password")" | put export.url

if [ ! -e "$dir/tls/server.crt" ] || [ $# -gt 0 ]; then
    [ $# -gt 0 ] || set -- "$(hostname)" $(hostname -I 2>/dev/null || true)
    # nginx: the name inside, for the tools that run beside it.
    hadir dev-cert --dir tls "$@" nginx
    chmod 444 "$dir/tls/ca.crt" "$dir/tls/server.crt" "$dir/tls/server.key"
fi

[ -e .env ] || { umask 022 && sed "s|^HADIR_SECRETS=.*|HADIR_SECRETS=${HADIR_SECRETS:-./secrets}|" .env.example >.env && echo "made .env"; }
