#!/usr/bin/env python3
"""Collects an institution's overdue violations, and loses none: whatever breaks, run it again.

    TURNPIKE_TOKEN=… collect.py https://GATEWAY/api/CLIENT DIRECTORY             what is overdue now
    TURNPIKE_TOKEN=… collect.py https://GATEWAY/api/CLIENT DIRECTORY BATCH-ID    a batch whose file was lost

Writes DIRECTORY/batch-ID.json, always a whole document, readable by its owner alone. Use each batch's number once: a run
that is killed in the wrong moment writes the same batch again.

It makes one Idempotency-Key a run, keeps it in DIRECTORY/key before it calls, and sends the same request again until it
holds a whole document; a run that was killed is taken up by the next one. Then it acknowledges the batch; what is still to
be acknowledged stands in DIRECTORY/outstanding.

Environment:
    TURNPIKE_TOKEN      the API token. Never on the command line, where everybody on the machine can read it
    TURNPIKE_PATIENCE   seconds of pauses between attempts before it gives up; 900 unless set
    SSL_CERT_FILE       the certificate authority, where the institution has one of its own

Exit codes:
    0   done: a batch is written and acknowledged, or there was nothing to collect
    1   refused: the answer is on standard error; a person has to look
    2   called wrongly
    75  not this time: run it again later, it takes up where it stopped

Needs Python 3.8 or later and nothing else. Where the system has flock(2), a second run on the same directory ends with 75
at once; elsewhere, don't start one while another runs. A document is parsed in memory to count its records.
"""

import http.client
import json
import os
import secrets
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

DONE, REFUSED, USAGE, LATER = 0, 1, 2, 75
STALLED_SECONDS = 60


class TryAgain(Exception):
    """Nothing was received; the same request may succeed later."""

    def __init__(self, reason, retry_after=0):
        super().__init__(reason)
        self.retry_after = retry_after


def fail(code, text):
    print(f"collect.py: {text}", file=sys.stderr)
    sys.exit(code)


def write_durably(path, text):
    """Replaces a file: it has its old text or its new one, whatever happens meanwhile."""
    part = path.with_name(path.name + ".new")
    with open(part, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


class Collector:
    def __init__(self, url, directory, token, patience):
        self.violations = url.rstrip("/") + "/v1/violations"
        self.directory = directory
        self.key_file = directory / "key"
        self.outstanding = directory / "outstanding"
        self.answer = directory / "answer.part"
        self.token = token
        self.patience = patience
        self.pause = 1
        self.trust = ssl.create_default_context()  # honours SSL_CERT_FILE

    def collect(self):
        """A key a run: an earlier run's, where that one ended before it held a whole document."""
        if not self.key_file.exists():
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            write_durably(self.key_file, f"{stamp}-{secrets.token_hex(8)}")
        key = {"Idempotency-Key": self.key_file.read_text().strip()}
        batch, records = self.insist(self.fetch, "/send_overdue_to_collections", key)
        if batch is None:
            self.key_file.unlink()
            preview = f"a preview of {records} records: the token is for tests, nothing was handed over"
            print(preview if records else "nothing to collect")
            return
        self.keep(batch, records)
        self.key_file.unlink()
        self.acknowledge()

    def collect_again(self, batch):
        _, records = self.insist(self.fetch, f"/collection_batches/{batch}", {})
        self.keep(batch, records)
        self.acknowledge()

    def keep(self, batch, records):
        self.answer.replace(self.directory / f"batch-{batch}.json")
        write_durably(self.outstanding, f"{batch} {records}\n")

    def acknowledge(self):
        """Tells the institution that the batch is here, this run's or an earlier one's."""
        if not self.outstanding.exists():
            return
        batch, records = self.outstanding.read_text().split()
        path = f"/collection_batches/{batch}/acknowledge"
        self.insist(lambda: self.post(path, {"records": int(records)}).close())
        self.outstanding.unlink()
        print(f"batch {batch}: {records} records, acknowledged")

    def insist(self, attempt, *arguments):
        """Repeats an attempt until it succeeds, with growing pauses; ends the run when patience is over."""
        while True:
            try:
                return attempt(*arguments)
            except TryAgain as reason:
                print(f"collect.py: not received ({reason}), trying again", file=sys.stderr)
                pause = max(self.pause, reason.retry_after)
            self.patience -= pause
            if self.patience < 0:
                fail(LATER, "giving up for now; run it again later")
            time.sleep(pause)
            self.pause = min(self.pause * 2, 60)

    def fetch(self, path, headers):
        """Writes a whole document to `answer`; gives its batch (None: there is none) and its number of records."""
        try:
            with self.post(path, {}, headers) as answer, open(self.answer, "wb") as file:
                batch, announced = answer.headers["Batch-Id"], int(answer.headers["Batch-Count"] or 0)
                shutil.copyfileobj(answer, file)  # fails where the answer is broken off
                file.flush()
                os.fsync(file.fileno())
            with open(self.answer, "rb") as file:
                records = len(json.load(file)["records"])
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TryAgain(repr(error)) from error
        if records != announced:
            raise TryAgain(f"{records} records instead of {announced}")
        return batch, records

    def post(self, path, attributes, headers=None):
        """The answer, if it is 200. Ends the run where trying again is of no use."""
        request = urllib.request.Request(
            self.violations + path,
            data=json.dumps({"apiToken": self.token, **attributes}).encode(),
            headers={"Content-Type": "application/json", **(headers or {})},
            method="POST",
        )
        try:
            return urllib.request.urlopen(request, timeout=STALLED_SECONDS, context=self.trust)
        except urllib.error.HTTPError as refusal:
            with refusal:
                self.refused(refusal)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                fail(REFUSED, f"the gateway's certificate is not trusted: {error.reason}")
            raise TryAgain(repr(error.reason)) from error
        except (OSError, http.client.HTTPException) as error:
            raise TryAgain(repr(error)) from error

    def refused(self, refusal):
        try:
            text = refusal.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise TryAgain(repr(error)) from error
        try:
            retryable = json.loads(text)["retryable"]
        except (ValueError, KeyError, TypeError):
            retryable = False  # not the gateway's words, but those of something before it
        if not retryable and refusal.code not in (408, 429) and refusal.code < 500:
            fail(REFUSED, f"refused, {refusal.code}: {text}")
        seconds = refusal.headers["Retry-After"] or ""
        raise TryAgain(refusal.code, int(seconds) if seconds.isdigit() else 0)


def main(arguments):
    usage = "usage: TURNPIKE_TOKEN=… collect.py https://GATEWAY/api/CLIENT DIRECTORY [BATCH-ID]"
    if len(arguments) not in (2, 3) or not arguments[0].startswith("https://"):
        fail(USAGE, usage)
    url, directory, wanted = arguments[0], Path(arguments[1]), arguments[2:]
    token, patience = os.environ.get("TURNPIKE_TOKEN"), os.environ.get("TURNPIKE_PATIENCE") or "900"
    if not token:
        fail(USAGE, "TURNPIKE_TOKEN must hold the API token")
    if not patience.isdigit():
        fail(USAGE, "TURNPIKE_PATIENCE is a number of seconds")
    if wanted and not wanted[0].isdigit():
        fail(USAGE, usage)

    os.umask(0o077)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        if fcntl:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fail(LATER, f"another run is using {directory}")
        collector = Collector(url, directory, token, int(patience))
        try:
            collector.acknowledge()  # what an earlier run received, but could not acknowledge
            if wanted:
                collector.collect_again(wanted[0])
            else:
                collector.collect()
        finally:
            if collector.answer.exists():
                collector.answer.unlink()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(LATER)
