//! How long an open batch may stay open.

use std::time::Duration;

use super::section::Section;
use super::value::{DAY, HOUR, MINUTE, SECOND, duration};

/// The two clocks of a batch under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// A write that stalls for longer voids the batch.
    pub delivery_timeout: Duration,
    /// How long the ledger holds a batch open for an owner that gives no sign of life, by the database's clock.
    pub lease: Duration,
    /// How long an idempotency key is remembered.
    pub replay_window: Duration,
}

impl Default for DeliveryConfig {
    fn default() -> DeliveryConfig {
        DeliveryConfig { delivery_timeout: 30 * SECOND, lease: MINUTE, replay_window: 7 * DAY }
    }
}

impl DeliveryConfig {
    /// Reads a tenant's keys, or `[defaults]`'; where the section is silent, `base` holds.
    ///
    /// A lease must outlive two stalls, or the sweep voids a batch whose vendor is merely slow. It doesn't grow
    /// by itself with `delivery_timeout`: how long a crash may hide violations is the operator's to decide.
    pub(super) fn read(section: &mut Section, base: &DeliveryConfig) -> DeliveryConfig {
        // A pair that comes from `base` whole was checked, and reported, where it was written.
        let says_either = section.says("delivery_timeout") || section.says("lease");
        let config = DeliveryConfig {
            delivery_timeout: section
                .find("delivery_timeout", duration(HOUR))
                .unwrap_or(base.delivery_timeout),
            lease: section.find("lease", duration(DAY)).unwrap_or(base.lease),
            replay_window: section.find("replay_window", duration(365 * DAY)).unwrap_or(base.replay_window),
        };
        let is_faulty = section.is_faulty("delivery_timeout") || section.is_faulty("lease");
        if says_either && !is_faulty && config.lease < 2 * config.delivery_timeout {
            let [lease, timeout] = [config.lease, config.delivery_timeout].map(humantime::format_duration);
            section
                .report("lease", format!("must be at least twice delivery_timeout ({timeout}), is {lease}"));
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Fault;

    fn read(text: &str) -> (DeliveryConfig, Vec<String>) {
        let mut section = Section::root(Path::new("t.toml"), text.parse().unwrap());
        let config = DeliveryConfig::read(&mut section, &DeliveryConfig::default());
        (config, section.finish().iter().map(Fault::to_string).collect())
    }

    #[test]
    fn a_lease_of_twice_the_delivery_timeout_is_enough() {
        let (config, faults) = read("delivery_timeout = \"45s\"\nlease = \"90s\"");

        assert_eq!(faults, [""; 0]);
        assert_eq!(config.lease, 90 * SECOND);
    }

    #[test]
    fn a_longer_delivery_timeout_alone_outgrows_the_default_lease() {
        let (_, faults) = read("delivery_timeout = \"45s\"");

        assert_eq!(faults, ["t.toml: lease: must be at least twice delivery_timeout (45s), is 1m"]);
    }

    #[test]
    fn a_lease_is_not_judged_by_a_timeout_that_is_itself_at_fault() {
        let (_, faults) = read("delivery_timeout = 45\nlease = \"1s\"");

        assert_eq!(faults, ["t.toml: delivery_timeout: must be a duration with its unit: write \"45s\""]);
    }

    #[test]
    fn a_pair_that_was_inherited_is_not_reported_again() {
        let base =
            DeliveryConfig { delivery_timeout: 45 * SECOND, lease: SECOND, ..DeliveryConfig::default() };
        let mut section = Section::root(Path::new("t.toml"), toml::Table::new());

        assert_eq!(DeliveryConfig::read(&mut section, &base), base);
        assert_eq!(section.finish(), []);
    }
}
