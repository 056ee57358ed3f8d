#!/bin/sh
# Installs schemathesis, which holds the running gateway to its OpenAPI documents, into TARGET/schemathesis (target, unless
# told). Does nothing where that very version is there. Needs python3 with venv, and PyPI.
set -eu
cd "$(dirname "$0")/../.."
venv="${1:-target}/schemathesis"
wanted=tests/schemathesis/requirements.txt
[ -x "$venv/bin/schemathesis" ] && cmp -s "$wanted" "$venv/requirements.txt" && exit 0

python3 -m venv --clear "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r "$wanted"
cp "$wanted" "$venv/requirements.txt"
