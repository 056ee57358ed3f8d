//! Turns one TOML value into one typed value, or says why it can't: the reasons behind every key's faults.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use rust_decimal::Decimal;
use toml::Value;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `must be a string, is an integer`: says what was found, never the value, which may be a secret.
pub(super) fn wrong_type(wanted: &str, found: &Value) -> String {
    let found = match found {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    };
    format!("must be {wanted}, is {found}")
}

/// Any text but the empty one; control characters would forge log lines and headers.
pub(super) fn string(value: Value) -> Result<String, String> {
    let Value::String(text) = value else {
        return Err(wrong_type("a string", &value));
    };
    if text.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(text)
}

/// A list of texts.
pub(super) fn strings(value: Value) -> Result<Vec<String>, String> {
    let Value::Array(items) = value else {
        return Err(wrong_type("a list of strings", &value));
    };
    items.into_iter().map(string).collect()
}

/// `true` or `false`.
pub(super) fn boolean(value: Value) -> Result<bool, String> {
    match value {
        Value::Boolean(flag) => Ok(flag),
        other => Err(wrong_type("true or false", &other)),
    }
}

/// A whole number within `range`.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(Value) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let Value::Integer(number) = value else {
            return Err(wrong_type("a whole number", &value));
        };
        T::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("must be {} to {}, is {number}", range.start(), range.end()))
    }
}

/// A duration with its unit, of at least a millisecond and at most `longest`.
///
/// Not less than a millisecond, for that is PostgreSQL's unit: less would arrive there as 0, "no time-out".
pub(super) fn duration(longest: Duration) -> impl FnOnce(Value) -> Result<Duration, String> {
    duration_within(Duration::from_millis(1)..=longest)
}

/// The same, and a duration of zero switches off what it is for.
pub(super) fn duration_or_off(longest: Duration) -> impl FnOnce(Value) -> Result<Option<Duration>, String> {
    move |value| {
        let duration = duration_within(Duration::ZERO..=longest)(value)?;
        Ok(Some(duration).filter(|duration| !duration.is_zero()))
    }
}

fn duration_within(range: RangeInclusive<Duration>) -> impl FnOnce(Value) -> Result<Duration, String> {
    move |value| {
        let duration = parse_duration(value)?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let [from, to, found] = [*range.start(), *range.end(), duration].map(humantime::format_duration);
        Err(format!("must be {from} to {to}, is {found}"))
    }
}

fn parse_duration(value: Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => humantime::parse_duration(&text)
            .map_err(|_| format!("must be a duration such as \"5s\", \"500ms\" or \"1h 30m\", is {text:?}")),
        Value::Integer(number) => Err(format!("must be a duration with its unit: write \"{number}s\"")),
        other => Err(wrong_type("a duration such as \"5s\"", &other)),
    }
}

/// An address to listen on.
pub(super) fn address(value: Value) -> Result<SocketAddr, String> {
    let text = string(value)?;
    text.parse()
        .map_err(|_| format!("must be an IP address and a port such as \"0.0.0.0:8443\", is {text:?}"))
}

/// An amount of money, not negative, with at most the four decimals that PostgreSQL's columns hold.
///
/// As text or as a whole number: a float would already have lost what was written.
pub(super) fn amount(value: Value) -> Result<Decimal, String> {
    let amount = match value {
        Value::Integer(number) => Decimal::from(number),
        Value::String(text) => Decimal::from_str_exact(&text)
            .map_err(|_| format!("must be an amount such as \"12.50\", is {text:?}"))?,
        Value::Float(number) => {
            return Err(format!("must be quoted, for a float is not exact: write \"{number}\""));
        }
        other => return Err(wrong_type("an amount such as \"12.50\"", &other)),
    };
    if amount < Decimal::ZERO {
        return Err(format!("must not be negative, is {amount}"));
    }
    if amount.scale() > 4 {
        return Err(format!("must have at most 4 decimals, is {amount}"));
    }
    Ok(amount)
}

/// Ids of ticket types, sorted, none twice.
pub(super) fn ticket_types(value: Value) -> Result<Vec<i32>, String> {
    let Value::Array(items) = value else {
        return Err(wrong_type("a list of TicketTypeIDs", &value));
    };
    let mut ids = items
        .into_iter()
        .map(integer(0..=i32::MAX))
        .collect::<Result<Vec<i32>, String>>()
        .map_err(|reason| format!("each TicketTypeID {reason}"))?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Whether the file is there and can be opened; what it holds is the business of whoever parses it.
pub(super) fn check_readable(path: &Path) -> Result<(), String> {
    let cannot_read = |error| format!("cannot read {}: {error}", path.display());
    // Before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(cannot_read)?.is_file() {
        return Err(format!("cannot read {}: not a file", path.display()));
    }
    std::fs::File::open(path).map_err(cannot_read)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(value: &str) -> Value {
        format!("v = {value}").parse::<toml::Table>().unwrap().remove("v").unwrap()
    }

    #[test]
    fn a_number_out_of_range_is_refused_with_the_range() {
        assert_eq!(integer(1..=64)(toml("64")), Ok(64));
        assert_eq!(integer(1..=64)(toml("0")).unwrap_err(), "must be 1 to 64, is 0");
        assert_eq!(integer(1_usize..=64)(toml("-1")).unwrap_err(), "must be 1 to 64, is -1");
        assert_eq!(integer(1..=64)(toml("8.0")).unwrap_err(), "must be a whole number, is a float");
    }

    #[test]
    fn durations_are_written_with_their_units() {
        for (text, expected) in [
            ("\"5s\"", Duration::from_secs(5)),
            ("\"500ms\"", Duration::from_millis(500)),
            ("\"7d\"", 7 * DAY),
            ("\"1h 30m\"", 90 * MINUTE),
        ] {
            assert_eq!(duration(7 * DAY)(toml(text)), Ok(expected));
        }
    }

    #[test]
    fn a_duration_without_unit_is_refused_with_a_hint() {
        assert_eq!(
            duration(MINUTE)(toml("5")).unwrap_err(),
            "must be a duration with its unit: write \"5s\""
        );
        assert_eq!(
            duration(MINUTE)(toml("\"5\"")).unwrap_err(),
            "must be a duration such as \"5s\", \"500ms\" or \"1h 30m\", is \"5\""
        );
        assert_eq!(
            duration(MINUTE)(toml("1.5")).unwrap_err(),
            "must be a duration such as \"5s\", is a float"
        );
    }

    #[test]
    fn a_duration_of_zero_is_refused_unless_it_switches_something_off() {
        assert_eq!(duration(MINUTE)(toml("\"0s\"")).unwrap_err(), "must be 1ms to 1m, is 0s");
        assert_eq!(duration(MINUTE)(toml("\"61s\"")).unwrap_err(), "must be 1ms to 1m, is 1m 1s");
        assert_eq!(duration_or_off(MINUTE)(toml("\"0s\"")), Ok(None));
        assert_eq!(duration_or_off(MINUTE)(toml("\"5s\"")), Ok(Some(5 * SECOND)));
        assert_eq!(duration_or_off(MINUTE)(toml("\"61s\"")).unwrap_err(), "must be 0s to 1m, is 1m 1s");
    }

    #[test]
    fn amounts_are_exact() {
        assert_eq!(amount(toml("\"12.50\"")), Ok(Decimal::new(1250, 2)));
        assert_eq!(amount(toml("12")), Ok(Decimal::from(12)));
        assert_eq!(
            amount(toml("12.5")).unwrap_err(),
            "must be quoted, for a float is not exact: write \"12.5\""
        );
        assert_eq!(amount(toml("-1")).unwrap_err(), "must not be negative, is -1");
        assert_eq!(amount(toml("\"0.00001\"")).unwrap_err(), "must have at most 4 decimals, is 0.00001");
        assert_eq!(
            amount(toml("\"12,50\"")).unwrap_err(),
            "must be an amount such as \"12.50\", is \"12,50\""
        );
    }

    #[test]
    fn ticket_types_are_sorted_and_none_stands_twice() {
        assert_eq!(ticket_types(toml("[7, 3, 7]")), Ok(vec![3, 7]));
        assert_eq!(
            ticket_types(toml("[3, \"x\"]")).unwrap_err(),
            "each TicketTypeID must be a whole number, is a string"
        );
    }

    #[test]
    fn an_address_needs_its_port() {
        assert_eq!(
            address(toml("\"localhost\"")).unwrap_err(),
            "must be an IP address and a port such as \"0.0.0.0:8443\", is \"localhost\""
        );
    }

    #[test]
    fn text_must_be_there_and_printable() {
        assert_eq!(string(toml("\" \"")).unwrap_err(), "must not be empty");
        assert_eq!(string(toml("\"a\\nb\"")).unwrap_err(), "must not hold control characters");
        assert_eq!(strings(toml("\"a\"")).unwrap_err(), "must be a list of strings, is a string");
    }
}
