//! An authorized operator's request: its path's parameters, its query and its body, read within bounds.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::audit::Audit;
use super::operator::Operator;
use super::problem::AdminProblem;
use super::router::Route;
use crate::audit::Actor;
use crate::config::TenantId;
use crate::openapi::text;

const BODY_LIMIT: usize = 16 * 1024;
const BODY_TIME: Duration = Duration::from_secs(10);
/// Not blank, and without control characters.
pub const SOUND_TEXT: &str =
    r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
/// Of a query's text, in characters.
pub const WORD_LIMIT: usize = 200;
const REASON_LIMIT: usize = 500;
const REQUEST_ID_LIMIT: usize = 64;

pub struct Call<'a> {
    pub operator: Operator,
    pub route: Route,
    pub audit: &'a Audit,
    query: String,
    body: Bytes,
}

/// A body that says why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reasoned {
    pub reason: Reason,
}

/// Why; stays in the log, and in the ledger or the tenant's audit log.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Reason(String);

impl PartialSchema for Reason {
    fn schema() -> RefOr<Schema> {
        let text = text().min_length(Some(1)).max_length(Some(REASON_LIMIT)).pattern(Some(SOUND_TEXT));
        RefOr::T(Schema::from(
            text.description(Some("Why; stays in the log and in the tenant's database")).build(),
        ))
    }
}

impl ToSchema for Reason {}

impl<'a> Call<'a> {
    pub async fn read(
        request: Request<Incoming>,
        route: Route,
        operator: Operator,
        audit: &'a Audit,
    ) -> Result<Self, AdminProblem> {
        let (head, body) = request.into_parts();
        let body = timeout(BODY_TIME, Limited::new(body, BODY_LIMIT).collect()).await;
        let body = body.map_err(|_elapsed| AdminProblem::BodyTimeout)?.map_err(|error| {
            if error.is::<LengthLimitError>() { AdminProblem::BodyTooLarge } else { AdminProblem::Body }
        })?;
        let body = body.to_bytes();
        if !body.is_empty() && !is_json(&head.headers) {
            return Err(AdminProblem::NotJson);
        }
        let query = head.uri.query().unwrap_or_default().to_owned();
        Ok(Self { operator, route, audit, query, body })
    }

    /// The id of the path's tenant, where the operator is for it.
    pub fn tenant_id(&self) -> Result<&TenantId, AdminProblem> {
        let tenant = self.route.tenant.as_ref().filter(|tenant| self.operator.sees(tenant));
        tenant.ok_or(AdminProblem::UnknownTenant)
    }

    /// Who does it and why, for the tenant's audit log.
    pub fn actor(&self, reason: &str) -> Actor {
        let request_id = Some(self.audit.request_id().to_owned());
        Actor { name: self.operator.actor.clone(), reason: Some(reason.to_owned()), request_id }
    }

    /// The query's parameters, each of them known and none twice.
    pub fn query<const N: usize>(&self, known: [&str; N]) -> Result<[Option<String>; N], AdminProblem> {
        let mut values = [const { None }; N];
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            let at = known.iter().position(|known| *known == name).ok_or(AdminProblem::Query)?;
            if values[at].replace(value.into_owned()).is_some() {
                return Err(AdminProblem::Query);
            }
        }
        Ok(values)
    }

    /// The body as the object that the verb takes.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, AdminProblem> {
        serde_json::from_slice(&self.body).map_err(|_| AdminProblem::Body)
    }

    /// The body's reason, noted in the audit.
    pub fn reason(&self) -> Result<String, AdminProblem> {
        self.accept(self.body::<Reasoned>()?.reason)
    }

    /// A reason that says something, noted in the audit.
    pub fn accept(&self, Reason(reason): Reason) -> Result<String, AdminProblem> {
        if !is_sound(&reason, REASON_LIMIT) {
            return Err(AdminProblem::Reason);
        }
        self.audit.reason(&reason);
        Ok(reason)
    }
}

/// Text that says something, of so many characters at most.
pub fn is_sound(text: &str, limit: usize) -> bool {
    text.chars().count() <= limit && !text.trim().is_empty() && !text.contains(char::is_control)
}

/// A member of a body that is a whole number, or null; 5.0 is one, as JSON Schema has it.
pub fn whole<'de, D: Deserializer<'de>>(member: D) -> Result<Option<i64>, D::Error> {
    let number = Option::<f64>::deserialize(member)?;
    let whole = |number: f64| number.fract() == 0.0 && number.abs() < 9e15;
    match number {
        Some(number) if !whole(number) => Err(D::Error::custom("no whole number")),
        number => Ok(number.map(|number| number as i64)),
    }
}

/// A query's parameter that is text, such as PostgreSQL takes.
pub fn word(text: Option<String>) -> Result<Option<String>, AdminProblem> {
    match text {
        Some(text) if text.chars().count() > WORD_LIMIT || text.contains('\0') => Err(AdminProblem::Query),
        text => Ok(text),
    }
}

/// A query's parameter as a number within bounds.
pub fn number<T: std::str::FromStr + PartialOrd>(
    text: Option<String>,
    range: std::ops::RangeInclusive<T>,
) -> Result<Option<T>, AdminProblem> {
    let Some(text) = text else { return Ok(None) };
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.map(Some).ok_or(AdminProblem::Query)
}

/// A query's parameter that is `true` or `false`; absent, it is false.
pub fn flag(text: Option<String>) -> Result<bool, AdminProblem> {
    match text.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(AdminProblem::Query),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.and_then(|kind| kind.parse::<mime::Mime>().ok())
        .is_some_and(|kind| kind.essence_str() == "application/json")
}

/// The operator's `X-Request-Id` where it is in a safe form, or a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok()).filter(|id| {
        (1..=REQUEST_ID_LIMIT).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    });
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}
