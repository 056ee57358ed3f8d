//! When the calls of an open run are due: one after the other at a constant rate, whatever becomes of those before.
//!
//! A latency counts from here, not from the moment at which the call could be made: a gateway that stalls for a second then
//! shows it in every call that was due meanwhile, as its vendors would see it. To wait with the next call until the last one
//! is answered is what is known as coordinated omission.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Arrivals a second; above 0, at most a million.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be a number above 0 and a unit, as in 50/s, 600/m or 10000/h, and at most 1000000/s")]
pub struct InvalidRate;

impl Rate {
    pub fn per_second(self) -> f64 {
        self.0
    }

    /// How long after the first arrival the one with this number is due, counted from 0.
    pub fn arrival(self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.0)
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Rate, InvalidRate> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(InvalidRate),
        };
        let number: f64 = number.trim().parse().map_err(|_no_number| InvalidRate)?;
        let rate = number / seconds;
        if rate > 0.0 && rate <= 1e6 { Ok(Rate(rate)) } else { Err(InvalidRate) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate if rate >= 1.0 => write!(f, "{}/s", (rate * 1000.0).round() / 1000.0),
            rate if rate * 60.0 >= 1.0 => write!(f, "{}/m", (rate * 60_000.0).round() / 1000.0),
            rate => write!(f, "{}/h", (rate * 3_600_000.0).round() / 1000.0),
        }
    }
}

/// Gives the moment of each arrival from `start` on, when it has come, until `end` or until it is stopped.
///
/// On a thread of its own: the runtime's timer counts milliseconds, and would add half of one to every latency.
pub fn arrivals(
    rate: Rate,
    start: Instant,
    end: Instant,
    stop: CancellationToken,
) -> UnboundedReceiver<Instant> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for number in 0.. {
            let due = start + rate.arrival(number);
            if due >= end || !sleep_until(due, &stop) || send.send(due).is_err() {
                return;
            }
        }
    });
    receive
}

/// Whether it came to that, or was stopped before.
#[expect(clippy::disallowed_methods, reason = "a thread of its own, which no task of the runtime waits for")]
fn sleep_until(due: Instant, stop: &CancellationToken) -> bool {
    /// So often a long wait looks whether it is to stop.
    const LOOK: Duration = Duration::from_millis(200);
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if stop.is_cancelled() {
            return false;
        }
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(LOOK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        let rate = |text: &str| text.parse::<Rate>().map(Rate::per_second);

        assert_eq!(rate("50/s"), Ok(50.0));
        assert_eq!(rate("50"), Ok(50.0));
        assert_eq!(rate("600/m"), Ok(10.0));
        assert_eq!(rate("1800/h"), Ok(0.5));
        for text in ["", "0/s", "-1/s", "fast", "5/d", "inf/s", "NaN", "1000001/s"] {
            assert_eq!(rate(text), Err(InvalidRate), "{text}");
        }
    }

    #[test]
    fn a_rate_is_written_so_that_it_can_be_read_again() {
        for (text, written) in [("50/s", "50/s"), ("30/m", "30/m"), ("12/h", "12/h"), ("90/m", "1.5/s")] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn arrivals_are_evenly_spaced_and_do_not_drift() {
        let rate: Rate = "3/s".parse().unwrap();

        assert_eq!(rate.arrival(0), Duration::ZERO);
        assert_eq!(rate.arrival(1), Duration::from_secs_f64(1.0 / 3.0));
        assert_eq!(rate.arrival(3_000_000), Duration::from_secs(1_000_000));
    }

    #[tokio::test]
    async fn a_run_has_as_many_arrivals_as_the_rate_says_each_at_its_moment() {
        let start = Instant::now();
        let end = start + Duration::from_millis(100);
        let rate: Rate = "1000/s".parse().unwrap();
        let mut arrivals = arrivals(rate, start, end, CancellationToken::new());

        let mut due = Vec::new();
        while let Some(moment) = arrivals.recv().await {
            assert!(moment <= Instant::now(), "none comes before its time");
            due.push(moment - start);
        }

        assert_eq!(due, (0..100).map(|number| rate.arrival(number)).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_stopped_schedule_ends() {
        let start = Instant::now();
        let stop = CancellationToken::new();
        let mut arrivals =
            arrivals("1/h".parse().unwrap(), start, start + Duration::from_secs(7200), stop.clone());

        assert_eq!(arrivals.recv().await, Some(start));
        stop.cancel();

        assert_eq!(arrivals.recv().await, None);
    }
}
