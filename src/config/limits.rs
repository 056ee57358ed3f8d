//! How much of the gateway a tenant, a token, or whoever tries tokens, may take up.

use std::num::NonZeroU32;
use std::time::Duration;

use toml::Value;

use super::section::Section;
use super::value::{HOUR, MINUTE, SECOND, integer, wrong_type};

/// Requests in a time at most; `burst` of them may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub requests: NonZeroU32,
    /// A second, a minute or an hour.
    pub per: Duration,
    /// Not above `requests`.
    pub burst: NonZeroU32,
}

/// Bounds of one tenant's callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Requests of authenticated callers under way at most, 1 to 100000.
    pub max_in_flight: usize,
    /// Of each token's.
    pub max_in_flight_per_token: usize,
    /// Of each token; `None`: as many as there come.
    pub requests_per_token: Option<Rate>,
    /// Of all its tokens together.
    pub requests_per_tenant: Option<Rate>,
}

/// Bounds of calls that fail to authenticate. Not a tenant's own: they hold for clients that don't exist, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailuresConfig {
    pub failures_per_address: Option<Rate>,
    pub failures_per_tenant: Option<Rate>,
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        LimitsConfig {
            max_in_flight: 128,
            max_in_flight_per_token: 128,
            requests_per_token: None,
            requests_per_tenant: None,
        }
    }
}

impl Default for FailuresConfig {
    fn default() -> FailuresConfig {
        FailuresConfig {
            failures_per_address: Some(Rate::new(60, MINUTE)),
            failures_per_tenant: Some(Rate::new(1_200, MINUTE)),
        }
    }
}

impl LimitsConfig {
    /// Reads a tenant's keys, or `[defaults]`'; where the section is silent, `base` holds.
    pub(super) fn read(section: &mut Section, base: &LimitsConfig) -> LimitsConfig {
        LimitsConfig {
            max_in_flight: section.find("max_in_flight", integer(1..=100_000)).unwrap_or(base.max_in_flight),
            max_in_flight_per_token: section
                .find("max_in_flight_per_token", integer(1..=100_000))
                .unwrap_or(base.max_in_flight_per_token),
            requests_per_token: section.find("requests_per_token", rate).unwrap_or(base.requests_per_token),
            requests_per_tenant: section
                .find("requests_per_tenant", rate)
                .unwrap_or(base.requests_per_tenant),
        }
    }
}

impl FailuresConfig {
    pub(super) fn read(section: &mut Section) -> FailuresConfig {
        let base = FailuresConfig::default();
        FailuresConfig {
            failures_per_address: section
                .find("failures_per_address", rate)
                .unwrap_or(base.failures_per_address),
            failures_per_tenant: section
                .find("failures_per_tenant", rate)
                .unwrap_or(base.failures_per_tenant),
        }
    }
}

impl Rate {
    /// After how long one more request may come.
    pub fn interval(&self) -> Duration {
        self.per / self.requests.get()
    }

    /// `requests` in a time, all of which may come at once.
    fn new(requests: u32, per: Duration) -> Rate {
        let requests = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN);
        Rate { requests, per, burst: requests }
    }
}

/// `"60/min"`, `"10/s burst 5"`, or `"none"`.
fn rate(value: Value) -> Result<Option<Rate>, String> {
    let Value::String(text) = value else {
        return Err(wrong_type("a rate such as \"60/min\"", &value));
    };
    if text == "none" {
        return Ok(None);
    }
    let malformed =
        || format!("must be a rate such as \"60/min\", \"10/s burst 5\" or \"none\", is {text:?}");
    let (sustained, burst) = match text.split_once(" burst ") {
        Some((sustained, burst)) => (sustained, Some(burst)),
        None => (text.as_str(), None),
    };
    let (requests, unit) = sustained.split_once('/').ok_or_else(malformed)?;
    let per = match unit {
        "s" => SECOND,
        "min" => MINUTE,
        "h" => HOUR,
        _ => return Err(malformed()),
    };
    let requests: u32 = requests.parse().map_err(|_no_number| malformed())?;
    if !(1..=1_000_000).contains(&requests) {
        return Err(format!("must be 1 to 1000000 requests, is {requests}"));
    }
    let rate = Rate::new(requests, per);
    let Some(burst) = burst else {
        return Ok(Some(rate));
    };
    let burst: u32 = burst.parse().map_err(|_no_number| malformed())?;
    match NonZeroU32::new(burst) {
        Some(burst) if burst <= rate.requests => Ok(Some(Rate { burst, ..rate })),
        _ => Err(format!("must have a burst of 1 to {requests}, is {burst}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Rate>, String> {
        rate(Value::from(text))
    }

    #[test]
    fn a_rate_is_requests_in_a_time_and_all_of_them_may_come_at_once() {
        assert_eq!(read("60/min"), Ok(Some(Rate::new(60, MINUTE))));
        assert_eq!(read("1/s"), Ok(Some(Rate::new(1, SECOND))));
        assert_eq!(read("1000000/h"), Ok(Some(Rate::new(1_000_000, HOUR))));
        assert_eq!(read("none"), Ok(None));
    }

    #[test]
    fn a_burst_says_how_many_may_come_at_once() {
        let burst = NonZeroU32::new(5).unwrap();
        assert_eq!(read("60/min burst 5"), Ok(Some(Rate { burst, ..Rate::new(60, MINUTE) })));
        assert_eq!(read("60/min burst 60"), read("60/min"));
        assert_eq!(read("60/min burst 61").unwrap_err(), "must have a burst of 1 to 60, is 61");
        assert_eq!(read("60/min burst 0").unwrap_err(), "must have a burst of 1 to 60, is 0");
    }

    #[test]
    fn anything_else_is_refused_with_the_form() {
        for text in
            ["", "60", "60/m", "60 / min", "-1/s", "1.5/s", "60/min burst", "60/min burst many", "None"]
        {
            let reason = read(text).unwrap_err();
            assert_eq!(
                reason,
                format!("must be a rate such as \"60/min\", \"10/s burst 5\" or \"none\", is {text:?}")
            );
        }
        assert_eq!(read("0/s").unwrap_err(), "must be 1 to 1000000 requests, is 0");
        assert_eq!(rate(Value::from(60)).unwrap_err(), "must be a rate such as \"60/min\", is an integer");
    }
}
