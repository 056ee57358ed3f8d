//! `turnpike loadtest`, the built binary against a gateway: what it measures, what it decides, and that it consumes nothing.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::support::gateway::{GatewayBuilder, authority};
use crate::support::program::Finished;
use crate::support::{TOKEN, TestGateway, turnpike, wait_until};

/// A gateway that refuses nobody because the machine is busy: what is told from what here are the load tester's findings.
fn with_tenants<const N: usize>(ids: [&str; N]) -> GatewayBuilder {
    let patience =
        "pool_timeout = \"1m\"\nstatement_timeout = \"1m\"\nlock_timeout = \"1m\"\nmax_in_flight = 10000";
    let builder = TestGateway::with_tenants(ids);
    ids.iter().fold(builder, |builder, tenant| builder.tenant_setting(tenant, patience))
}

/// A load tester at the gateway, with the vendors' token in a file.
struct Tester<'a> {
    gateway: &'a TestGateway,
}

impl Tester<'_> {
    fn of(gateway: &TestGateway) -> Tester<'_> {
        fs::write(gateway.directory.path().join("token"), format!("{TOKEN}\n")).unwrap();
        Tester { gateway }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.gateway.directory.path().join(name)
    }

    /// `loadtest COMMAND` with the gateway's address, authority and token.
    async fn run(&self, command: &str) -> Finished {
        let (address, token) = (self.gateway.address, self.path("token"));
        let arguments = format!(
            "loadtest {command} --url https://{address} --ca {} --token-file {}",
            authority().display(),
            token.display()
        );
        turnpike(&self.gateway.config_file(), &arguments).await
    }

    /// The same, with the result as JSON on standard output.
    async fn report(&self, command: &str) -> (Finished, Value) {
        let finished = self.run(&format!("{command} --json -")).await;
        let report = finished.json();
        (finished, report)
    }
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {report:#}"))
}

#[tokio::test]
async fn an_open_run_calls_at_its_rate_and_verifies_every_answer() {
    let gateway = with_tenants(["A", "B"]).overdue("A", 3).overdue("B", 5).start().await;

    let (finished, report) = Tester::of(&gateway)
        .report("--tenant A --tenant B --rate 40/s --duration 1s --warm-up 250ms --p99 30s")
        .await;

    assert_eq!(finished.code, Some(0), "{finished:?}");
    // 40 are due within the second that is measured, in turns; those of the warm-up don't count.
    assert_eq!(
        (&report["calls"], &report["answered"], &report["failed"]),
        (&json!(40), &json!(40), &json!(0))
    );
    assert_eq!(
        (&report["load"], &report["http"], &report["previews"]),
        (&json!("40/s"), &json!("HTTP/2"), &json!(true))
    );
    assert_eq!(report["records"], json!(20 * 3 + 20 * 5));
    assert_eq!(report["passed"], json!(true));
    assert!(number(&report, "/latency_ms/p50") <= number(&report, "/latency_ms/p99"));
    assert!(number(&report, "/bytes") > 0.0);
    let tenants: Vec<_> =
        report["tenants"].as_array().unwrap().iter().map(|of| (&of["tenant"], &of["records"])).collect();
    assert_eq!(tenants, [(&json!("A"), &json!(60)), (&json!("B"), &json!(100))]);
    let in_slices = report["timeline"].as_array().unwrap().iter().map(|slice| number(slice, "/answered"));
    assert!((in_slices.sum::<f64>() - 40.0).abs() < f64::EPSILON);
    let thresholds: Vec<_> = report["thresholds"].as_array().unwrap().iter().map(|of| &of["held"]).collect();
    assert_eq!(thresholds, [true, true]);
}

#[tokio::test]
async fn a_closed_run_has_its_vendors_call_again_and_again_over_either_version_of_http() {
    let gateway = with_tenants(["A"]).overdue("A", 2).start().await;
    let tester = Tester::of(&gateway);

    for (manner, version) in [
        ("--http 1.1", "HTTP/1.1"),
        ("--http 1.1 --fresh-connections", "HTTP/1.1"),
        ("--http 2", "HTTP/2"),
        ("--http 2 --fresh-connections", "HTTP/2"),
    ] {
        let command = format!("--tenant A --vendors 3 --duration 500ms --warm-up 0s --limit 1 {manner}");
        let (finished, report) = tester.report(&command).await;

        assert_eq!(finished.code, Some(0), "{finished:?}");
        let answered = number(&report, "/answered");
        assert!(answered >= 3.0, "{manner}: {report:#}");
        assert_eq!((number(&report, "/records"), &report["http"]), (answered, &json!(version)));
        assert_eq!((&report["load"], &report["limit"]), (&json!("3 vendors"), &json!(1)));
        assert_eq!(report["fresh_connections"], json!(manner.contains("fresh")));
    }
}

#[tokio::test]
async fn a_run_on_previews_marks_and_writes_nothing() {
    let gateway = with_tenants(["A"]).overdue("A", 7).start().await;
    let before = gateway.database("A").everything().await;

    let open = Tester::of(&gateway).run("--tenant A --rate 20/s --duration 1s --warm-up 0s").await;
    let closed = Tester::of(&gateway).run("--tenant A --vendors 2 --duration 300ms --warm-up 0s").await;

    assert_eq!((open.code, closed.code), (Some(0), Some(0)), "{open:?} {closed:?}");
    assert!(open.stdout.contains("20 answered whole, 0 failed"), "{open:?}");
    assert_eq!(gateway.database("A").everything().await, before);
    assert_eq!(gateway.vendor("A").claim().await.records().len(), 7);
}

#[tokio::test]
async fn thresholds_decide_the_exit_code_and_tell_by_how_much() {
    let gateway = with_tenants(["A"]).overdue("A", 2).start().await;
    let tester = Tester::of(&gateway);
    let run = "--tenant A --rate 20/s --duration 500ms --warm-up 0s";

    let held = tester.run(&format!("{run} --p50 30s --p90 30s --p99 30s --errors 0 --min-rate 1/h")).await;
    let slow = tester.run(&format!("{run} --p50 1us")).await;
    let rare = tester.run(&format!("{run} --min-rate 1000/s")).await;
    let other_count = tester.run(&format!("{run} --expect-records 3")).await;
    let excused = tester.run(&format!("{run} --expect-records 2 --errors 0.5%")).await;

    assert_eq!([held.code, excused.code], [Some(0); 2], "{held:?} {excused:?}");
    assert!(held.stdout.ends_with("passed\n"), "{held:?}");
    assert_eq!([slow.code, rare.code, other_count.code], [Some(1); 3]);
    assert!(
        slow.stdout.contains("FAILED  p50 at most 0.00 ms: ") && slow.stdout.contains("% above"),
        "{slow:?}"
    );
    assert!(
        rare.stdout.contains("FAILED  at least 1000/s answered: ") && rare.stdout.contains("% below"),
        "{rare:?}"
    );
    assert!(other_count.stdout.contains("10  wrong number of records"), "{other_count:?}");
}

#[tokio::test]
async fn an_interrupted_run_reports_what_there_is_and_has_not_passed() {
    let gateway = with_tenants(["A"]).overdue("A", 2).start().await;
    let tester = Tester::of(&gateway);
    let mut run = Command::new(env!("CARGO_BIN_EXE_turnpike"))
        .args([
            "loadtest",
            "--tenant",
            "A",
            "--rate",
            "50/s",
            "--duration",
            "10m",
            "--warm-up",
            "0s",
            "--json",
            "-",
        ])
        .arg("--url")
        .arg(format!("https://{}", gateway.address))
        .arg("--ca")
        .arg(authority())
        .arg("--token-file")
        .arg(tester.path("token"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(run.stderr.take().unwrap()).lines();
    while let Some(line) = progress.next_line().await.unwrap() {
        if line.contains("/s  p50") && !line.contains(" 0.0/s") {
            break;
        }
    }

    kill(Pid::from_raw(run.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    let output = timeout(Duration::from_secs(30), run.wait_with_output()).await.expect("it ends").unwrap();

    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["interrupted"], &report["passed"]), (&json!(true), &json!(false)));
    assert!(number(&report, "/answered") > 0.0, "{report:#}");
    assert_eq!(report["failed"], json!(0), "calls under way don't count");
    assert!(number(&report, "/duration_seconds") < 600.0);
}

#[tokio::test]
async fn the_page_is_whole_in_itself() {
    let gateway = with_tenants(["A"]).overdue("A", 2).start().await;
    let tester = Tester::of(&gateway);
    let (page, json) = (tester.path("report.html"), tester.path("report.json"));

    let run = "--tenant A --rate 20/s --duration 500ms --warm-up 0s";
    let finished = tester.run(&format!("{run} --html {} --json {}", page.display(), json.display())).await;

    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("10 answered whole"), "the text is there as well: {finished:?}");
    let page = fs::read_to_string(page).unwrap();
    for reference in ["http:", "https:", "src=", "href=", "@import", "url(", "<script"] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert_eq!(page.matches("<svg").count(), 3, "latency and rate over time, and the distribution");
    assert!(page.contains(&gateway.address.to_string()) && page.contains("passed"));
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["answered"], json!(10));
    let written =
        fs::read_to_string(tester.path("report.json")).unwrap() + &page + &finished.stdout + &finished.stderr;
    assert!(!written.contains(TOKEN), "a token is never written");
}

#[tokio::test]
async fn a_stall_shows_in_every_call_that_was_due_meanwhile() {
    let gateway = with_tenants(["A"]).overdue("A", 1).start().await;
    let tester = Tester::of(&gateway);
    let mut back_office = gateway.database("A").session().await;

    // Previews wait from the first one on, the preflight doesn't.
    let lock = back_office.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE violations IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let run = tester.report("--tenant A --rate 50/s --duration 2s --warm-up 0s");
    let stall = async {
        wait_until("the run is under way", async || gateway.database("A").gateway_waits().await).await;
        let stalled = Instant::now();
        wait_until("it has stalled for a second", async || stalled.elapsed() > Duration::from_secs(1)).await;
        lock.commit().await.unwrap();
    };
    let ((finished, report), ()) = tokio::join!(run, stall);

    // Who waits for an answer before the next call would have called eight times at most meanwhile, the pool's size. Here
    // all calls were made, and the 25 and more that were due half a second before the stall's end waited that long.
    assert_eq!((&report["calls"], &report["answered"]), (&json!(100), &json!(100)), "{finished:?}");
    assert!(number(&report, "/latency_ms/p90") >= 500.0, "{report:#}");
    assert!(number(&report, "/latency_ms/p99") >= 900.0, "{report:#}");
}

#[tokio::test]
async fn errors_are_told_by_kind_and_by_tenant() {
    let tenants = ["GOOD", "FAULTY", "BROKEN", "STALLED"];
    let gateway = tenants
        .iter()
        .fold(with_tenants(tenants), |gateway, tenant| gateway.overdue(tenant, 2))
        .start()
        .await;
    let tester = Tester::of(&gateway);
    // The claim of the one fails, and of the other what is read after the answer's head has left.
    gateway.database("FAULTY").execute("REVOKE SELECT ON violations FROM turnpike").await;
    gateway.database("BROKEN").execute("REVOKE SELECT ON vehicles FROM turnpike").await;
    let mut back_office = gateway.database("STALLED").session().await;
    let lock = back_office.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE violations IN ACCESS EXCLUSIVE MODE").await.unwrap();

    let run = "--all --rate 20/s --duration 1s --warm-up 0s --timeout 15s --errors 100%";
    let (finished, report) = tester.report(run).await;

    let errors = report["errors"].as_array().unwrap().iter();
    let mut errors: Vec<_> = errors.map(|of| (of["kind"].as_str().unwrap(), number(of, "/count"))).collect();
    errors.sort_by_key(|(kind, _)| *kind);
    let expected = [("500 with ErrorCode 9100", 5.0), ("broken body", 5.0), ("timed out", 5.0)];
    assert_eq!(errors, expected, "{finished:?}");
    let answered = report["tenants"].as_array().unwrap().iter();
    let answered: Vec<_> =
        answered.map(|of| (of["tenant"].as_str().unwrap(), number(of, "/answered"))).collect();
    assert_eq!(answered, [("BROKEN", 0.0), ("FAULTY", 0.0), ("GOOD", 5.0), ("STALLED", 0.0)]);
    // Who timed out counts with the time-out: else the slowest calls would make the figures better.
    assert!(number(&report, "/latency_ms/max") >= 15_000.0, "{report:#}");
}

#[tokio::test]
async fn what_cannot_be_tested_is_said_before_anything_is_called() {
    let gateway = with_tenants(["A", "B"]).overdue("A", 1).start().await;
    let tester = Tester::of(&gateway);
    gateway.database("B").execute("UPDATE api_tokens SET revoked_at = now()").await;
    let run = "--rate 10/s --duration 300ms --warm-up 0s";

    let unfit = tester.run(&format!("--tenant A --tenant B {run}")).await;
    let untrusted = turnpike(
        &gateway.config_file(),
        &format!(
            "loadtest --tenant A {run} --url https://{} --token-file {}",
            gateway.address,
            tester.path("token").display()
        ),
    )
    .await;
    let nobody = turnpike(
        &gateway.config_file(),
        &format!(
            "loadtest --tenant A {run} --url https://127.0.0.1:1 --ca {} --token-file {}",
            authority().display(),
            tester.path("token").display()
        ),
    )
    .await;

    assert_eq!([unfit.code, untrusted.code, nobody.code], [Some(1); 3]);
    assert!(
        unfit.stderr.contains("1 of 2 tenants can't be load-tested") && unfit.stderr.contains("B: 401"),
        "{unfit:?}"
    );
    assert!(
        untrusted.stderr.contains("TLS handshake failed") && untrusted.stderr.contains("--ca"),
        "{untrusted:?}"
    );
    assert!(nobody.stderr.contains("connection refused"), "{nobody:?}");
    assert_eq!(unfit.stdout, "");
}

#[tokio::test]
async fn a_command_line_that_cannot_be_used_is_told_with_exit_code_2() {
    let gateway = with_tenants(["A"]).start().await;
    let tester = Tester::of(&gateway);

    for (command, words) in [
        ("--tenant A", "--rate"),
        ("--rate 5/s", "--tenant"),
        ("--tenant A --rate 5/s --vendors 2", "cannot be used with"),
        ("--tenant A --all --rate 5/s", "cannot be used with"),
        ("--tenant A --rate 5/d", "50/s"),
        ("--tenant X* --rate 5/s", "no tenant of"),
        ("--tenant A --rate 5/s --consume", "--yes"),
        ("--tenant A --rate 5/s --html /nowhere/report.html", "/nowhere/report.html"),
        ("once --tenant A", "--yes"),
        ("isolation --storm A", "--measure"),
    ] {
        let finished = tester.run(command).await;
        assert_eq!(finished.code, Some(2), "{command}: {finished:?}");
        assert!(finished.stderr.contains(words), "{command}: {finished:?}");
    }
    let no_token = format!(
        "loadtest --tenant A --rate 5/s --url https://{} --ca {} --token-dir {}",
        gateway.address,
        authority().display(),
        gateway.directory.path().display()
    );
    let no_token = turnpike(&gateway.config_file(), &no_token).await;
    assert_eq!(no_token.code, Some(2));
    assert!(no_token.stderr.contains("could not read A's token from"), "{no_token:?}");
}

#[tokio::test]
async fn all_and_patterns_call_for_the_configurations_tenants() {
    let gateway = with_tenants(["NORTH_1", "NORTH_2", "SOUTH"]).start().await;
    let tester = Tester::of(&gateway);
    let run = "--rate 30/s --duration 300ms --warm-up 0s";
    let names = |report: &Value| -> Vec<String> {
        let tenants = report["tenants"].as_array().unwrap();
        tenants.iter().map(|of| of["tenant"].as_str().unwrap().to_owned()).collect()
    };

    let (_, all) = tester.report(&format!("--all {run}")).await;
    let (_, north) = tester.report(&format!("--tenant NORTH_* --tenant NORTH_2 {run}")).await;

    assert_eq!(names(&all), ["NORTH_1", "NORTH_2", "SOUTH"]);
    assert_eq!(names(&north), ["NORTH_1", "NORTH_2"]);
}

#[tokio::test]
async fn a_run_that_consumes_claims_for_real() {
    let gateway = with_tenants(["A"]).overdue("A", 6).start().await;

    let (finished, report) = Tester::of(&gateway)
        .report("--tenant A --vendors 1 --limit 2 --duration 1s --warm-up 0s --consume --yes")
        .await;

    assert_eq!(finished.code, Some(0), "{finished:?}");
    let records = report["records"].as_i64().unwrap();
    assert!(records > 0 && report["previews"] == json!(false), "{report:#}");
    assert_eq!(gateway.database("A").marked().await, records);
    let states = gateway.database("A").batch_states().await;
    assert_eq!(states, vec!["released"; states.len()]);
}

#[tokio::test]
async fn isolation_compares_a_tenant_alone_and_under_anothers_storm() {
    let gateway = with_tenants(["A", "B"]).overdue("A", 50).overdue("B", 2).start().await;
    let tester = Tester::of(&gateway);
    let before = [gateway.database("A").everything().await, gateway.database("B").everything().await];
    let run = "isolation --storm A --measure B --rounds 2 --duration 500ms --warm-up 100ms --storm-vendors 2 --storm-limit 5";

    let (held, report) = tester.report(&format!("{run} --max-ratio 100000")).await;
    let text = tester.run(&format!("{run} --max-ratio 100000")).await;

    assert_eq!(held.code, Some(0), "{held:?}");
    assert_eq!(report["rounds"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&report["baseline"]["answered"], &report["under_storm"]["answered"]),
        (&json!(20), &json!(20))
    );
    assert!(number(&report, "/storm_answered") > 0.0);
    let ratio = number(&report, "/under_storm/latency_ms/p50") / number(&report, "/baseline/latency_ms/p50");
    assert!((number(&report, "/median_ratio") - ratio).abs() < 1e-9, "{report:#}");
    assert!(text.output().contains("the storm: ") && text.output().ends_with("held\n"), "{text:?}");
    let after = [gateway.database("A").everything().await, gateway.database("B").everything().await];
    assert_eq!(after, before, "it takes previews alone");
}

#[tokio::test]
async fn isolation_is_found_wanting_where_the_storm_could_not_rage() {
    let gateway = with_tenants(["A", "B"]).overdue("B", 2).start().await;
    let tester = Tester::of(&gateway);
    let run =
        "isolation --storm A --measure B --rounds 1 --duration 500ms --warm-up 100ms --max-ratio 100000";
    // Its batches can be listed, and the storm's calls fail, each and every one.
    gateway.database("A").execute("REVOKE SELECT ON violations FROM turnpike").await;

    let (finished, report) = tester.report(run).await;

    assert_eq!((finished.code, &report["storm_answered"]), (Some(1), &json!(0)), "{report:#}");
    assert!(report["faults"].to_string().contains("nothing was put to the test"), "{report:#}");
}

#[tokio::test]
async fn once_finds_every_violation_in_exactly_one_answer_though_vendors_are_cut_off() {
    for http in ["1.1", "2"] {
        let gateway = with_tenants(["A"]).start().await;
        // With a history: what the trial expects, by the database, is what a claim takes, and none of the rest.
        turnpike(&gateway.config_file(), "sample --tenant A --violations 150 --history 100").await.output();
        let sent_before = gateway.database("A").marked().await;

        let command = format!("once --tenant A --vendors 4 --limit 6 --cut-percent 40 --yes --http {http}");
        let (finished, report) = Tester::of(&gateway).report(&command).await;

        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_eq!(report["exactly_once"], json!(true));
        let findings = &report["findings"];
        assert_eq!((&findings["expected"], &findings["handed_over"]), (&json!(150), &json!(150)));
        assert_eq!((&findings["missing"], &findings["doubles"]), (&json!(0), &json!([])));
        let cuts = ["cut_before_head", "cut_at_head", "cut_midway", "cut_at_end"];
        let cut: f64 = cuts.iter().map(|cut| number(&report, &format!("/deeds/{cut}"))).sum();
        assert!(cut > 0.0 && number(&report, "/deeds/replayed") > 0.0, "{report:#}");
        assert_eq!(gateway.database("A").marked().await, sent_before + 150);
        assert_eq!(report["left_in_database"], json!(0));
    }
}

#[tokio::test]
async fn once_is_found_wanting_where_the_gateway_hands_a_violation_over_twice() {
    let gateway = with_tenants(["A"]).overdue("A", 40).start().await;
    let database = gateway.database("A");
    // A back office that clears the mark of what was just handed over: planted, so that the checker is seen to see it.
    database
        .execute(
            "CREATE FUNCTION plant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 UPDATE public.violations SET \"SentToCollections\" = NULL WHERE \"ViolationID\" = 7 AND NEW.batch_id < 4;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER plant AFTER UPDATE ON collection_batches FOR EACH ROW
             WHEN (NEW.state = 'released' AND 7 = ANY (NEW.violation_ids)) EXECUTE FUNCTION plant();",
        )
        .await;

    let (finished, report) =
        Tester::of(&gateway).report("once --tenant A --vendors 1 --limit 10 --cut-percent 0 --yes").await;

    assert_eq!((finished.code, &report["exactly_once"]), (Some(1), &json!(false)), "{report:#}");
    assert_eq!(report["findings"]["doubles"][0]["violation"], json!(7), "{report:#}");
}

#[tokio::test]
async fn once_needs_no_database_where_the_number_is_given_and_finds_a_wrong_one() {
    let gateway = with_tenants(["A"]).overdue("A", 12).start().await;

    let missing = Tester::of(&gateway).run("once --tenant A --violations 13 --cut-percent 0 --yes").await;

    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(
        missing.stdout.contains("missing      1") && missing.stdout.ends_with("found wanting\n"),
        "{missing:?}"
    );
}

#[tokio::test]
async fn once_refuses_a_token_that_only_gets_previews() {
    let gateway = with_tenants(["A"]).overdue("A", 3).start().await;
    gateway.database("A").execute("UPDATE api_tokens SET sandbox = true").await;

    let finished = Tester::of(&gateway).run("once --tenant A --yes").await;

    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("this token is a sandbox token"), "{finished:?}");
    assert_eq!(gateway.database("A").marked().await, 0);
}
