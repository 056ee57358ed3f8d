//! Why a violation is or isn't eligible, rule by rule.

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::EligibilityConfig;
use crate::database::{Database, DatabaseError, Parameters, statements as sql};

/// One violation against every rule.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explained {
    pub ticket: String,
    /// Whether the next answer has it.
    pub eligible: bool,
    /// In the order in which people ask.
    pub rules: Vec<Rule>,
}

/// One rule, and what it found. Numbers, dates and the reason of a hold, never a name, a plate or a comment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rule {
    pub rule: String,
    pub holds: bool,
    pub detail: String,
}

/// None for an unknown ticket.
pub async fn explain(
    database: &Database,
    eligibility: &EligibilityConfig,
    ticket: &str,
) -> Result<Option<Explained>, DatabaseError> {
    let EligibilityConfig { grace_days, minimum_balance, exclude_categories } = eligibility;
    let parameters: Parameters<'_> = &[&ticket, grace_days, minimum_balance, exclude_categories];
    let rows = database.query(&sql::EXPLAIN, parameters).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let rule = |row: &crate::database::Row| Rule {
        rule: row.get("rule"),
        holds: row.get("holds"),
        detail: row.get("detail"),
    };
    let rules: Vec<Rule> = rows.iter().map(rule).collect();
    let eligible = rules.iter().all(|rule| rule.holds);
    Ok(Some(Explained { ticket: ticket.to_owned(), eligible, rules }))
}
