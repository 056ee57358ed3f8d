//! One column's binary value as JSON text. Source: the record model's table of wire types, and PostgreSQL's binary
//! formats as its `send` functions write them (`numeric_send`, `timestamptz_send`, …).

use thiserror::Error;
use tokio_postgres::types::Type;

/// How a column stands on the wire; decided by its PostgreSQL type alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    SmallInteger,
    Integer,
    BigInteger,
    Boolean,
    Numeric,
    Timestamp,
    Text,
    Uuid,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("a value of column {column} is not in PostgreSQL's binary format")]
pub struct ValueError {
    pub column: String,
}

/// A value whose bytes aren't what its type says.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl Kind {
    /// None for a type that the wire has no form for.
    pub fn of(column: &Type) -> Option<Self> {
        Some(match *column {
            Type::INT2 => Self::SmallInteger,
            Type::INT4 => Self::Integer,
            Type::INT8 => Self::BigInteger,
            Type::BOOL => Self::Boolean,
            Type::NUMERIC => Self::Numeric,
            Type::TIMESTAMPTZ => Self::Timestamp,
            Type::TEXT | Type::VARCHAR => Self::Text,
            Type::UUID => Self::Uuid,
            _ => return None,
        })
    }

    /// Appends the value to `out`.
    pub fn write(self, out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::SmallInteger => write_integer(out, i16::from_be_bytes(exactly(raw)?)),
            Self::Integer => write_integer(out, i32::from_be_bytes(exactly(raw)?)),
            Self::BigInteger => write_integer(out, i64::from_be_bytes(exactly(raw)?)),
            Self::Boolean => {
                let [byte] = exactly(raw)?;
                out.extend_from_slice(if byte == 0 { b"false" } else { b"true" });
            }
            Self::Numeric => return write_numeric(out, raw),
            Self::Timestamp => write_timestamp(out, i64::from_be_bytes(exactly(raw)?)),
            Self::Text => return write_text(out, raw),
            Self::Uuid => {
                let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
                let uuid = uuid::Uuid::from_bytes(exactly(raw)?);
                out.push(b'"');
                out.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
                out.push(b'"');
            }
        }
        Ok(())
    }
}

fn exactly<const N: usize>(raw: &[u8]) -> Result<[u8; N], Malformed> {
    raw.try_into().map_err(|_| Malformed)
}

fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A JSON string (RFC 8259, section 7): `"`, `\` and U+0000 to U+001F are escaped, all else stands as UTF-8.
fn write_text(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Malformed> {
    let text = std::str::from_utf8(raw).map_err(|_| Malformed)?;
    serde_json::to_writer(out, text).map_err(|_| Malformed)
}

/// The four 16-bit words before a numeric's digits, and what they may say.
const NUMERIC_HEADER: usize = 8;
const NUMERIC_POSITIVE: u16 = 0x0000;
const NUMERIC_NEGATIVE: u16 = 0x4000;

/// A JSON number without trailing zeros: 50, 12.5, 0.1. NaN and the infinities, which JSON lacks, become null.
fn write_numeric(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Malformed> {
    if raw.len() < NUMERIC_HEADER || !raw.len().is_multiple_of(2) {
        return Err(Malformed);
    }
    let word = |index: usize| u16::from_be_bytes([raw[2 * index], raw[2 * index + 1]]);
    let (count, sign) = (usize::from(word(0)), word(2));
    let weight = i32::from(i16::from_be_bytes([raw[2], raw[3]]));
    if raw.len() != NUMERIC_HEADER + 2 * count {
        return Err(Malformed);
    }
    match sign {
        NUMERIC_POSITIVE => {}
        NUMERIC_NEGATIVE => out.push(b'-'),
        _ => {
            out.extend_from_slice(b"null");
            return Ok(());
        }
    }
    // Digits have base 10,000; the first one counts 10,000^weight, and those that aren't sent are zeros.
    let digit = |power: i32| {
        let index = usize::try_from(weight - power).ok().filter(|index| *index < count);
        index.map_or(0, |index| word(NUMERIC_HEADER / 2 + index))
    };
    write_integer(out, digit(weight.max(0)));
    for power in (0..weight.max(0)).rev() {
        out.extend_from_slice(&four_digits(digit(power)));
    }
    let integer_end = out.len();
    out.push(b'.');
    let last_power = weight - i32::try_from(count).map_err(|_| Malformed)? + 1;
    for power in (last_power.min(0)..0).rev() {
        out.extend_from_slice(&four_digits(digit(power)));
    }
    while out.len() > integer_end && matches!(out.last(), Some(b'0' | b'.')) {
        let ended = out.pop() == Some(b'.');
        if ended {
            break;
        }
    }
    Ok(())
}

fn four_digits(value: u16) -> [u8; 4] {
    let digit = |divisor: u16| b'0' + (value / divisor % 10) as u8;
    [digit(1000), digit(100), digit(10), digit(1)]
}

const MICROS_A_SECOND: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;
/// Days from 0000-03-01 (the civil calendar's convenient start: leap days come last) to 2000-01-01, PostgreSQL's zero.
const POSTGRES_EPOCH_DAYS: i64 = 730_425;
const DAYS_AN_ERA: i64 = 146_097;

/// `"2016-05-03T20:00:00.000000Z"` from microseconds since 2000-01-01 UTC. Infinities become null; years outside 0 to
/// 9999 carry a sign, as ISO 8601 has it.
fn write_timestamp(out: &mut Vec<u8>, micros: i64) {
    if micros == i64::MAX || micros == i64::MIN {
        out.extend_from_slice(b"null");
        return;
    }
    let seconds = micros.div_euclid(MICROS_A_SECOND);
    let (days, second) = (seconds.div_euclid(SECONDS_A_DAY), seconds.rem_euclid(SECONDS_A_DAY));
    let (year, month, day) = civil_date(days + POSTGRES_EPOCH_DAYS);
    out.push(b'"');
    match u16::try_from(year) {
        Ok(year @ 0..=9999) => out.extend_from_slice(&four_digits(year)),
        _ => out.extend_from_slice(format!("{year:+05}").as_bytes()),
    }
    let mut two = |separator: u8, value: i64| {
        out.extend_from_slice(&[separator, b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
    };
    two(b'-', month);
    two(b'-', day);
    two(b'T', second / 3600);
    two(b':', second / 60 % 60);
    two(b':', second % 60);
    let fraction = micros.rem_euclid(MICROS_A_SECOND) as u32;
    out.push(b'.');
    for divisor in [100_000, 10_000, 1_000, 100, 10, 1] {
        out.push(b'0' + (fraction / divisor % 10) as u8);
    }
    out.extend_from_slice(b"Z\"");
}

/// Year, month and day of the proleptic Gregorian calendar, from days since 0000-03-01 (after Howard Hinnant,
/// "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil_date(days: i64) -> (i64, i64, i64) {
    let era = days.div_euclid(DAYS_AN_ERA);
    let day_of_era = days.rem_euclid(DAYS_AN_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use rust_decimal::Decimal;
    use tokio_postgres::types::ToSql;

    use super::*;

    fn written(kind: Kind, raw: &[u8]) -> String {
        let mut out = Vec::new();
        kind.write(&mut out, raw).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn numeric(decimal: &str) -> String {
        let mut raw = BytesMut::new();
        let _ = decimal.parse::<Decimal>().unwrap().to_sql(&Type::NUMERIC, &mut raw).unwrap();
        written(Kind::Numeric, &raw)
    }

    #[test]
    fn money_has_no_trailing_zeros() {
        for (given, wire) in [
            ("50.0000", "50"),
            ("12.5000", "12.5"),
            ("0.1000", "0.1"),
            ("99999999.9900", "99999999.99"),
            ("0.0000", "0"),
            ("0", "0"),
            ("-12.5000", "-12.5"),
            ("0.0001", "0.0001"),
            ("10000", "10000"),
            ("100000000", "100000000"),
            ("20000.0002", "20000.0002"),
            ("-0.5", "-0.5"),
            ("1000", "1000"),
            ("45.4215296", "45.4215296"),
            ("-75.6971931", "-75.6971931"),
            ("100", "100"),
        ] {
            assert_eq!(numeric(given), wire, "{given}");
        }
    }

    #[test]
    fn not_a_number_is_null() {
        assert_eq!(written(Kind::Numeric, &[0, 0, 0, 0, 0xC0, 0, 0, 0]), "null");
        assert_eq!(written(Kind::Numeric, &[0, 0, 0, 0, 0xD0, 0, 0, 0]), "null");
        assert_eq!(written(Kind::Numeric, &[0, 0, 0, 0, 0xF0, 0, 0, 0]), "null");
    }

    #[test]
    fn dates_have_six_digits_and_a_z() {
        let at = |text: &str| {
            let zero: Timestamp = "2000-01-01T00:00:00Z".parse().unwrap();
            let micros = text.parse::<Timestamp>().unwrap().as_microsecond() - zero.as_microsecond();
            written(Kind::Timestamp, &micros.to_be_bytes())
        };
        for text in [
            "2016-05-03T20:00:00.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "1900-01-01T00:00:00.000000Z",
            "1999-12-31T23:59:59.000001Z",
            "2000-02-29T00:00:00.000000Z",
            "2100-02-28T23:59:59.000000Z",
            "2024-12-31T23:59:59.999999Z",
            "0001-01-01T00:00:00.000000Z",
            "9999-12-30T22:00:00.000000Z",
        ] {
            assert_eq!(at(text), format!("\"{text}\""));
        }
    }

    #[test]
    fn infinity_is_null() {
        assert_eq!(written(Kind::Timestamp, &i64::MAX.to_be_bytes()), "null");
        assert_eq!(written(Kind::Timestamp, &i64::MIN.to_be_bytes()), "null");
    }

    #[test]
    fn a_value_of_the_wrong_length_is_refused() {
        let mut out = Vec::new();
        assert_eq!(Kind::Integer.write(&mut out, &[0; 3]), Err(Malformed));
        assert_eq!(Kind::Numeric.write(&mut out, &[0; 7]), Err(Malformed));
        assert_eq!(Kind::Numeric.write(&mut out, &[0, 2, 0, 0, 0, 0, 0, 0]), Err(Malformed));
        assert_eq!(Kind::Text.write(&mut out, &[0xff]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let read: String = serde_json::from_str(&written(Kind::Text, text.as_bytes())).unwrap();
            prop_assert_eq!(read, text);
        }

        #[test]
        fn any_money_reads_back(units in -999_999_999_999_i64..=999_999_999_999, scale in 0_u32..=4) {
            let decimal = Decimal::new(units, scale);
            let wire = numeric(&decimal.to_string());
            prop_assert_eq!(wire.parse::<Decimal>().unwrap(), decimal);
            prop_assert_eq!(wire, decimal.normalize().to_string());
        }

        #[test]
        fn any_instant_reads_back(micros in -62_000_000_000_000_000_i64..250_000_000_000_000_000) {
            let wire = written(Kind::Timestamp, &micros.to_be_bytes());
            let read: Timestamp = serde_json::from_str::<String>(&wire).unwrap().parse().unwrap();
            let zero: Timestamp = "2000-01-01T00:00:00Z".parse().unwrap();
            prop_assert_eq!(read.as_microsecond() - zero.as_microsecond(), micros);
        }

        #[test]
        fn any_integer_reads_back(small in any::<i16>(), integer in any::<i32>(), big in any::<i64>()) {
            prop_assert_eq!(written(Kind::SmallInteger, &small.to_be_bytes()), small.to_string());
            prop_assert_eq!(written(Kind::Integer, &integer.to_be_bytes()), integer.to_string());
            prop_assert_eq!(written(Kind::BigInteger, &big.to_be_bytes()), big.to_string());
        }
    }
}
