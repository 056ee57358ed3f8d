#!/bin/sh
# Collects an institution's overdue violations, and loses none: whatever breaks, run it again.
#
#     TURNPIKE_TOKEN=… collect.sh https://GATEWAY/api/CLIENT DIRECTORY             what is overdue now
#     TURNPIKE_TOKEN=… collect.sh https://GATEWAY/api/CLIENT DIRECTORY BATCH-ID    a batch whose file was lost
#
# Writes DIRECTORY/batch-ID.json, always a whole document, readable by its owner alone. Use each batch's number once: a
# run that is killed in the wrong moment writes the same batch again.
#
# It makes one Idempotency-Key a run, keeps it in DIRECTORY/key before it calls, and sends the same request again until it
# holds a whole document; a run that was killed is taken up by the next one. Then it acknowledges the batch; what is still
# to be acknowledged stands in DIRECTORY/outstanding.
#
# Environment:
#     TURNPIKE_TOKEN      the API token. Never on the command line, where everybody on the machine can read it
#     TURNPIKE_PATIENCE   seconds of pauses between attempts before it gives up; 900 unless set
#     SSL_CERT_FILE       the certificate authority, where the institution has one of its own
#
# Exit codes:
#     0   done: a batch is written and acknowledged, or there was nothing to collect
#     1   refused: the answer is on standard error; a person has to look
#     2   called wrongly
#     75  not this time: run it again later, it takes up where it stopped
#
# Needs curl 7.52 or later and POSIX utilities. With flock(1), a second run on the same directory ends with 75 at once;
# without it, don't start one while another runs.
set -eu
umask 077

fail() { # CODE TEXT
    echo "collect.sh: $2" >&2
    exit "$1"
}

usage='usage: TURNPIKE_TOKEN=… collect.sh https://GATEWAY/api/CLIENT DIRECTORY [BATCH-ID]'
[ $# -eq 2 ] || [ $# -eq 3 ] || fail 2 "$usage"
directory=$2
wanted=${3-}
patience=${TURNPIKE_PATIENCE:-900}
case $1 in https://?*) violations=${1%/}/v1/violations ;; *) fail 2 "$usage" ;; esac
case $wanted in *[!0-9]*) fail 2 "$usage" ;; esac
case $patience in *[!0-9]*) fail 2 'TURNPIKE_PATIENCE is a number of seconds' ;; esac
case ${TURNPIKE_TOKEN-} in
'') fail 2 'TURNPIKE_TOKEN must hold the API token' ;;
*[\"\\[:cntrl:]]*) fail 2 'TURNPIKE_TOKEN holds more than the API token' ;;
esac

mkdir -p "$directory"
key_file=$directory/key
outstanding=$directory/outstanding
answer=$directory/answer.part
head=$directory/head.part
if command -v flock >/dev/null; then
    exec 9>"$directory/lock"
    flock -n 9 || fail 75 "another run is using $directory"
fi
trap 'rm -f "$answer" "$head"' EXIT
trap 'exit 75' HUP INT TERM

# One header of the last answer, empty where it had none.
header() { # name in lower case
    awk -v name="$1:" 'tolower($1) == name { sub(/\r$/, "", $2); value = $2 } END { print value }' "$head"
}

# One attempt. True: 200. False: nothing received, try again. It ends the run where trying again is of no use.
post() { # URL ATTRIBUTES [CURL'S OPTIONS]; ATTRIBUTES begin with a comma
    url=$1
    attributes=$2
    shift 2
    : >"$answer"
    : >"$head"
    code=0
    # printf is the shell's own: the token is in no process's arguments.
    status=$(
        printf '{"apiToken":"%s"%s}' "$TURNPIKE_TOKEN" "$attributes" |
            curl --silent --show-error --proto =https ${SSL_CERT_FILE:+--cacert "$SSL_CERT_FILE"} \
                --connect-timeout 10 --speed-limit 1 --speed-time 60 --max-time 3600 \
                --header 'Content-Type: application/json' --data-binary @- \
                --dump-header "$head" --output "$answer" --write-out '%{http_code}' "$@" "$url"
    ) || code=$?
    case $code,$status in
    0,200) return 0 ;;
    0,408 | 0,429 | 0,5??) ;;
    0,*) grep -q '"retryable":true' "$answer" || fail 1 "refused, $status: $(cat "$answer")" ;;
    # A URL or a certificate isn't better the next time.
    1,* | 3,* | 60,* | 77,*) fail 1 "curl failed with $code" ;;
    *) status="curl's $code" ;;
    esac
    echo "collect.sh: not received ($status), trying again" >&2
    return 1
}

# Whether the document is there to its end, with as many records as its head announced.
is_whole() {
    # Within a string a quote has a backslash before it, so this finds keys alone, and each record has this one once.
    records=$(tr ',' '\n' <"$answer" | grep -c '"SentToCollections":') || true
    announced=$(header batch-count)
    [ "$(tail -c 1 "$answer")" = '}' ] && [ "$records" = "${announced:-0}" ] && return 0
    echo "collect.sh: $records records instead of ${announced:-0}, trying again" >&2
    return 1
}

pause=1
waited=0
wait_a_little() {
    asked=$(header retry-after)
    case $asked in '' | *[!0-9]*) asked=0 ;; esac
    [ "$asked" -gt "$pause" ] || asked=$pause
    waited=$((waited + asked))
    [ "$waited" -le "$patience" ] || fail 75 'giving up for now; run it again later'
    sleep "$asked"
    [ "$pause" -ge 60 ] || pause=$((pause * 2))
}

acknowledge() {
    read -r batch records <"$outstanding"
    until post "$violations/collection_batches/$batch/acknowledge" ",\"records\":$records"; do
        wait_a_little
    done
    rm -f "$outstanding"
    echo "batch $batch: $records records, acknowledged"
}

# What an earlier run received, but could not acknowledge.
[ ! -s "$outstanding" ] || acknowledge

if [ -n "$wanted" ]; then
    until post "$violations/collection_batches/$wanted" '' && is_whole; do
        wait_a_little
    done
else
    # An earlier run's key, where that run ended before it held a whole document; else a new one, kept before it is used.
    if [ ! -s "$key_file" ]; then
        echo "$(date -u +%Y%m%dT%H%M%SZ)-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')" >"$key_file.new"
        mv "$key_file.new" "$key_file"
        sync
    fi
    until post "$violations/send_overdue_to_collections" '' --header "Idempotency-Key: $(cat "$key_file")" &&
        is_whole; do
        wait_a_little
    done
fi

batch=$(header batch-id)
if [ -z "$batch" ]; then
    rm -f "$key_file"
    if [ "$records" -gt 0 ]; then
        echo "a preview of $records records: the token is for tests, nothing was handed over"
    else
        echo 'nothing to collect'
    fi
    exit 0
fi
mv "$answer" "$directory/batch-$batch.json"
echo "$batch $records" >"$outstanding.new"
mv "$outstanding.new" "$outstanding"
sync
[ -n "$wanted" ] || rm -f "$key_file"
acknowledge
