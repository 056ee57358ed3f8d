//! Vendors' tokens: listed without the tokens themselves, issued, rotated and revoked.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{self, Answer};
use super::call::{Call, Reason, is_sound, whole};
use super::problem::AdminProblem;
use super::{Admin, refused};
use crate::records::FieldProfile;
use crate::tenant::Tenant;
use crate::tokens::{self, Expiry, Permission, Rotation, StoredToken, TokenOrder, parse_network};

const VENDOR_LIMIT: usize = 200;
const LISTED_AT_MOST: usize = 100;
const DAY: i64 = 24 * 60 * 60;
const LONGEST_LIFE: i64 = 10 * 365 * DAY;
const LONGEST_OVERLAP: i64 = 365 * DAY;
const USUAL_OVERLAP: i64 = 7 * DAY;

#[derive(Serialize, ToSchema)]
pub struct Tokens {
    /// The oldest first.
    tokens: Vec<StoredToken>,
}

/// A token to be issued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The collections company.
    #[schema(min_length = 1, max_length = 200)]
    vendor: String,
    reason: Reason,
    #[serde(default)]
    fields: Fields,
    /// It only ever gets previews.
    #[serde(default)]
    sandbox: bool,
    /// Without it, the token is valid until it is revoked.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 315_360_000)]
    expires_in_seconds: Option<i64>,
    /// Networks or addresses that it may be used from, like 192.0.2.0/24; without any, from anywhere.
    #[serde(default)]
    #[schema(max_items = 100)]
    allow: Vec<String>,
    /// ACTION:RESOURCE; without any, user-create:violation_collection.
    #[serde(default)]
    #[schema(max_items = 100)]
    permissions: Vec<String>,
}

/// Which columns the vendor sees.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fields {
    Full,
    #[default]
    Standard,
    Minimal,
}

/// How to rotate a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRotation {
    reason: Reason,
    /// How long the old token goes on, unless it ends sooner; 0 ends it now. A week unless told.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 31_536_000)]
    overlap_seconds: Option<i64>,
    /// How long the new token is valid; without it, as long as the old one was to be.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 315_360_000)]
    expires_in_seconds: Option<i64>,
}

/// A token, shown this once.
#[derive(Serialize, ToSchema)]
pub struct IssuedToken {
    token_id: i64,
    vendor: String,
    #[schema(required)]
    expires_at: Option<Timestamp>,
    token: String,
}

#[derive(Serialize, ToSchema)]
pub struct RotatedToken {
    /// The new token's number.
    token_id: i64,
    vendor: String,
    #[schema(required)]
    expires_at: Option<Timestamp>,
    token: String,
    /// When the old one ends.
    #[schema(required)]
    old_expires_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct RevokedToken {
    token_id: i64,
    vendor: String,
    revoked_at: Timestamp,
    /// Whether it was this call that revoked it.
    now: bool,
}

pub async fn list(tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let tokens = tokens::list(tenant.database()).await;
    Ok(answer::json(&Tokens { tokens: tokens.map_err(|error| refused(call.audit, &error))? }))
}

pub async fn issue(tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let wanted: NewToken = call.body()?;
    let order = TokenOrder {
        profile: wanted.fields.profile(),
        sandbox: wanted.sandbox,
        expires_in: seconds(wanted.expires_in_seconds, 1, LONGEST_LIFE)?,
        allowed: networks(&wanted.allow)?,
        permissions: permissions(&wanted.permissions)?,
        vendor: wanted.vendor,
    };
    if !is_sound(&order.vendor, VENDOR_LIMIT) {
        return Err(AdminProblem::Value("vendor must name somebody, in at most 200 characters."));
    }
    let reason = call.accept(wanted.reason)?;
    let issued = tokens::issue(tenant.database(), &order, &call.actor(&reason)).await;
    let issued = issued.map_err(|error| refused(call.audit, &error))?;
    call.audit.object(format!("token {}", issued.token_id));
    Ok(answer::created(&IssuedToken {
        token_id: issued.token_id,
        vendor: order.vendor,
        expires_at: issued.expires_at,
        token: issued.token.reveal().to_owned(),
    }))
}

pub async fn rotate(admin: &Admin, tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let token_id = note_token(call);
    let wanted: NewRotation = call.body()?;
    let overlap = wanted.overlap_seconds.or(Some(USUAL_OVERLAP));
    let rotation = Rotation {
        token_id,
        overlap: seconds(overlap, 0, LONGEST_OVERLAP)?.unwrap_or_default(),
        expiry: seconds(wanted.expires_in_seconds, 1, LONGEST_LIFE)?.map(Expiry::In),
    };
    let reason = call.accept(wanted.reason)?;
    let rotated = tokens::rotate(tenant.database(), &rotation, &call.actor(&reason)).await;
    let rotated = rotated.map_err(|error| refused(call.audit, &error))?;
    admin.gateway.forget_token(tenant.id(), token_id);
    Ok(answer::created(&RotatedToken {
        token_id: rotated.token_id,
        vendor: rotated.vendor,
        expires_at: rotated.expires_at,
        token: rotated.token.reveal().to_owned(),
        old_expires_at: rotated.old_expires_at,
    }))
}

/// From now on the token gets nothing, and what this process remembers of it is forgotten.
pub async fn revoke(admin: &Admin, tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let (token_id, reason) = (note_token(call), call.reason()?);
    let revoked = tokens::revoke(tenant.database(), token_id, &call.actor(&reason)).await;
    let revoked = revoked.map_err(|error| refused(call.audit, &error))?;
    admin.gateway.forget_token(tenant.id(), token_id);
    let tokens::Revoked { vendor, revoked_at, now } = revoked;
    Ok(answer::json(&RevokedToken { token_id, vendor, revoked_at, now }))
}

fn note_token(call: &Call<'_>) -> i64 {
    call.audit.object(format!("token {}", call.route.number));
    call.route.number
}

fn seconds(seconds: Option<i64>, least: i64, most: i64) -> Result<Option<Duration>, AdminProblem> {
    match seconds {
        Some(seconds) if !(least..=most).contains(&seconds) => Err(AdminProblem::Value(
            "A time in seconds is out of range; GET /admin/v1/openapi.json has the bounds.",
        )),
        seconds => Ok(seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)),
    }
}

fn networks(texts: &[String]) -> Result<Vec<ipnet::IpNet>, AdminProblem> {
    let parsed = texts.iter().map(|text| parse_network(text)).collect::<Result<Vec<_>, _>>();
    match parsed {
        Ok(networks) if networks.len() <= LISTED_AT_MOST => Ok(networks),
        _ => Err(AdminProblem::Value(
            "allow lists at most 100 networks, each like 192.0.2.0/24 or 2001:db8::/32.",
        )),
    }
}

fn permissions(texts: &[String]) -> Result<Vec<Permission>, AdminProblem> {
    if texts.is_empty() {
        return Ok(vec![Permission::documented()]);
    }
    let sound = |text: &String| Permission::parse(text).filter(|_| is_sound(text, VENDOR_LIMIT));
    let parsed: Option<Vec<Permission>> = texts.iter().map(sound).collect();
    parsed.filter(|permissions| permissions.len() <= LISTED_AT_MOST).ok_or(AdminProblem::Value(
        "permissions lists at most 100, each as ACTION:RESOURCE, like user-create:violation_collection.",
    ))
}

impl Fields {
    fn profile(self) -> FieldProfile {
        match self {
            Self::Full => FieldProfile::Full,
            Self::Standard => FieldProfile::Standard,
            Self::Minimal => FieldProfile::Minimal,
        }
    }
}
