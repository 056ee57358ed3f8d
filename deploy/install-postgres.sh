#!/bin/sh
# Installs what the demo, the tests and the build need beside Rust: a PostgreSQL server, whose programs are used for
# private clusters alone, setpriv, a C compiler (aws-lc and mimalloc are C), the system's certificates, and curl,
# python3 and php with its curl extension, which run the vendors' examples; python3's venv, in which the tests install
# schemathesis.
# Does nothing where they are there. Debian and Ubuntu; elsewhere it says what is missing.
set -eu

is_postgres_installed() {
    command -v postgres >/dev/null && command -v initdb >/dev/null && return
    for server in /usr/lib/postgresql/*/bin/postgres; do
        [ -x "$server" ] && return
    done
    return 1
}

missing=''
is_postgres_installed || missing="$missing postgresql"
command -v setpriv >/dev/null || missing="$missing util-linux"
command -v cc >/dev/null || missing="$missing gcc libc6-dev"
command -v curl >/dev/null || missing="$missing curl"
command -v python3 >/dev/null || missing="$missing python3"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
php -m 2>/dev/null | grep -qx curl || missing="$missing php-cli php-curl"
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] ||
    [ -e /etc/ssl/cert.pem ] || missing="$missing ca-certificates"
[ -n "$missing" ] || exit 0

fail() {
    echo "missing, under Debian's names:$missing" >&2
    echo "$1" >&2
    exit 1
}

command -v apt-get >/dev/null || fail 'This is not Debian or Ubuntu: install them with your package manager.'

as_root=''
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "Run this as root: apt-get install --no-install-recommends$missing"
    as_root='sudo'
fi

echo "installing$missing" >&2

case "$missing" in
*postgresql*)
    # Else Debian's package makes a cluster of its own and starts it on port 5432. A file that somebody has put
    # there is left alone.
    no_cluster=/etc/postgresql-common/createcluster.d/turnpike.conf
    if [ ! -e "$no_cluster" ]; then
        $as_root mkdir -p /etc/postgresql-common/createcluster.d
        echo 'create_main_cluster = false' | $as_root tee "$no_cluster" >/dev/null
    fi
    ;;
esac

$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
is_postgres_installed || fail 'The packages were installed, and yet there is no PostgreSQL server.'
