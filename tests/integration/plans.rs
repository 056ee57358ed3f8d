//! What a poll costs after many years: the plans of the claim, of the void and of every read, on a million violations.

use serde_json::Value;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::TestDatabase;
use crate::support::database::cluster;
use crate::support::gateway::TOKEN;

/// Shared by the tests of this file, which roll back whatever they do, one at a time (as the claims' lock has it).
static HISTORY: OnceCell<TestDatabase> = OnceCell::const_new();

const CLAIM_ID: &str = "00000000-0000-4000-8000-000000000001";
/// Tables that grow with the years.
const LARGE: [&str; 7] = [
    "violations",
    "violation_details",
    "attachments",
    "vehicles",
    "vehicle_drivers",
    "users",
    "collection_batches",
];

/// A back-office session on the long history.
async fn session() -> Client {
    let history = HISTORY.get_or_init(|| async {
        let database = TestDatabase::create(cluster().await).await;
        database.add_token(TOKEN, "full").await;
        database.execute(include_str!("long_history.sql")).await;
        database
    });
    history.await.session().await
}

/// A statement as PostgreSQL plans it for the gateway, which prepares it.
#[derive(Clone, Copy)]
struct Prepared {
    name: &'static str,
    types: &'static str,
    sql: &'static str,
    arguments: &'static str,
}

const CLAIM: Prepared = Prepared {
    name: "claim",
    types: "bytea, inet, uuid, integer, numeric, int4[], bigint, double precision, text, text, text, double precision",
    sql: include_str!("../../src/sql/claim.sql"),
    arguments: "sha256('canary-token-0123456789-0123456789-0123456789-0123'), '::1',
                '00000000-0000-4000-8000-000000000001', 0, 0, '{}', NULL, 60, 'test', 'test', NULL, 604800",
};
const KEYED_CLAIM: Prepared = Prepared {
    arguments: "sha256('canary-token-0123456789-0123456789-0123456789-0123'), '::1',
                '00000000-0000-4000-8000-000000000001', 0, 0, '{}', NULL, 60, 'test', 'test', 'night-1', 604800",
    ..CLAIM
};
const LIMITED_CLAIM: Prepared = Prepared {
    arguments: "sha256('canary-token-0123456789-0123456789-0123456789-0123'), '::1',
                '00000000-0000-4000-8000-000000000001', 0, 0, '{}', 20, 60, 'test', 'test', NULL, 604800",
    ..CLAIM
};
const LIST: Prepared = Prepared {
    name: "batch_list",
    types: "bytea, bigint, bigint",
    sql: include_str!("../../src/sql/batch_list.sql"),
    arguments: "sha256('canary-token-0123456789-0123456789-0123456789-0123'), NULL, 51",
};
const VOID: Prepared = Prepared {
    name: "void_unmark",
    types: "uuid",
    sql: include_str!("../../src/sql/void_unmark.sql"),
    arguments: "'00000000-0000-4000-8000-000000000001'",
};
const EXPIRE: Prepared = Prepared {
    name: "expire",
    types: "text",
    sql: include_str!("../../src/sql/expire.sql"),
    arguments: "'lease over'",
};
const FIRST_VIOLATIONS: Prepared = Prepared {
    name: "first_violations",
    types: "int4[], uuid, integer",
    sql: include_str!("../../src/sql/records/violations.sql"),
    arguments: "NULL, '00000000-0000-4000-8000-000000000001', 50",
};
const RECORDS: [Prepared; 6] = [
    FIRST_VIOLATIONS,
    Prepared {
        name: "violations",
        arguments: "'{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}', NULL, NULL",
        ..FIRST_VIOLATIONS
    },
    Prepared {
        name: "vehicles",
        types: "int4[]",
        sql: include_str!("../../src/sql/records/vehicles.sql"),
        arguments: "'{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}'",
    },
    Prepared {
        name: "people",
        types: "int4[], int4[], boolean",
        sql: include_str!("../../src/sql/records/people.sql"),
        arguments: "'{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}', '{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}', true",
    },
    Prepared {
        name: "details",
        types: "int4[]",
        sql: include_str!("../../src/sql/records/details.sql"),
        arguments: "'{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}'",
    },
    Prepared {
        name: "attachments",
        types: "int4[]",
        sql: include_str!("../../src/sql/records/attachments.sql"),
        arguments: "'{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}'",
    },
];

/// The two ways in which PostgreSQL plans a prepared statement; which of them it takes is its own choice.
const MODES: [&str; 2] = ["force_generic_plan", "force_custom_plan"];

/// Begins a transaction as a claim does, and prepares the statements.
async fn begin(session: &Client, mode: &str, statements: &[Prepared]) {
    session.batch_execute(include_str!("../../src/sql/claim_begin.sql")).await.unwrap();
    session.batch_execute(&format!("SET LOCAL plan_cache_mode = {mode}; DEALLOCATE ALL")).await.unwrap();
    for Prepared { name, types, sql, .. } in statements {
        session.batch_execute(&format!("PREPARE {name} ({types}) AS {sql}")).await.unwrap();
    }
}

async fn execute(session: &Client, statement: Prepared) {
    session.batch_execute(&format!("EXECUTE {} ({})", statement.name, statement.arguments)).await.unwrap();
}

/// Runs the statement; gives its plan's nodes.
async fn explain(session: &Client, statement: Prepared) -> Vec<Node> {
    let explain = format!(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {} ({})",
        statement.name, statement.arguments
    );
    let messages = session.simple_query(&explain).await.unwrap();
    let plan = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: Value = serde_json::from_str(plan.expect("a plan")).unwrap();
    let mut nodes = Vec::new();
    collect(&plan[0]["Plan"], &mut nodes);
    nodes
}

#[derive(Debug)]
struct Node {
    kind: String,
    table: String,
    index: String,
    rows: f64,
    /// Its own, without its children's.
    buffers: i64,
}

/// Puts the nodes of a plan into a list; gives the buffers of all.
fn collect(plan: &Value, nodes: &mut Vec<Node>) -> i64 {
    let buffers = plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap();
    let children = plan["Plans"].as_array().into_iter().flatten();
    let of_children: i64 = children.map(|child| collect(child, nodes)).sum();
    let text = |key: &str| plan[key].as_str().unwrap_or_default().to_owned();
    nodes.push(Node {
        kind: text("Node Type"),
        table: text("Relation Name"),
        index: text("Index Name"),
        rows: plan["Actual Rows"].as_f64().unwrap(),
        buffers: buffers - of_children,
    });
    buffers
}

/// How many rows were locked.
fn locked(nodes: &[Node]) -> f64 {
    nodes.iter().filter(|node| node.kind == "LockRows").map(|node| node.rows).sum()
}

/// What finding violations took, without the marking.
fn buffers_of_violations(nodes: &[Node]) -> i64 {
    let finding = nodes.iter().filter(|node| node.table == "violations" && node.kind != "ModifyTable");
    finding.map(|node| node.buffers).sum()
}

fn assert_no_large_table_is_scanned(name: &str, mode: &str, nodes: &[Node]) {
    for node in nodes {
        let scans = node.kind == "Seq Scan" && LARGE.contains(&node.table.as_str());
        assert!(!scans, "{name}, {mode}: {node:?}");
    }
}

#[tokio::test]
async fn a_claim_reads_what_is_eligible_and_not_the_history() {
    let session = session().await;
    for mode in MODES {
        begin(&session, mode, &[CLAIM]).await;
        let claim = explain(&session, CLAIM).await;
        let empty = explain(&session, CLAIM).await;
        session.batch_execute("ROLLBACK").await.unwrap();

        for (nodes, rows) in [(&claim, 10.0), (&empty, 0.0)] {
            assert_no_large_table_is_scanned("claim", mode, nodes);
            for index in ["violations_collectable", "violations_once_held"] {
                let due: Vec<&Node> = nodes.iter().filter(|node| node.index == index).collect();
                assert_eq!(due.len(), 1, "{mode}: {nodes:#?}");
                // A bitmap scan counts an entry of the index also where its row was given back or rolled back.
                assert!(due[0].rows < 100.0, "{mode}: {nodes:#?}");
            }
            assert_eq!(locked(nodes), rows, "{mode}: {nodes:#?}");
            assert!(buffers_of_violations(nodes) < 100, "{mode}: {nodes:#?}");
        }
    }
}

#[tokio::test]
async fn a_claim_with_a_limit_reads_no_more_than_it_takes() {
    let database = TestDatabase::create(cluster().await).await;
    database.add_token(TOKEN, "full").await;
    database
        .execute(
            "INSERT INTO violations (\"Ticket\", \"TicketType\", \"Due\", \"Fine\")
             SELECT 'E-' || n, 1, '2019-01-01Z'::timestamptz + n * interval '1 hour', 50 FROM generate_series(1, 20000) AS n;
             ANALYZE violations",
        )
        .await;
    let session = database.session().await;
    // As the gateway's sessions have it: a bitmap would read all 20,000, and sort them.
    session.batch_execute("SET enable_bitmapscan = off").await.unwrap();
    for mode in MODES {
        begin(&session, mode, &[LIMITED_CLAIM]).await;
        let nodes = explain(&session, LIMITED_CLAIM).await;
        session.batch_execute("ROLLBACK").await.unwrap();

        assert_no_large_table_is_scanned("claim", mode, &nodes);
        assert_eq!(locked(&nodes), 21.0, "{mode}: {nodes:#?}");
        assert!(buffers_of_violations(&nodes) < 300, "{mode}: {nodes:#?}");
    }
}

#[tokio::test]
async fn every_read_of_a_record_goes_through_indexes() {
    let session = session().await;
    for mode in MODES {
        begin(&session, mode, &[&[CLAIM][..], &RECORDS].concat()).await;
        execute(&session, CLAIM).await;
        for statement in RECORDS {
            let nodes = explain(&session, statement).await;

            assert_no_large_table_is_scanned(statement.name, mode, &nodes);
            let buffers: i64 = nodes.iter().map(|node| node.buffers).sum();
            assert!(buffers < 300, "{}, {mode}: {buffers} buffers, {nodes:#?}", statement.name);
        }
        session.batch_execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn a_void_touches_its_own_batch_alone() {
    let session = session().await;
    for mode in MODES {
        for (statement, change) in
            [(VOID, "state = 'void', voided_at = now()"), (EXPIRE, "lease_until = '2020-01-01Z'")]
        {
            begin(&session, mode, &[CLAIM, statement]).await;
            execute(&session, CLAIM).await;
            session
                .batch_execute(&format!(
                    "UPDATE collection_batches SET {change} WHERE claim_id = '{CLAIM_ID}'"
                ))
                .await
                .unwrap();
            let nodes = explain(&session, statement).await;
            let left = session
                .query("SELECT FROM violations WHERE \"ViolationID\" > 1000000 AND \"SentToCollections\" IS NOT NULL", &[])
                .await
                .unwrap();
            session.batch_execute("ROLLBACK").await.unwrap();

            assert_eq!(left.len(), 0, "{}, {mode}: it voids", statement.name);
            assert_no_large_table_is_scanned(statement.name, mode, &nodes);
        }
    }
}

#[tokio::test]
async fn what_is_on_hold_for_years_does_not_lie_in_a_polls_way() {
    let session = session().await;
    for mode in MODES {
        begin(&session, mode, &[CLAIM]).await;
        session
            .batch_execute(
                "UPDATE violations SET held_until = now() + interval '100 years', paid_total = 0, \"AdjustmentReason\" = NULL
                  WHERE \"ViolationID\" BETWEEN 300001 AND 320000;
                 UPDATE violations SET \"SentToCollections\" = now() WHERE \"ViolationID\" > 1000000",
            )
            .await
            .unwrap();
        let nodes = explain(&session, CLAIM).await;
        session.batch_execute("ROLLBACK").await.unwrap();

        assert_no_large_table_is_scanned("claim", mode, &nodes);
        assert!(buffers_of_violations(&nodes) < 100, "{mode}: {nodes:#?}");
    }
}

/// Two tokens that took over from the first, and a thousand that have nothing to do with it; the newest batches are the second one's.
const LINE: &str = "
    INSERT INTO api_tokens (token_sha256, vendor, rotated_from, first_token_id)
    SELECT sha256(n::text::bytea), 'Test Collections', 1, 1 FROM generate_series(1, 2) AS n;
    INSERT INTO api_tokens (token_sha256, vendor) SELECT sha256(n::text::bytea), 'Others' FROM generate_series(3, 1002) AS n;
    UPDATE collection_batches SET idempotency_key = 'night-' || batch_id;
    UPDATE collection_batches
       SET token_id = (SELECT max(token_id) FROM api_tokens WHERE first_token_id = 1)
     WHERE batch_id > 900;
    ANALYZE api_tokens, collection_batches";

#[tokio::test]
async fn a_lines_keys_and_newest_batches_are_found_by_index() {
    let session = session().await;
    for mode in MODES {
        begin(&session, mode, &[KEYED_CLAIM, LIST]).await;
        session.batch_execute(LINE).await.unwrap();
        let list = explain(&session, LIST).await;
        let claim = explain(&session, KEYED_CLAIM).await;
        session.batch_execute("ROLLBACK").await.unwrap();

        for (name, nodes) in [("list", &list), ("claim", &claim)] {
            assert_no_large_table_is_scanned(name, mode, nodes);
            let of_batches =
                nodes.iter().filter(|node| node.table == "collection_batches" && node.kind != "ModifyTable");
            let rows: f64 = of_batches.map(|node| node.rows).sum();
            assert!(rows <= 200.0, "{name}, {mode}: {rows} rows, {nodes:#?}");
        }
        assert!(list.iter().any(|node| node.kind == "Limit" && node.rows == 51.0), "{list:#?}");
    }
}
