#!/usr/bin/env php
<?php
/*
Collects an institution's overdue violations, and loses none: whatever breaks, run it again.

    TURNPIKE_TOKEN=… collect.php https://GATEWAY/api/CLIENT DIRECTORY             what is overdue now
    TURNPIKE_TOKEN=… collect.php https://GATEWAY/api/CLIENT DIRECTORY BATCH-ID    a batch whose file was lost

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

Needs PHP 7.4 or later on the command line, with its curl and json extensions. A second run on the same directory ends with
75 at once. A document is parsed in memory to count its records.
*/

declare(strict_types=1);

const DONE = 0, REFUSED = 1, USAGE = 2, LATER = 75;
const STALLED_SECONDS = 60;
const CALL_SECONDS = 3600;
// A URL or a certificate isn't better the next time. libcurl's numbers: some have no name in every PHP.
const BAD_URL = [1, 3], UNTRUSTED = [51, 60, 77];

/** Nothing was received; the same request may succeed later. */
class TryAgain extends Exception
{
    public int $retryAfter;

    public function __construct(string $reason, int $retryAfter = 0)
    {
        parent::__construct($reason);
        $this->retryAfter = $retryAfter;
    }
}

/** The run is over. `exit` would leave `finally` out. */
class Ended extends Exception
{
}

function fail(int $code, string $text): void
{
    throw new Ended($text, $code);
}

function warn(string $text): void
{
    fwrite(STDERR, "collect.php: $text\n");
}

function is_number(string $text): bool
{
    return preg_match('/^[0-9]+$/D', $text) === 1;
}

/** Closes a file that is on the disk then. */
function close_durably($file): void
{
    $there = fflush($file);
    if (function_exists('fsync')) {
        $there = fsync($file) && $there;
    } elseif (DIRECTORY_SEPARATOR === '/' && function_exists('exec')) {
        exec('sync'); // before PHP 8.1
    }
    if (!fclose($file) || !$there) {
        throw new RuntimeException('a file could not be written');
    }
}

/** Replaces a file: it has its old text or its new one, whatever happens meanwhile. */
function write_durably(string $path, string $text): void
{
    $file = fopen("$path.new", 'wb');
    fwrite($file, $text);
    close_durably($file);
    rename("$path.new", $path);
}

class Collector
{
    public static bool $interrupted = false;

    private string $violations;
    private string $directory;
    private string $keyFile;
    private string $outstanding;
    private string $answer;
    private string $token;
    private int $patience;
    private int $pause = 1;

    public function __construct(string $url, string $directory, string $token, int $patience)
    {
        $this->violations = rtrim($url, '/') . '/v1/violations';
        $this->directory = $directory;
        $this->keyFile = "$directory/key";
        $this->outstanding = "$directory/outstanding";
        $this->answer = "$directory/answer.part";
        $this->token = $token;
        $this->patience = $patience;
    }

    /** A key a run: an earlier run's, where that one ended before it held a whole document. */
    public function collect(): void
    {
        if (!file_exists($this->keyFile)) {
            write_durably($this->keyFile, gmdate('Ymd\THis\Z') . '-' . bin2hex(random_bytes(8)));
        }
        $key = trim(file_get_contents($this->keyFile));
        [$batch, $records] = $this->insist(function () use ($key): array {
            return $this->fetch('/send_overdue_to_collections', ["Idempotency-Key: $key"]);
        });
        if ($batch === null) {
            unlink($this->keyFile);
            $preview = "a preview of $records records: the token is for tests, nothing was handed over";
            echo $records > 0 ? $preview : 'nothing to collect', "\n";
            return;
        }
        $this->keep($batch, $records);
        unlink($this->keyFile);
        $this->acknowledge();
    }

    public function collectAgain(string $batch): void
    {
        [, $records] = $this->insist(function () use ($batch): array {
            return $this->fetch("/collection_batches/$batch", []);
        });
        $this->keep($batch, $records);
        $this->acknowledge();
    }

    private function keep(string $batch, int $records): void
    {
        rename($this->answer, "$this->directory/batch-$batch.json");
        write_durably($this->outstanding, "$batch $records\n");
    }

    /** Tells the institution that the batch is here, this run's or an earlier one's. */
    public function acknowledge(): void
    {
        if (!file_exists($this->outstanding)) {
            return;
        }
        [$batch, $records] = preg_split('/\s+/', trim(file_get_contents($this->outstanding)));
        $this->insist(function () use ($batch, $records): void {
            $this->post("/collection_batches/$batch/acknowledge", ['records' => (int) $records]);
        });
        unlink($this->outstanding);
        echo "batch $batch: $records records, acknowledged\n";
    }

    public function tidy(): void
    {
        if (file_exists($this->answer)) {
            unlink($this->answer);
        }
    }

    /** Repeats an attempt until it succeeds, with growing pauses; ends the run when patience is over. */
    private function insist(callable $attempt)
    {
        while (true) {
            $this->endIfInterrupted();
            try {
                return $attempt();
            } catch (TryAgain $reason) {
                $this->endIfInterrupted();
                warn("not received ({$reason->getMessage()}), trying again");
                $pause = max($this->pause, $reason->retryAfter);
            }
            $this->patience -= $pause;
            if ($this->patience < 0) {
                fail(LATER, 'giving up for now; run it again later');
            }
            sleep($pause);
            $this->pause = min($this->pause * 2, 60);
        }
    }

    private function endIfInterrupted(): void
    {
        if (self::$interrupted) {
            throw new Ended('', LATER);
        }
    }

    /** Writes a whole document to `answer`; gives its batch (null: there is none) and its number of records. */
    private function fetch(string $path, array $headers): array
    {
        try {
            $file = fopen($this->answer, 'wb');
            $head = $this->post($path, [], $headers, $file);
            close_durably($file);
            $document = json_decode(file_get_contents($this->answer), true, 512, JSON_THROW_ON_ERROR);
        } catch (ErrorException | RuntimeException | JsonException $error) {
            throw new TryAgain($error->getMessage());
        }
        if (!is_array($document) || !is_array($document['records'] ?? null)) {
            throw new TryAgain('a document without records');
        }
        $records = count($document['records']);
        $announced = $head['batch-count'] ?? '0';
        if ((string) $records !== $announced) {
            throw new TryAgain("$records records instead of $announced");
        }
        return [$head['batch-id'] ?? null, $records];
    }

    /**
     * The head of the answer, if it is 200 and was received to its end; its body goes to the file, if there is one. Ends the
     * run where trying again is of no use.
     */
    private function post(string $path, array $attributes, array $headers = [], $file = null): array
    {
        $head = [];
        $text = '';
        $body = json_encode(['apiToken' => $this->token] + $attributes);
        if ($body === false) {
            fail(USAGE, 'TURNPIKE_TOKEN holds more than the API token');
        }
        $curl = curl_init();
        curl_setopt_array($curl, [
            CURLOPT_URL => $this->violations . $path,
            CURLOPT_PROTOCOLS => CURLPROTO_HTTPS,
            CURLOPT_POSTFIELDS => $body,
            CURLOPT_HTTPHEADER => array_merge(['Content-Type: application/json'], $headers),
            CURLOPT_CONNECTTIMEOUT => STALLED_SECONDS,
            CURLOPT_LOW_SPEED_LIMIT => 1,
            CURLOPT_LOW_SPEED_TIME => STALLED_SECONDS,
            CURLOPT_TIMEOUT => CALL_SECONDS,
            CURLOPT_HEADERFUNCTION => static function ($curl, string $line) use (&$head): int {
                if (strncmp($line, 'HTTP/', 5) === 0) {
                    $head = []; // the one before was a proxy's, or an interim answer's
                }
                [$name, $value] = explode(':', $line, 2) + [1 => ''];
                $head[strtolower($name)] = trim($value);
                return strlen($line);
            },
            CURLOPT_WRITEFUNCTION => static function ($curl, string $part) use ($file, &$text): int {
                if ($file !== null && curl_getinfo($curl, CURLINFO_RESPONSE_CODE) === 200) {
                    return (int) @fwrite($file, $part); // fewer bytes than there were end the call
                }
                $text .= $part;
                return strlen($part);
            },
            CURLOPT_NOPROGRESS => false,
            CURLOPT_PROGRESSFUNCTION => static function (): int {
                return (int) self::$interrupted;
            },
        ]);
        $authority = (string) getenv('SSL_CERT_FILE');
        if ($authority !== '') {
            curl_setopt($curl, CURLOPT_CAINFO, $authority);
        }
        curl_exec($curl);
        $error = curl_errno($curl);
        $reason = curl_error($curl);
        if (in_array($error, UNTRUSTED, true)) {
            fail(REFUSED, "the gateway's certificate is not trusted: $reason");
        }
        if (in_array($error, BAD_URL, true)) {
            fail(REFUSED, "the gateway cannot be called: $reason");
        }
        if ($error !== 0) {
            throw new TryAgain($reason !== '' ? $reason : curl_strerror($error));
        }
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($status !== 200) {
            $this->refused($status, $head, $text);
        }
        return $head;
    }

    private function refused(int $status, array $head, string $text): void
    {
        $words = json_decode($text, true);
        // Without it, they're not the gateway's words, but those of something before it.
        $retryable = is_array($words) && ($words['retryable'] ?? false);
        if (!$retryable && $status !== 408 && $status !== 429 && $status < 500) {
            fail(REFUSED, "refused, $status: $text");
        }
        $seconds = $head['retry-after'] ?? '';
        throw new TryAgain((string) $status, is_number($seconds) ? (int) $seconds : 0);
    }
}

function main(array $arguments): void
{
    $usage = 'usage: TURNPIKE_TOKEN=… collect.php https://GATEWAY/api/CLIENT DIRECTORY [BATCH-ID]';
    if (!in_array(count($arguments), [2, 3], true) || strncmp($arguments[0], 'https://', 8) !== 0) {
        fail(USAGE, $usage);
    }
    [$url, $directory, $wanted] = $arguments + [2 => null];
    $token = (string) getenv('TURNPIKE_TOKEN');
    $patience = (string) getenv('TURNPIKE_PATIENCE');
    $patience = $patience === '' ? '900' : $patience;
    if ($token === '') {
        fail(USAGE, 'TURNPIKE_TOKEN must hold the API token');
    }
    if (!is_number($patience)) {
        fail(USAGE, 'TURNPIKE_PATIENCE is a number of seconds');
    }
    if ($wanted !== null && !is_number($wanted)) {
        fail(USAGE, $usage);
    }
    if (!extension_loaded('curl') || !extension_loaded('json')) {
        fail(REFUSED, "PHP's curl and json extensions are needed");
    }

    umask(0077);
    if (!is_dir($directory)) {
        mkdir($directory, 0777, true);
    }
    $lock = fopen("$directory/lock", 'wb');
    if (!flock($lock, LOCK_EX | LOCK_NB)) {
        fail(LATER, "another run is using $directory");
    }
    $collector = new Collector($url, $directory, $token, (int) $patience);
    try {
        $collector->acknowledge(); // what an earlier run received, but could not acknowledge
        if ($wanted !== null) {
            $collector->collectAgain($wanted);
        } else {
            $collector->collect();
        }
    } finally {
        $collector->tidy();
    }
}

error_reporting(E_ALL & ~E_DEPRECATED);
ini_set('display_errors', 'stderr');
ini_set('memory_limit', '-1');
set_error_handler(static function (int $severity, string $text, string $file, int $line): bool {
    if (error_reporting() & $severity) {
        throw new ErrorException($text, 0, $severity, $file, $line);
    }
    return false;
});
if (function_exists('pcntl_async_signals')) { // else an interrupted run is a killed one
    pcntl_async_signals(true);
    pcntl_signal(SIGINT, static function (): void {
        Collector::$interrupted = true;
    });
}
try {
    main(array_slice($argv, 1));
} catch (Ended $end) {
    if ($end->getMessage() !== '') {
        warn($end->getMessage());
    }
    exit($end->getCode());
} catch (Throwable $error) {
    warn((string) $error);
    exit(REFUSED);
}
exit(DONE);
