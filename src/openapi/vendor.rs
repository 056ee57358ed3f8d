//! The vendors' API described: the router's paths, what a request may say, what may be answered.

use utoipa::openapi::path::{HttpMethod, Operation as OperationObject, OperationBuilder, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Components, ComponentsBuilder, OpenApi, Required, ResponseBuilder};

use super::record::record_schemas;
use super::{
    JSON, PROBLEM_JSON, bearer, begin, by_status, content, flag, header, header_parameter, integer,
    path_parameter, query_parameter, text, with_headers_of, with_schemas,
};
use crate::config::TenantId;
use crate::problem::Problem;
use crate::request::{Attribute, TOKEN_LIMIT};
use crate::response::{BatchesObject, Refusal};
use crate::router::{ACKNOWLEDGE, BATCH, BATCHES, SEND_OVERDUE};

const SECURITY: &str = "apiToken";
const DESCRIPTION: &str = "An institution's overdue violations, handed over once. Nothing but a 200 marks anything as sent, \
                           and a 200 counts once its document is whole. docs/API.md tells the rest.";

/// The document.
pub fn document() -> OpenApi {
    let mut paths = PathsBuilder::new().build();
    let mut add = |path: &str, method, operation: OperationBuilder| {
        paths.add_path_operation(path, vec![method], with_problems(path, operation));
    };
    add(SEND_OVERDUE, HttpMethod::Post, send_overdue());
    add(BATCHES, HttpMethod::Post, list_batches("listBatches", Token::InBody));
    add(BATCHES, HttpMethod::Get, list_batches("getBatches", Token::InHeader));
    add(BATCH, HttpMethod::Post, replay("replayBatch", Token::InBody));
    add(BATCH, HttpMethod::Get, replay("getBatch", Token::InHeader));
    add(ACKNOWLEDGE, HttpMethod::Post, acknowledge());
    begin("Turnpike: vendors", DESCRIPTION).paths(paths).components(Some(components())).build()
}

/// Where a request has its token: a POST in its body, a GET in `Authorization`.
enum Token {
    InBody,
    InHeader,
}

fn send_overdue() -> OperationBuilder {
    let summary = "All overdue violations that weren't sent yet; they are marked as sent";
    let key = text().min_length(Some(1)).max_length(Some(255)).pattern(Some("^[!-~]+$"));
    with_body(operation("sendOverdueToCollections", summary), "Claim")
        .parameter(header_parameter("Idempotency-Key", "The same key gives the same batch again", key))
        .response("200", records())
}

fn list_batches(id: &str, token: Token) -> OperationBuilder {
    let answer = ResponseBuilder::new().description("A page of batches").content(JSON, content("Batches"));
    let operation = operation(id, "The token's own batches, newest first").response("200", answer);
    match token {
        Token::InBody => with_body(operation, "Page"),
        Token::InHeader => with_bearer(operation)
            .parameter(query_parameter("before", "Only batches before this one", integer(1, i64::MAX)))
            .parameter(query_parameter("limit", "At most so many; 50 unless told", integer(1, 500))),
    }
}

fn replay(id: &str, token: Token) -> OperationBuilder {
    let operation = operation(id, "One of the token's own batches again").response("200", records());
    match token {
        Token::InBody => with_body(operation, "Credential"),
        Token::InHeader => with_bearer(operation),
    }
}

fn acknowledge() -> OperationBuilder {
    let answer = ResponseBuilder::new().description("The receipt is noted").content(JSON, content("Batch"));
    let operation = operation("acknowledgeBatch", "Confirm that a batch was received whole");
    with_body(operation, "Acknowledgement").response("200", answer)
}

fn operation(id: &str, summary: &str) -> OperationBuilder {
    let client = text().pattern(Some(TenantId::PATTERN));
    OperationBuilder::new().operation_id(Some(id)).summary(Some(summary)).parameter(path_parameter(
        "client",
        "The institution's client code",
        client,
    ))
}

fn with_body(operation: OperationBuilder, schema: &str) -> OperationBuilder {
    let body = RequestBodyBuilder::new().content(JSON, content(schema)).required(Some(Required::True));
    operation.request_body(Some(body.build()))
}

fn with_bearer(operation: OperationBuilder) -> OperationBuilder {
    operation.security(SecurityRequirement::new(SECURITY, Vec::<String>::new()))
}

/// 200 with records.
fn records() -> ResponseBuilder {
    let when = |words: &str| header(words, text().enum_values(Some(["true"])));
    ResponseBuilder::new()
        .description("A document; once it is whole, its batch is released")
        .content(JSON, content("Records"))
        .header("Batch-Id", header("Where there are records, of no preview", integer(1, i64::MAX)))
        .header("Batch-Count", header("Where there are records", integer(1, i64::MAX)))
        .header("Batch-More", when("Where more are eligible than `limit`"))
        .header("Idempotent-Replayed", when("Where it is a replay"))
}

fn with_problems(path: &str, mut operation: OperationBuilder) -> OperationObject {
    if path.contains("{batch}") {
        operation = operation.parameter(path_parameter("batch", "As Batch-Id had it", integer(1, i64::MAX)));
    }
    let described: Vec<(u16, String)> = problems(path)
        .into_iter()
        .map(Problem::describe)
        .map(|problem| (problem.status.as_u16(), format!("{}: {}", problem.code, problem.message)))
        .collect();
    for (status, words) in by_status(described.iter().map(|(status, text)| (*status, text.as_str()))) {
        let mut response = ResponseBuilder::new();
        if status == 429 {
            let limit = || header("draft-ietf-httpapi-ratelimit-headers", text());
            response = response.header("RateLimit", limit()).header("RateLimit-Policy", limit());
        }
        let response = response
            .description(words)
            .content(JSON, content("Refusal"))
            .content(PROBLEM_JSON, content("Refusal"));
        operation = operation.response(status.to_string(), with_headers_of(status, response));
    }
    operation.build()
}

/// Whatever may be answered instead.
fn problems(path: &str) -> Vec<Problem> {
    let retry_after = std::time::Duration::ZERO;
    let mut problems = vec![
        Problem::NoHost,
        Problem::Malformed,
        Problem::NotJson,
        Problem::EncodedBody,
        Problem::BodyTooLarge,
        Problem::BodyTimeout,
        Problem::MissingToken,
        Problem::TokenTooLong,
        Problem::Unauthenticated,
        Problem::Unauthorized,
        Problem::TooManyRequests { retry_after },
        Problem::TooManyFailures { retry_after },
        Problem::Unavailable { retry_after },
        Problem::Internal,
    ];
    problems.extend(match path {
        SEND_OVERDUE => vec![
            Problem::InvalidValue(Attribute::Limit),
            Problem::InvalidValue(Attribute::Preview),
            Problem::InvalidValue(Attribute::IdempotencyKey),
            Problem::KeyInUse,
            Problem::KeyReused,
            Problem::OutcomeUnknown,
        ],
        BATCHES => {
            vec![Problem::InvalidValue(Attribute::PageLimit), Problem::InvalidValue(Attribute::Before)]
        }
        BATCH => vec![Problem::UnknownBatch, Problem::BatchIncomplete, Problem::BatchOpen],
        _ => vec![
            Problem::UnknownBatch,
            Problem::InvalidValue(Attribute::Records),
            Problem::MissingRecords,
            Problem::WrongCount,
        ],
    });
    problems
}

fn components() -> Components {
    let token = || text().min_length(Some(1)).max_length(Some(TOKEN_LIMIT)).build();
    let request = || ObjectBuilder::new().property("apiToken", token()).required("apiToken");
    let limit = integer(1, 1_000_000).description(Some("At most so many records; without it: all"));
    let preview = flag().description(Some("The same answer, and nothing is marked"));
    let claim = request().property("limit", limit.build()).property("preview", preview.build());
    let before = integer(1, i64::MAX).description(Some("Only batches before this one"));
    let page = request().property("before", before.build()).property("limit", integer(1, 500).build());
    let acknowledgement = request().property("records", integer(0, i64::MAX).build()).required("records");
    with_schemas::<Refusal<'_>>(with_schemas::<BatchesObject<'_>>(ComponentsBuilder::new()))
        .schema("Claim", claim.build())
        .schema("Page", page.build())
        .schema("Credential", request().build())
        .schema("Acknowledgement", acknowledgement.build())
        .schemas_from_iter(record_schemas())
        .security_scheme(SECURITY, bearer("opaque", "The API token, where a GET has no body to hold it."))
        .build()
}
