//! The operators' API described: every verb of the router's table, its parameters, and the types that it reads and writes.

use utoipa::openapi::path::{
    HttpMethod, Operation as OperationObject, OperationBuilder, Parameter, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Components, ComponentsBuilder, Content, OpenApi, Required, ResponseBuilder};

use super::answer::ProblemObject;
use super::batches::{Batches, Freed};
use super::call::Reasoned;
use super::keys::TokenError;
use super::problem::AdminProblem;
use super::process::{Draining, GatewayEntry};
use super::router::{OPERATIONS, Operation, Verb};
use super::tenants::Tenants;
use crate::ledger::OversightError;
use crate::ledger::oversight::BatchContent;
use crate::openapi::{
    JSON, PROBLEM_JSON, bearer, begin, by_status, content, flag, header, integer, path_parameter,
    query_parameter, text, with_headers_of, with_schemas,
};

const SECURITY: &str = "operator";
const TENANT_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$";
const DESCRIPTION: &str = "For operators, at `admin_listen`. A peer of the Unix socket needs no token. A tenant that the token isn't \
                           for is answered like one that there isn't: 404.";

/// The document.
pub fn document() -> OpenApi {
    let mut paths = PathsBuilder::new().build();
    for operation in OPERATIONS {
        let method = if operation.is_write() { HttpMethod::Post } else { HttpMethod::Get };
        paths.add_path_operation(operation.path, vec![method], describe(operation));
    }
    begin("Turnpike: operators", DESCRIPTION).paths(paths).components(Some(components())).build()
}

fn components() -> Components {
    let builder = ComponentsBuilder::new();
    let builder = with_schemas::<ProblemObject<'_>>(builder);
    let builder = with_schemas::<Reasoned>(builder);
    let builder = with_schemas::<GatewayEntry>(builder);
    let builder = with_schemas::<Draining>(builder);
    let builder = with_schemas::<Tenants>(builder);
    let builder = with_schemas::<Batches>(builder);
    let builder = with_schemas::<BatchContent>(builder);
    let builder = with_schemas::<Freed>(builder);
    builder
        .security_scheme(
            SECURITY,
            bearer("JWT", "As `turnpike operator token` makes it, with the scope named."),
        )
        .build()
}

/// What a verb does, what it takes and what it gives.
struct Words {
    summary: &'static str,
    query: Vec<Parameter>,
    /// Status and the schema of its body; plain text where that is empty.
    answer: (u16, &'static str),
}

fn words(verb: Verb) -> Words {
    let (summary, answer) = match verb {
        Verb::Live => ("Whether the process runs", (200, "")),
        Verb::Ready => ("Whether it takes calls: 503 while it drains", (200, "")),
        Verb::ShowMetrics => ("Prometheus's page", (200, "")),
        Verb::Describe => ("This document", (200, "Document")),
        Verb::ShowGateway => ("The process: version, uptime, deliveries", (200, "GatewayEntry")),
        Verb::Drain => ("Drain and end, as on SIGTERM", (202, "Draining")),
        Verb::ListTenants => ("Every tenant that the token is for", (200, "Tenants")),
        Verb::ShowTenant => ("One tenant: state, breaker, pool, activity", (200, "TenantEntry")),
        Verb::ListBatches => ("Who received what and when, newest first", (200, "Batches")),
        Verb::ShowBatch => ("A batch's violations, in the answer's order", (200, "BatchContent")),
        Verb::VoidBatch => ("Give an open batch back now", (200, "Freed")),
        Verb::RequeueBatch => ("Free a released batch's violations for the next call", (200, "Freed")),
    };
    Words { summary, query: query(verb), answer }
}

fn query(verb: Verb) -> Vec<Parameter> {
    match verb {
        Verb::ShowTenant => vec![query_parameter("activity", "Ask its database, too", flag())],
        Verb::ListBatches => vec![
            query_parameter("ticket", "Only those that hold this violation", text().max_length(Some(200))),
            query_parameter(
                "person",
                "Only those that disclosed this person (UserID)",
                integer(i32::MIN.into(), i32::MAX.into()),
            ),
            query_parameter(
                "state",
                "Only those in this state",
                text().enum_values(Some(["open", "released", "void"])),
            ),
            query_parameter("limit", "At most so many; 50 unless told", integer(1, 1_000)),
        ],
        _ => Vec::new(),
    }
}

fn describe(operation: &Operation) -> OperationObject {
    let Words { summary, query, answer } = words(operation.verb);
    let mut builder = OperationBuilder::new().operation_id(Some(operation.name)).summary(Some(summary));
    if operation.path.contains("{tenant}") {
        let id = text().pattern(Some(TENANT_PATTERN));
        builder = builder.parameter(path_parameter("tenant", "The tenant's id", id));
    }
    if operation.path.contains("{number}") {
        builder = builder.parameter(path_parameter("number", "As the list shows it", integer(1, i64::MAX)));
    }
    for parameter in query {
        builder = builder.parameter(parameter);
    }
    if let Some(scope) = operation.scope {
        builder = builder.security(SecurityRequirement::new(SECURITY, [scope.as_str()]));
    }
    if operation.is_write() {
        let body =
            RequestBodyBuilder::new().content(JSON, content("Reasoned")).required(Some(Required::True));
        builder = builder.request_body(Some(body.build()));
    }
    builder = respond(builder, answer);
    let problems = problems(operation).into_iter().map(AdminProblem::describe);
    let problems: Vec<_> = problems.map(|problem| (problem.status.as_u16(), problem.detail)).collect();
    for (status, text) in by_status(problems) {
        let response =
            ResponseBuilder::new().description(text).content(PROBLEM_JSON, content("ProblemObject"));
        builder = builder.response(status.to_string(), with_headers_of(status, response));
    }
    builder.build()
}

fn respond(builder: OperationBuilder, (status, schema): (u16, &str)) -> OperationBuilder {
    let response = ResponseBuilder::new().description(if status == 202 { "It was begun" } else { "Done" });
    let response = match schema {
        "" => {
            let plain = || Content::new(Some(utoipa::openapi::schema::Schema::from(text().build())));
            let draining = ResponseBuilder::new().description("Draining").content("text/plain", plain());
            return builder
                .response("200", response.content("text/plain", plain()))
                .response("503", draining);
        }
        "Document" => {
            let any =
                utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::Object).build();
            response.content(JSON, Content::new(Some(utoipa::openapi::schema::Schema::from(any))))
        }
        schema => response.content(JSON, content(schema)),
    };
    builder.response(status.to_string(), response.header("X-Request-Id", header("As in the log", text())))
}

/// Whatever may be answered instead.
fn problems(operation: &Operation) -> Vec<AdminProblem> {
    let Some(scope) = operation.scope else { return Vec::new() };
    let mut problems = vec![
        AdminProblem::NoToken,
        AdminProblem::Token(TokenError::Malformed),
        AdminProblem::MissingScope(scope),
        AdminProblem::NoKeys,
        AdminProblem::Query,
        AdminProblem::Body,
        AdminProblem::NotJson,
        AdminProblem::BodyTooLarge,
        AdminProblem::BodyTimeout,
        AdminProblem::Internal,
    ];
    if operation.path.contains("{tenant}") {
        let retry_after = std::time::Duration::ZERO;
        problems.extend([
            AdminProblem::UnknownTenant,
            AdminProblem::Unavailable { retry_after },
            AdminProblem::Quarantined,
        ]);
    }
    if operation.path.contains("batches/{number}") {
        problems.push(AdminProblem::UnknownBatch);
    }
    if operation.is_write() {
        problems.push(AdminProblem::Reason);
    }
    let states: &[OversightError] = match operation.verb {
        Verb::VoidBatch => &[OversightError::Released, OversightError::Void],
        Verb::RequeueBatch => &[OversightError::NotReleased, OversightError::Requeued],
        _ => &[],
    };
    problems.extend(states.iter().map(AdminProblem::from));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::render;

    #[test]
    fn every_verb_is_described_and_every_schema_that_is_named_is_there() {
        let document = document();
        let text = render(&document);

        for operation in OPERATIONS {
            let item = &document.paths.paths[operation.path];
            let described = if operation.is_write() { &item.post } else { &item.get };
            let described = described.as_ref().unwrap();
            assert_eq!(described.operation_id.as_deref(), Some(operation.name));
            assert_eq!(described.security.is_some(), operation.scope.is_some(), "{}", operation.name);
        }
        let schemas = &document.components.as_ref().unwrap().schemas;
        for (_, rest) in
            text.match_indices("#/components/schemas/").map(|(at, name)| text.split_at(at + name.len()))
        {
            let name = rest.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
