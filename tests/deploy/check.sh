#!/usr/bin/env bash
# Has the programs that will read the files of deploy/ look at them, where they are
# installed; what is left out is said. HADIR_TEST_REQUIRE makes left out a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

leave_out() { # word, what
	if [[ ",${HADIR_TEST_REQUIRE:-}," == *,$1,* ]]; then
		echo "$1 is required and not installed"
		exit 1
	fi
	echo "left out: $2, $1 is not installed"
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

if command -v nginx >/dev/null; then
	# The names of the nodes and the secrets are known inside the containers only.
	cp deploy/nginx/* "$tmp/"
	sed -i -E "s/node-[123]:8080/127.0.0.1:8080/; s#/tmp/#$tmp/#; s#/run/secrets/tls_cert#$tmp/server.crt#; s#/run/secrets/tls_key#$tmp/server.key#" "$tmp/nginx.conf"
	go run ./cmd/hadir dev-cert --dir "$tmp" localhost >/dev/null
	nginx -t -q -p "$tmp" -c "$tmp/nginx.conf"
	echo "nginx takes deploy/nginx"
else
	leave_out nginx "nginx -t"
fi

if command -v promtool >/dev/null; then
	promtool check config deploy/prometheus/prometheus.yml
	promtool test rules tests/deploy/alerts.yml
else
	leave_out promtool "promtool check config"
fi

if command -v systemd-analyze >/dev/null; then
	mkdir "$tmp/units"
	cp deploy/systemd/*.service deploy/systemd/*.timer "$tmp/units/"
	sed -i 's#/usr/local/bin/hadir#/bin/true#' "$tmp"/units/*
	systemd-analyze verify "$tmp"/units/*
	echo "systemd takes deploy/systemd"
else
	leave_out systemd-analyze "systemd-analyze verify"
fi

compose=
if docker compose version >/dev/null 2>&1; then
	compose="docker compose"
elif command -v docker-compose >/dev/null; then
	compose=docker-compose
fi
if [ -n "$compose" ]; then
	for profiles in "" "observe" "observe,chaos"; do
		COMPOSE_PROFILES=$profiles HADIR_SECRETS=$tmp $compose --env-file .env.example config -q
	done
	echo "$compose takes docker-compose.yml"
else
	leave_out docker "docker compose config"
fi
