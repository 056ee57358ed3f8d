//! A tenant's own bounds on which overdue violations may be handed over.

use rust_decimal::Decimal;

use super::section::Section;
use super::value::{amount, integer, ticket_types};

/// Narrows what is eligible; by default nothing is narrowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EligibilityConfig {
    /// Days after `Due` before a violation counts as overdue, 0 to 3650.
    pub grace_days: i32,
    /// The balance must be above this; not negative, at most 4 decimals.
    pub minimum_balance: Decimal,
    /// `TicketTypeID`s that are never handed over; sorted, none twice.
    pub exclude_categories: Vec<i32>,
}

impl EligibilityConfig {
    /// Reads the table `eligibility` of a tenant, or of `[defaults]`; key by key, where it is silent, `base` holds.
    pub(super) fn read(section: &mut Section, base: &EligibilityConfig) -> EligibilityConfig {
        let mut table = section.open("eligibility");
        let config = EligibilityConfig {
            grace_days: table.find("grace_days", integer(0..=3650)).unwrap_or(base.grace_days),
            minimum_balance: table.find("minimum_balance", amount).unwrap_or(base.minimum_balance),
            exclude_categories: table
                .find("exclude_categories", ticket_types)
                .unwrap_or_else(|| base.exclude_categories.clone()),
        };
        section.close(table);
        config
    }
}
