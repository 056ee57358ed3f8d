//! What a run must hold to, and whether it did: what an exit code in CI rests on.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::report::{Report, milliseconds};
use super::schedule::Rate;

/// How many calls may fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ErrorsAllowed {
    Count(u64),
    /// Of all calls, in percent.
    Percent(f64),
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be a number of calls, as in 0, or a share of them, as in 0.1%")]
pub struct InvalidErrors;

impl FromStr for ErrorsAllowed {
    type Err = InvalidErrors;

    fn from_str(text: &str) -> Result<ErrorsAllowed, InvalidErrors> {
        match text.strip_suffix('%') {
            None => text.parse().map(ErrorsAllowed::Count).map_err(|_no_number| InvalidErrors),
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_no_number| InvalidErrors)?;
                let share = (0.0..=100.0).contains(&percent);
                if share { Ok(ErrorsAllowed::Percent(percent)) } else { Err(InvalidErrors) }
            }
        }
    }
}

/// What is asked of a run. Errors are always judged: a run in which calls fail has shown nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    pub p50: Option<Duration>,
    pub p90: Option<Duration>,
    pub p99: Option<Duration>,
    pub errors: ErrorsAllowed,
    pub min_rate: Option<Rate>,
}

/// One threshold, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// As in `p99 at most 50.0 ms`.
    pub threshold: String,
    /// As in `62.4 ms, 24.8 % above`.
    pub measured: String,
    pub held: bool,
}

impl Thresholds {
    /// Judges a run by what was measured.
    pub fn judge(&self, report: &Report) -> Vec<Verdict> {
        let latency = report.latency_ms.as_ref();
        let percentiles = [
            ("p50", self.p50, latency.map(|latency| latency.p50)),
            ("p90", self.p90, latency.map(|latency| latency.p90)),
            ("p99", self.p99, latency.map(|latency| latency.p99)),
        ];
        let mut verdicts = vec![self.judge_errors(report)];
        for (name, threshold, measured) in percentiles {
            if let Some(threshold) = threshold {
                verdicts.push(judge_latency(name, threshold.as_secs_f64() * 1000.0, measured));
            }
        }
        if let Some(rate) = self.min_rate {
            let (asked, had) = (rate.per_second(), report.answered_per_second);
            verdicts.push(Verdict {
                threshold: format!("at least {rate} answered"),
                measured: format!("{had:.1}/s{}", beyond(had < asked, (asked - had) / asked, "below")),
                held: had >= asked,
            });
        }
        verdicts
    }

    fn judge_errors(&self, report: &Report) -> Verdict {
        let (failed, calls) = (report.failed, report.calls);
        let percent = if calls == 0 { 0.0 } else { failed as f64 * 100.0 / calls as f64 };
        let (threshold, held) = match self.errors {
            ErrorsAllowed::Count(count) => (format!("at most {count} errors"), failed <= count),
            ErrorsAllowed::Percent(most) => (format!("at most {most} % errors"), percent <= most),
        };
        // A run without a call, or without a whole answer, has shown nothing.
        let held = held && report.answered > 0;
        let measured = match report.answered {
            0 => format!("{failed} of {calls} calls failed, none was answered whole"),
            _ => format!("{failed} of {calls} calls, {percent:.2} %"),
        };
        Verdict { threshold, measured, held }
    }
}

fn judge_latency(name: &str, asked: f64, had: Option<f64>) -> Verdict {
    let held = had.is_some_and(|had| had <= asked);
    let measured = match had {
        None => "nothing was measured".to_owned(),
        Some(had) => format!("{}{}", milliseconds(had), beyond(!held, (had - asked) / asked, "above")),
    };
    Verdict { threshold: format!("{name} at most {}", milliseconds(asked)), measured, held }
}

fn beyond(is_beyond: bool, share: f64, side: &str) -> String {
    if is_beyond { format!(", {:.1} % {side}", share * 100.0) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loadtest::report::tests::report_of;

    fn asked(errors: &str) -> Thresholds {
        Thresholds { p50: None, p90: None, p99: None, errors: errors.parse().unwrap(), min_rate: None }
    }

    fn held(thresholds: &Thresholds, report: &Report) -> Vec<bool> {
        thresholds.judge(report).iter().map(|verdict| verdict.held).collect()
    }

    #[test]
    fn errors_are_a_number_or_a_share() {
        assert_eq!("0".parse(), Ok(ErrorsAllowed::Count(0)));
        assert_eq!("0.1%".parse(), Ok(ErrorsAllowed::Percent(0.1)));
        for text in ["", "-1", "1.5", "101%", "-1%", "NaN%", "x%"] {
            assert_eq!(text.parse::<ErrorsAllowed>(), Err(InvalidErrors), "{text}");
        }
    }

    #[test]
    fn a_percentile_above_its_threshold_is_told_with_by_how_much() {
        let report = report_of(100, 0, 40.0);
        let p99 = |limit| Thresholds { p99: Some(Duration::from_millis(limit)), ..asked("0") };

        assert_eq!(held(&p99(41), &report), [true, true]);
        let verdicts = p99(32).judge(&report);
        assert!(!verdicts[1].held);
        assert_eq!(verdicts[1].threshold, "p99 at most 32.0 ms");
        assert!(verdicts[1].measured.ends_with("% above"), "{:?}", verdicts[1]);
    }

    #[test]
    fn errors_are_judged_by_number_or_share() {
        let report = report_of(998, 2, 40.0);

        assert_eq!(held(&asked("2"), &report), [true]);
        assert_eq!(held(&asked("1"), &report), [false]);
        assert_eq!(held(&asked("0.2%"), &report), [true]);
        assert_eq!(held(&asked("0.19%"), &report), [false]);
    }

    #[test]
    fn a_run_without_an_answer_holds_to_nothing() {
        let thresholds = Thresholds { p50: Some(Duration::from_secs(9)), ..asked("100%") };

        assert_eq!(held(&thresholds, &report_of(0, 0, 1.0)), [false, false]);
        assert_eq!(held(&thresholds, &report_of(0, 5, 1.0)), [false, false]);
    }

    #[test]
    fn the_rate_is_that_of_whole_answers() {
        let report = report_of(100, 100, 1.0); // in ten seconds
        let at_least = |rate: &str| Thresholds { min_rate: Some(rate.parse().unwrap()), ..asked("100%") };

        assert_eq!(held(&at_least("10/s"), &report), [true, true]);
        assert_eq!(held(&at_least("11/s"), &report), [true, false]);
    }
}
