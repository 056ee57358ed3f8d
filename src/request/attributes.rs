//! A request's attributes: read from JSON or a query, and checked value by value.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::{Attribute, RequestError};

/// Reads a request's body: one JSON object, each key once.
pub fn parse(body: &[u8]) -> Result<Attributes, RequestError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let attributes = reader.deserialize_map(AttributesVisitor).map_err(|_syntax| RequestError::Malformed)?;
    reader.end().map_err(|_trailing| RequestError::Malformed)?;
    Ok(attributes)
}

/// The attributes that mean something; others are passed over, as the documented endpoint does.
#[derive(Default)]
pub struct Attributes {
    pub token: Option<Value>,
    pub limit: Option<Value>,
    pub preview: Option<Value>,
    pub before: Option<Value>,
    pub records: Option<Value>,
}

impl Attributes {
    /// Takes note of an attribute that means something.
    pub fn set(&mut self, name: &str, value: Value) {
        let slot = match name {
            "apiToken" => &mut self.token,
            "limit" => &mut self.limit,
            "preview" => &mut self.preview,
            "before" => &mut self.before,
            "records" => &mut self.records,
            _ => return,
        };
        *slot = Some(value);
    }

    /// A whole number within a range; null is as good as absent.
    pub fn number(
        value: &Option<Value>,
        range: RangeInclusive<i64>,
        attribute: Attribute,
    ) -> Result<Option<i64>, RequestError> {
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match whole(value) {
                Some(number) if range.contains(&number) => Ok(Some(number)),
                _ => Err(RequestError::InvalidValue(attribute)),
            },
        }
    }

    pub fn preview(&self) -> Result<bool, RequestError> {
        match &self.preview {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(preview)) => Ok(*preview),
            Some(_) => Err(RequestError::InvalidValue(Attribute::Preview)),
        }
    }
}

/// 5.0 is the whole number 5: JSON knows one kind of number (RFC 8259, section 6; JSON Schema, section 6.1.1).
fn whole(value: &Value) -> Option<i64> {
    /// Beyond 2^53 a float isn't exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = || value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT);
    value.as_i64().or_else(|| float().map(|float| float as i64))
}

/// Refuses a key that comes twice: which of the two counts would be anybody's guess.
struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut attributes = Attributes::default();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            attributes.set(&key, map.next_value()?);
            if !seen.insert(key) {
                return Err(A::Error::custom("a key comes twice"));
            }
        }
        Ok(attributes)
    }
}
