//! What is overdue and collectable, rule by rule, each at its boundary. For every case, `explain` must
//! say what the claim does.

use std::fmt::Write;

use tokio_postgres::{Client, SimpleQueryMessage};
use turnpike::config::Config;
use turnpike::database::{Database, statements as sql};

use crate::support::TestGateway;
use crate::support::gateway::TOKEN;

/// A ticket, what becomes of an eligible violation (SQL; `{id}` is its ViolationID), and whether it still is one.
type Case = (&'static str, String, bool);

const ELIGIBLE: bool = true;
const NOT: bool = false;

fn unchanged() -> String {
    String::new()
}

fn set(columns: &str) -> String {
    format!("UPDATE violations SET {columns} WHERE \"ViolationID\" = {{id}};")
}

fn pay(amounts: &[&str]) -> String {
    let rows: Vec<String> = amounts.iter().map(|amount| format!("({{id}}, {amount})")).collect();
    format!("INSERT INTO payments (\"ViolationID\", amount) VALUES {};", rows.join(", "))
}

/// Each hold is a reason and its end.
fn hold(holds: &[&str]) -> String {
    let rows: Vec<String> = holds.iter().map(|hold| format!("({{id}}, {hold})")).collect();
    format!("INSERT INTO collection_holds (\"ViolationID\", reason, until) VALUES {};", rows.join(", "))
}

const INDEFINITE: &str = "'indefinite', NULL";
const IN_FORCE: &str = "'in force', now() + interval '1 hour'";
const OVER: &str = "'over', now() - interval '1 hour'";

fn lift(reason: &str) -> String {
    format!("DELETE FROM collection_holds WHERE \"ViolationID\" = {{id}} AND reason = '{reason}';")
}

fn end(until: &str) -> String {
    format!("UPDATE collection_holds SET until = {until} WHERE \"ViolationID\" = {{id}};")
}

/// Claims with these settings, and holds the answer, and `explain`, to what the cases say.
async fn assert_claimed(settings: &str, cases: &[Case]) {
    let gateway = TestGateway::with_tenants(["A"]).tenant_setting("A", settings).start().await;
    let database = gateway.database("A");
    for (position, (ticket, change, _)) in cases.iter().enumerate() {
        let id = position + 1;
        database
            .execute(&format!(
                "INSERT INTO violations (\"ViolationID\", \"Ticket\", \"TicketType\", \"Due\", \"Fine\")
                 VALUES ({id}, '{ticket}', 1, now() - interval '1 hour', 50)"
            ))
            .await;
        database.execute(&change.replace("{id}", &id.to_string())).await;
    }
    let expected: Vec<&str> = cases.iter().filter(|case| case.2).map(|case| case.0).collect();

    let explained = explain(&gateway, cases).await;
    let mut claimed = gateway.vendor("A").claim().await.tickets();

    claimed.sort_by_key(|ticket| cases.iter().position(|case| case.0 == ticket));
    assert_eq!(claimed, expected, "claimed");
    assert_eq!(explained, expected, "explained");
}

/// The tickets whose rules all hold, by the statement and with the configuration that `turnpike explain` has.
async fn explain(gateway: &TestGateway, cases: &[Case]) -> Vec<String> {
    let tenant = Config::load(&gateway.config_file()).unwrap().tenants.remove(0);
    let rules = &tenant.eligibility;
    let database = Database::open(&tenant).unwrap();
    let mut eligible = Vec::new();
    for (ticket, ..) in cases {
        let rows = database
            .query(
                &sql::EXPLAIN,
                &[ticket, &rules.grace_days, &rules.minimum_balance, &rules.exclude_categories],
            )
            .await
            .unwrap();
        assert_eq!(rows.len(), 10, "{ticket}: one row a rule");
        if rows.iter().all(|row| row.get("holds")) {
            eligible.push((*ticket).to_owned());
        }
    }
    eligible
}

// Due and grace ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn only_what_is_due_is_claimed() {
    assert_claimed(
        "",
        &[
            ("due an hour ago", unchanged(), ELIGIBLE),
            ("due in an hour", set(r#""Due" = now() + interval '1 hour'"#), NOT),
            ("no due date", set(r#""Due" = NULL"#), NOT),
            ("due never", set(r#""Due" = 'infinity'"#), NOT),
            ("due always", set(r#""Due" = '-infinity'"#), ELIGIBLE),
            ("due long ago", set(r#""Due" = '1969-12-31Z'"#), ELIGIBLE),
        ],
    )
    .await;
}

#[tokio::test]
async fn grace_days_put_the_claim_off() {
    assert_claimed(
        "eligibility = { grace_days = 10 }",
        &[
            ("in grace", set(r#""Due" = now() - interval '9 days 23 hours'"#), NOT),
            ("out of grace", set(r#""Due" = now() - interval '10 days 1 hour'"#), ELIGIBLE),
        ],
    )
    .await;
}

/// Claims in the very moment in which violations are due: all statements of a message share `statement_timestamp()`.
async fn claim_at_one_moment(session: &Client, grace_days: i32) -> Vec<(String, bool)> {
    let token: String = turnpike::auth::hash_token(TOKEN).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    session
        .batch_execute(&format!(
            "PREPARE claim (bytea, inet, uuid, integer, numeric, int4[], bigint, double precision, text, text, text, float8)
             AS {};
             PREPARE explain (text, integer, numeric, int4[]) AS {}",
            include_str!("../../src/sql/claim.sql"),
            include_str!("../../src/sql/explain.sql")
        ))
        .await
        .unwrap();
    let mut moment = String::new();
    for (column, ticket, offset) in [
        ("Due", "due a microsecond ago", "- interval '1 us'"),
        ("Due", "due now", ""),
        ("Due", "due in a microsecond", "+ interval '1 us'"),
        ("held_until", "held until a microsecond ago", "- interval '1 us'"),
        ("held_until", "held until now", ""),
        ("held_until", "held until in a microsecond", "+ interval '1 us'"),
    ] {
        write!(
            moment,
            "INSERT INTO violations (\"Ticket\", \"TicketType\", \"Due\", \"Fine\")
             VALUES ('{ticket}', 1, '2020-01-01Z', 1);
             UPDATE violations
                SET \"{column}\" = statement_timestamp() {offset}
                    - CASE '{column}' WHEN 'Due' THEN make_interval(days => {grace_days}) ELSE '0' END
              WHERE \"Ticket\" = '{ticket}';
             EXECUTE explain ('{ticket}', {grace_days}, 0, '{{}}');"
        )
        .unwrap();
    }
    write!(
        moment,
        "EXECUTE claim ('\\x{token}', '::1', gen_random_uuid(), {grace_days}, 0, '{{}}', NULL, 60, '', '', NULL, 604800)"
    )
    .unwrap();
    let messages = session.simple_query(&moment).await.unwrap();

    let mut explained: Vec<bool> = Vec::new();
    for message in &messages {
        if let SimpleQueryMessage::Row(row) = message
            && let Some(holds) = row.try_get("holds").ok().flatten()
        {
            if row.get("rule") == Some("due") {
                explained.push(true);
            }
            *explained.last_mut().unwrap() &= holds == "t";
        }
    }
    let tickets = session
        .query(
            "SELECT \"Ticket\", \"SentToCollections\" IS NOT NULL FROM violations ORDER BY \"ViolationID\"",
            &[],
        )
        .await
        .unwrap();
    let claimed: Vec<bool> = tickets.iter().map(|row| row.get(1)).collect();
    assert_eq!(explained, claimed, "explained, claimed");
    tickets.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn a_violation_is_overdue_and_a_hold_over_to_the_microsecond() {
    for grace_days in [0, 30] {
        let gateway = TestGateway::with_tenants(["A"]).start().await;
        let session = gateway.database("A").session().await;

        let claimed = claim_at_one_moment(&session, grace_days).await;

        let expected = [
            ("due a microsecond ago", true),
            ("due now", false),
            ("due in a microsecond", false),
            ("held until a microsecond ago", true),
            ("held until now", true),
            ("held until in a microsecond", false),
        ];
        assert_eq!(claimed, expected.map(|(ticket, sent)| (ticket.to_owned(), sent)), "{grace_days}");
    }
}

// Balance ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_is_paid_is_not_claimed() {
    assert_claimed(
        "",
        &[
            ("unpaid", unchanged(), ELIGIBLE),
            ("paid", pay(&["50"]), NOT),
            ("paid but for the least", pay(&["49.9999"]), ELIGIBLE),
            ("overpaid", pay(&["50.0001"]), NOT),
            ("paid in parts", pay(&["30", "20"]), NOT),
            ("paid in part", pay(&["30", "19"]), ELIGIBLE),
            ("reversed", pay(&["50", "-50"]), ELIGIBLE),
            ("reversed later", pay(&["50"]) + &pay(&["-0.0001"]), ELIGIBLE),
            (
                "payment deleted",
                pay(&["50"]) + r#"DELETE FROM payments WHERE "ViolationID" = {id}"#,
                ELIGIBLE,
            ),
            (
                "payment corrected up",
                pay(&["5"]) + r#"UPDATE payments SET amount = 50 WHERE "ViolationID" = {id}"#,
                NOT,
            ),
            ("fine of nothing", set(r#""Fine" = 0"#), NOT),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_balance_must_be_above_the_minimum() {
    assert_claimed(
        "eligibility = { minimum_balance = \"12.50\" }",
        &[
            ("at it", set(r#""Fine" = 12.5"#), NOT),
            ("above it", set(r#""Fine" = 12.5001"#), ELIGIBLE),
            ("below it", set(r#""Fine" = 12.4999"#), NOT),
            ("paid down to it", pay(&["37.5"]), NOT),
            ("paid down above it", pay(&["37.4999"]), ELIGIBLE),
            ("towing lifts it", set(r#""Fine" = 12.5, "Towing" = 0.0001"#), ELIGIBLE),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_adjustment_counts_where_it_set_an_amount_or_gave_a_reason() {
    assert_claimed(
        "eligibility = { minimum_balance = \"20\" }",
        &[
            ("adjusted down", set(r#""AdjustedFine" = 20"#), NOT),
            ("adjusted, still much", set(r#""AdjustedFine" = 20.0001"#), ELIGIBLE),
            ("adjusted up", set(r#""Fine" = 1, "AdjustedFine" = 80"#), ELIGIBLE),
            ("to nothing, for a reason", set(r#""AdjustmentReason" = 'first offence'"#), NOT),
            ("a blank reason", set(r#""AdjustmentReason" = E' \t\r\n'"#), ELIGIBLE),
            ("an empty reason", set(r#""AdjustmentReason" = ''"#), ELIGIBLE),
            ("forgiven, but towed", set(r#""AdjustmentReason" = 'kind', "Towing" = 21"#), ELIGIBLE),
            ("towing alone", set(r#""Fine" = 0, "Towing" = 20.0001"#), ELIGIBLE),
            ("tax alone", set(r#""Fine" = 0, "taxAmount" = 20.0001"#), ELIGIBLE),
            ("tax and towing, too little", set(r#""Fine" = 0, "taxAmount" = 10, "Towing" = 10"#), NOT),
        ],
    )
    .await;
}

// Flags, appeals, holds, categories -------------------------------------------------------------------------

#[tokio::test]
async fn spoiled_tickets_warnings_and_duplicates_are_not_claimed() {
    assert_claimed(
        "",
        &[
            ("spoiled", set(r#""Spoiled" = 1"#), NOT),
            ("a warning", set(r#""Warning" = 1"#), NOT),
            ("no warning", set(r#""Warning" = 0"#), ELIGIBLE),
            ("a duplicate", set("duplicate = 7"), NOT),
            ("duplicate of 1", set("duplicate = 1"), NOT),
            ("duplicate 0", set("duplicate = 0"), ELIGIBLE),
            ("duplicate -1", set("duplicate = -1"), ELIGIBLE),
            ("duplicate null", set(r#"duplicate = NULL, "Warning" = NULL"#), ELIGIBLE),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_undecided_appeal_keeps_a_violation_back() {
    assert_claimed(
        "",
        &[
            ("appealed", set(r#""TicketAppeal" = '2021-01-01Z'"#), NOT),
            (
                "decided",
                set(r#""TicketAppeal" = '2021-01-01Z', "AppealProcessDate" = '2021-02-01Z'"#),
                ELIGIBLE,
            ),
            ("decided without appeal", set(r#""AppealProcessDate" = '2021-02-01Z'"#), ELIGIBLE),
            ("only words of an appeal", set(r#""AppealComment" = 'unfair', "appealType" = 1"#), ELIGIBLE),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_hold_in_force_keeps_a_violation_back() {
    assert_claimed(
        "",
        &[
            ("until lifted", hold(&[INDEFINITE]), NOT),
            ("in force", hold(&[IN_FORCE]), NOT),
            ("over", hold(&[OVER]), ELIGIBLE),
            ("lifted", hold(&[INDEFINITE]) + &lift("indefinite"), ELIGIBLE),
            ("one over, one in force", hold(&[OVER, IN_FORCE]), NOT),
            ("one until lifted, one over", hold(&[INDEFINITE, OVER]), NOT),
            ("all over", hold(&[OVER, OVER]), ELIGIBLE),
            ("the longer one lifted", hold(&[INDEFINITE, OVER]) + &lift("indefinite"), ELIGIBLE),
            ("the shorter one lifted", hold(&[INDEFINITE, OVER]) + &lift("over"), NOT),
            ("cut short", hold(&[INDEFINITE]) + &end("now() - interval '1 hour'"), ELIGIBLE),
            ("prolonged", hold(&[OVER]) + &end("now() + interval '1 hour'"), NOT),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_was_processed_or_sent_already_is_not_claimed() {
    assert_claimed(
        "",
        &[
            ("processed", set(r#""ProcessedByCollection" = '2021-01-01Z'"#), NOT),
            ("sent", set(r#""SentToCollections" = '2021-01-01Z'"#), NOT),
            ("neither", unchanged(), ELIGIBLE),
        ],
    )
    .await;
}

#[tokio::test]
async fn excluded_categories_are_not_claimed() {
    assert_claimed(
        "eligibility = { exclude_categories = [2, 4711] }",
        &[
            ("excluded", set(r#""TicketType" = 2"#), NOT),
            ("not excluded", set(r#""TicketType" = 1"#), ELIGIBLE),
        ],
    )
    .await;
}

// Order, and again ------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_answer_is_ordered_by_due_date_and_then_by_id() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    gateway
        .database("A")
        .execute(
            "INSERT INTO violations (\"ViolationID\", \"Ticket\", \"TicketType\", \"Due\", \"Fine\")
             VALUES (5, 'second, by id', 1, '2021-01-01Z', 1),
                    (2, 'last', 1, '2021-01-02Z', 1),
                    (4, 'first, by id', 1, '2021-01-01Z', 1),
                    (9, 'oldest', 1, '1969-12-31Z', 1),
                    (1, 'a microsecond later', 1, '2021-01-01 00:00:00.000001Z', 1)",
        )
        .await;

    let tickets = gateway.vendor("A").claim().await.tickets();

    assert_eq!(tickets, ["oldest", "first, by id", "second, by id", "a microsecond later", "last"]);
}

#[tokio::test]
async fn a_mark_cleared_by_hand_makes_eligible_again_and_the_ledger_keeps_both() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;
    let database = gateway.database("A");

    let first = gateway.vendor("A").claim().await;
    database.execute("UPDATE violations SET \"SentToCollections\" = NULL WHERE \"Ticket\" = 'T-2'").await;
    let explained = explain(&gateway, &[("T-1", unchanged(), NOT), ("T-2", unchanged(), ELIGIBLE)]).await;
    let second = gateway.vendor("A").claim().await;

    assert_eq!(first.tickets(), ["T-1", "T-2"]);
    assert_eq!(explained, ["T-2"]);
    assert_eq!(second.tickets(), ["T-2"]);
    assert_eq!(database.batch_states().await, ["released", "released"]);
    let ledger =
        database.query("SELECT batch_id, violation_ids FROM collection_batches ORDER BY batch_id", &[]).await;
    let ledger: Vec<(i64, Vec<i32>)> = ledger.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(ledger, [(1, vec![1, 2]), (2, vec![2])]);
}
