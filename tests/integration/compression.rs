//! Answers with a content coding: the same document, smaller, and no more whole before its release than a plain one.

use std::io::{self, Read};

use serde_json::Value;

use crate::support::{TestGateway, wait_until};

fn decoded(coding: &str, bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text)?,
        "zstd" => zstd::Decoder::new(bytes)?.read_to_string(&mut text)?,
        other => panic!("{other} is no coding of ours"),
    };
    Ok(text)
}

#[tokio::test]
async fn a_coded_answer_holds_the_same_document() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    for coding in ["gzip", "zstd"] {
        gateway.database("A").add_overdue(1_000).await;

        let request = gateway.vendor("A").request().header("accept-encoding", coding);
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.unwrap();
        let empty = gateway.vendor("A").request().header("accept-encoding", coding).send().await.unwrap();
        let empty = empty.bytes().await.unwrap();

        assert_eq!(headers["content-encoding"], coding);
        assert_eq!(headers["vary"], "Accept-Encoding");
        let text = decoded(coding, &bytes).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["records"].as_array().unwrap().len(), 1_000);
        assert!(bytes.len() * 5 < text.len(), "{} of {} bytes", bytes.len(), text.len());
        assert!(decoded(coding, &empty).unwrap().starts_with(r#"{"records":[],"state":"#));
    }
    assert_eq!(gateway.database("A").batch_states().await, ["released", "released"]);
}

#[tokio::test]
async fn an_answer_is_plain_unless_a_coding_is_asked_for() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;

    let plain = gateway.vendor("A").claim().await;
    let refused =
        gateway.vendor("A").request().header("accept-encoding", "br, deflate").send().await.unwrap();

    assert_eq!(plain.records().len(), 1);
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(refused.headers().get("content-encoding"), None);
}

#[tokio::test]
async fn no_coded_stream_is_whole_before_its_batch_is_released() {
    for coding in ["gzip", "zstd"] {
        let gateway = TestGateway::with_tenants(["A"]).overdue("A", 100).start().await;
        let database = gateway.database("A");
        // Text that doesn't shrink, more than what waits in kernels and windows.
        database
            .execute(
                "UPDATE violations
                    SET \"Comment\" = (
                        SELECT string_agg(md5(\"ViolationID\" || '-' || n), '')
                          FROM generate_series(1, CASE \"ViolationID\" WHEN 100 THEN 200000 ELSE 1000 END) AS n
                    )",
            )
            .await;
        let back_office = database.session().await;

        let request = gateway.vendor("A").request().header("accept-encoding", coding);
        let mut response = request.send().await.unwrap();
        let mut bytes = response.chunk().await.unwrap().unwrap().to_vec();
        back_office.batch_execute("BEGIN; SELECT FROM collection_batches FOR UPDATE").await.unwrap();
        let reading = tokio::spawn(async move {
            loop {
                match response.chunk().await {
                    Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                    Ok(None) => return (bytes, true),
                    Err(_broken_off) => return (bytes, false),
                }
            }
        });
        wait_until("the release waits for the lock", async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%released%'";
            database.count(waiting).await > 0
        })
        .await;
        back_office
            .batch_execute("UPDATE collection_batches SET state = 'void', voided_at = now(); COMMIT")
            .await
            .unwrap();
        let (bytes, ended_well) = reading.await.unwrap();

        assert!(!ended_well, "{coding}: the body ended as if it were whole");
        assert!(bytes.len() > 1_000_000, "all but the end was there: {}", bytes.len());
        assert!(
            decoded(coding, &bytes).is_err(),
            "{coding}: a stream of a void batch could be read to its end"
        );
    }
}
