//! Decides from all whole answers whether each violation was handed over exactly once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// A whole answer that a vendor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    pub vendor: usize,
    pub batch_id: i64,
    pub violations: Vec<i32>,
}

/// What there was to be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// These, by the database.
    Violations(BTreeSet<i32>),
    /// So many.
    Count(u64),
}

/// A violation that is in more than one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Double {
    pub violation: i32,
    /// Vendor and batch of each.
    pub answers: Vec<(usize, i64)>,
}

/// What the answers show. It holds where nothing is missing, nothing double and nothing foreign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    pub expected: u64,
    /// Different violations in whole answers.
    pub handed_over: u64,
    /// How many of the expected ones nobody holds.
    pub missing: u64,
    /// Which, where the database told.
    pub missing_violations: Vec<i32>,
    /// How many nobody expected.
    pub unexpected: u64,
    pub doubles: Vec<Double>,
}

impl Findings {
    pub fn hold(&self) -> bool {
        self.missing == 0 && self.unexpected == 0 && self.doubles.is_empty()
    }
}

/// Compares the whole answers with what was to be handed over.
pub fn check(answers: &[Whole], expected: &Expected) -> Findings {
    let mut places: BTreeMap<i32, Vec<(usize, i64)>> = BTreeMap::new();
    for answer in answers {
        for violation in &answer.violations {
            places.entry(*violation).or_default().push((answer.vendor, answer.batch_id));
        }
    }
    let handed_over = places.len() as u64;
    let (expected, missing_violations, missing, unexpected) = match expected {
        Expected::Count(count) => {
            (*count, Vec::new(), count.saturating_sub(handed_over), handed_over.saturating_sub(*count))
        }
        Expected::Violations(expected) => {
            let missing: Vec<i32> = expected.iter().copied().filter(|id| !places.contains_key(id)).collect();
            let unexpected = places.keys().filter(|id| !expected.contains(id)).count() as u64;
            let count = missing.len() as u64;
            (expected.len() as u64, missing, count, unexpected)
        }
    };
    let doubles = places.into_iter().filter(|(_, answers)| answers.len() > 1);
    let doubles = doubles.map(|(violation, answers)| Double { violation, answers }).collect();
    Findings { expected, handed_over, missing, missing_violations, unexpected, doubles }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(vendor: usize, batch_id: i64, violations: impl IntoIterator<Item = i32>) -> Whole {
        Whole { vendor, batch_id, violations: violations.into_iter().collect() }
    }

    fn all(violations: impl IntoIterator<Item = i32>) -> Expected {
        Expected::Violations(violations.into_iter().collect())
    }

    #[test]
    fn each_violation_once_holds() {
        let answers = [whole(0, 1, 1..=3), whole(1, 2, 4..=5), whole(0, 3, [6])];

        assert!(check(&answers, &all(1..=6)).hold());
        assert!(check(&answers, &Expected::Count(6)).hold());
    }

    #[test]
    fn a_planted_double_is_found_in_two_answers_and_within_one() {
        let two = [whole(0, 1, 1..=3), whole(1, 2, 3..=5)];
        let one = [whole(0, 1, [1, 2, 2])];

        let found = check(&two, &all(1..=5));
        assert_eq!(found.doubles, [Double { violation: 3, answers: vec![(0, 1), (1, 2)] }]);
        assert!(!found.hold());
        assert!(!check(&one, &Expected::Count(2)).hold());
    }

    #[test]
    fn a_double_does_not_make_up_for_a_missing_one() {
        let answers = [whole(0, 1, [1, 2]), whole(1, 2, [2])];

        let found = check(&answers, &Expected::Count(3));

        assert_eq!((found.missing, found.handed_over), (1, 2));
        assert!(!found.hold());
    }

    #[test]
    fn what_is_missing_and_what_nobody_expected_is_named() {
        let answers = [whole(0, 1, [1, 2, 9])];

        let found = check(&answers, &all(1..=4));

        assert_eq!((found.missing_violations.as_slice(), found.missing), ([3, 4].as_slice(), 2));
        assert_eq!(found.unexpected, 1);
        assert!(!found.hold());
        assert_eq!(check(&answers, &Expected::Count(2)).unexpected, 1);
    }
}
