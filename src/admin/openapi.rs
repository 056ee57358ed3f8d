//! The operators' API described: every verb of the router's table, its parameters, and the types that it reads and writes.

use utoipa::openapi::path::{
    HttpMethod, Operation as OperationObject, OperationBuilder, Parameter, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Components, ComponentsBuilder, Content, OpenApi, Required, ResponseBuilder};

use super::answer::ProblemObject;
use super::batches::{Batches, Freed};
use super::call::{Reasoned, WORD_LIMIT};
use super::keys::TokenError;
use super::problem::AdminProblem;
use super::process::{Draining, GatewayEntry};
use super::router::{OPERATIONS, Operation, Verb};
use super::tenants::{AuditEntries, NewPause, Tenants};
use super::tokens::{IssuedToken, NewRotation, NewToken, RevokedToken, RotatedToken, Tokens};
use crate::config::TenantId;
use crate::explain::Explained;
use crate::ledger::OversightError;
use crate::ledger::oversight::BatchContent;
use crate::openapi::{
    JSON, PROBLEM_JSON, bearer, begin, by_status, content, flag, header, integer, path_parameter,
    query_parameter, text, with_headers_of, with_schemas,
};
use crate::reload::Report;

const SECURITY: &str = "operator";
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
    let builder = with_schemas::<Report>(builder);
    let builder = with_schemas::<Tenants>(builder);
    let builder = with_schemas::<NewPause>(builder);
    let builder = with_schemas::<Explained>(builder);
    let builder = with_schemas::<AuditEntries>(builder);
    let builder = with_schemas::<Tokens>(builder);
    let builder = with_schemas::<NewToken>(builder);
    let builder = with_schemas::<IssuedToken>(builder);
    let builder = with_schemas::<NewRotation>(builder);
    let builder = with_schemas::<RotatedToken>(builder);
    let builder = with_schemas::<RevokedToken>(builder);
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
    /// The schema of its body, where it takes one.
    takes: &'static str,
    /// Status and the schema of its body; plain text where that is empty.
    gives: (u16, &'static str),
}

fn words(verb: Verb) -> Words {
    let looks = |summary, gives| Words { summary, takes: "", gives: (200, gives) };
    let does = |summary, takes, gives| Words { summary, takes, gives };
    match verb {
        Verb::Live => looks("Whether the process runs", ""),
        Verb::Ready => looks("Whether it takes calls: 503 while it drains", ""),
        Verb::ShowMetrics => looks("Prometheus's page", ""),
        Verb::Describe => looks("This document", "Document"),
        Verb::ShowGateway => looks("The process: version, uptime, deliveries", "GatewayEntry"),
        Verb::ListTenants => looks("Every tenant that the token is for", "Tenants"),
        Verb::ShowTenant => looks("One tenant: state, breaker, pool, activity", "TenantEntry"),
        Verb::Explain => looks("Why a violation is or isn't eligible, rule by rule", "Explained"),
        Verb::ListAudit => looks("What operators did to the tenant, newest first", "AuditEntries"),
        Verb::ListBatches => looks("Who received what and when, newest first", "Batches"),
        Verb::ShowBatch => looks("A batch's violations, in the answer's order", "BatchContent"),
        Verb::ListTokens => looks("The tenant's tokens, without the tokens themselves", "Tokens"),
        Verb::Reload => does("Read the configuration and put it into force", "Reasoned", (200, "Report")),
        Verb::Drain => does("Drain and end, as on SIGTERM", "Reasoned", (202, "Draining")),
        Verb::PauseTenant => {
            does("Answer its vendors 503 until it is resumed", "NewPause", (200, "TenantEntry"))
        }
        Verb::ResumeTenant => does("Serve its vendors again", "Reasoned", (200, "TenantEntry")),
        Verb::VoidBatch => does("Give an open batch back now", "Reasoned", (200, "Freed")),
        Verb::RequeueBatch => {
            does("Free a released batch's violations for the next call", "Reasoned", (200, "Freed"))
        }
        Verb::IssueToken => does("Issue a token; it is shown this once", "NewToken", (201, "IssuedToken")),
        Verb::RotateToken => {
            does("Issue a token that takes over from this one", "NewRotation", (201, "RotatedToken"))
        }
        Verb::RevokeToken => does("Revoke a token, at once", "Reasoned", (200, "RevokedToken")),
    }
}

fn query(verb: Verb) -> Vec<Parameter> {
    let limit = || query_parameter("limit", "At most so many; 50 unless told", integer(1, 1_000));
    let ticket = |description| query_parameter("ticket", description, text().max_length(Some(WORD_LIMIT)));
    match verb {
        Verb::Reload => vec![query_parameter("dry_run", "Only tell what it would do", flag())],
        Verb::ShowTenant => vec![query_parameter("activity", "Ask its database, too", flag())],
        Verb::Explain => {
            let mut ticket = ticket("The violation's");
            ticket.required = Required::True;
            vec![ticket]
        }
        Verb::ListAudit => vec![
            query_parameter("action", "Only such as `token.revoke`", text().max_length(Some(WORD_LIMIT))),
            query_parameter(
                "object",
                "Only what was done to such as `token 5`",
                text().max_length(Some(WORD_LIMIT)),
            ),
            limit(),
        ],
        Verb::ListBatches => vec![
            ticket("Only those that hold this violation"),
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
            limit(),
        ],
        _ => Vec::new(),
    }
}

fn describe(operation: &Operation) -> OperationObject {
    let Words { summary, takes, gives } = words(operation.verb);
    let mut builder = OperationBuilder::new().operation_id(Some(operation.name)).summary(Some(summary));
    if operation.path.contains("{tenant}") {
        let id = text().pattern(Some(TenantId::PATTERN));
        builder = builder.parameter(path_parameter("tenant", "The tenant's id", id));
    }
    if operation.path.contains("{number}") {
        builder = builder.parameter(path_parameter("number", "As the list shows it", integer(1, i64::MAX)));
    }
    for parameter in query(operation.verb) {
        builder = builder.parameter(parameter);
    }
    if let Some(scope) = operation.scope {
        builder = builder.security(SecurityRequirement::new(SECURITY, [scope.as_str()]));
    }
    if operation.is_write() {
        let body = RequestBodyBuilder::new().content(JSON, content(takes)).required(Some(Required::True));
        builder = builder.request_body(Some(body.build()));
    }
    builder = respond(builder, gives);
    let problems = problems(operation).into_iter().map(AdminProblem::describe);
    let problems: Vec<_> = problems.map(|problem| (problem.status.as_u16(), problem.detail)).collect();
    for (status, text) in by_status(problems) {
        let mut response =
            ResponseBuilder::new().description(text).content(PROBLEM_JSON, content("ProblemObject"));
        if operation.verb == Verb::Reload && status == 422 {
            response = response.content(JSON, content("Report")); // of a reload that is refused
        }
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
    if operation.path.contains("tokens/{number}") {
        problems.push(AdminProblem::UnknownToken);
    }
    problems.extend(match operation.verb {
        Verb::Explain => vec![AdminProblem::UnknownTicket],
        Verb::PauseTenant => vec![AdminProblem::Value("until is over already.")],
        Verb::RotateToken => vec![AdminProblem::TokenState("The token was rotated already.")],
        _ => Vec::new(),
    });
    if matches!(operation.verb, Verb::PauseTenant | Verb::ResumeTenant) {
        problems.push(AdminProblem::Edit("The configuration can't be edited; the detail says why."));
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
