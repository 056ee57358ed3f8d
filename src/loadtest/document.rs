//! Checks an answer's document as it comes, frame by frame, in constant memory: that it is whole, and how many records it
//! has. A batch of 100,000 is half a gigabyte, which a load tester with many vendors can't hold.
//!
//! It follows strings and brackets, no more; values aren't judged. A whole document begins with `{"records":[`, and ends with the
//! bracket that closes its first one.

use memchr::memchr2;

const BEGINNING: &[u8] = b"{\"records\":[";
/// The documented shape has 6 levels; who nests deeper isn't the gateway.
const DEEPEST: u32 = 64;

/// A document on its way.
#[derive(Debug, Default)]
pub struct Document {
    /// How much of [`BEGINNING`] has come.
    begun: usize,
    depth: u32,
    /// Whether a bracket at depth 2 is the list of records, not something within `state`.
    in_records: bool,
    in_string: bool,
    escaped: bool,
    records: u64,
    spoilt: bool,
}

impl Document {
    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while self.begun < BEGINNING.len() && !bytes.is_empty() {
            self.spoilt |= bytes[0] != BEGINNING[self.begun];
            self.begun += 1;
            bytes = &bytes[1..];
            if self.begun == BEGINNING.len() {
                (self.depth, self.in_records) = (2, true);
            }
        }
        if self.spoilt {
            return;
        }
        while !bytes.is_empty() {
            bytes = if self.in_string { self.feed_string(bytes) } else { self.feed_structure(bytes) };
        }
    }

    /// Up to the string's end; gives the rest.
    fn feed_string<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.escaped {
            self.escaped = false;
            return &bytes[1..];
        }
        match memchr2(b'"', b'\\', bytes) {
            None => &[],
            Some(at) => {
                self.in_string = bytes[at] == b'\\';
                self.escaped = self.in_string;
                &bytes[at + 1..]
            }
        }
    }

    /// Up to the next string; gives the rest.
    fn feed_structure<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.spoilt |= self.depth == 0;
                    return &bytes[at + 1..];
                }
                b'{' | b'[' => {
                    self.records += u64::from(*byte == b'{' && self.depth == 2 && self.in_records);
                    self.spoilt |= self.depth == 0 || self.depth >= DEEPEST;
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.spoilt |= self.depth == 0;
                    self.depth = self.depth.saturating_sub(1);
                    self.in_records &= self.depth >= 2;
                }
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => self.spoilt |= self.depth == 0,
            }
        }
        &[]
    }

    /// How many records have begun.
    pub fn so_far(&self) -> u64 {
        self.records
    }

    /// How many records it had; `None` where it isn't whole.
    pub fn finish(&self) -> Option<u64> {
        let whole = self.begun == BEGINNING.len() && self.depth == 0 && !self.in_string && !self.spoilt;
        whole.then_some(self.records)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn records_of(text: &str) -> Option<u64> {
        let mut document = Document::default();
        document.feed(text.as_bytes());
        document.finish()
    }

    #[test]
    fn records_are_counted_and_nothing_else() {
        let text =
            r#"{"records":[{"a":[{"b":{}},{}]},{"c":"}]\"{"},{}],"state":{"version":"1","x":[{},{}]}}"#;

        assert_eq!(records_of(text), Some(3));
        assert_eq!(records_of(r#"{"records":[],"state":{}}"#), Some(0));
    }

    #[test]
    fn no_beginning_of_a_document_is_whole() {
        let text = r#"{"records":[{"a":"\\"},{"b":"}"}],"state":{"version":"]}"}}"#;

        for end in 0..text.len() {
            assert_eq!(records_of(&text[..end]), None, "{}", &text[..end]);
        }
        assert_eq!(records_of(text), Some(2));
    }

    #[test]
    fn what_is_something_else_is_not_whole() {
        for text in [
            r#"{"ErrorCode":9104}"#,
            r#"{"records":[],"state":{}}{"#,
            r#"{"records":[],"state":{}}x"#,
            r#"{"records":[],"state":{}}]"#,
            "",
        ] {
            assert_eq!(records_of(text), None, "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            "[\\x20-\\x7e\\\\\"{}\\[\\]]{0,12}".prop_map(Value::from),
            Just(Value::Null)
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[a-z\"\\\\]{0,5}", inner), 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn however_it_is_cut_into_frames_the_count_is_that_of_a_parser(
            values in prop::collection::vec(any_json(), 0..6),
            state in any_json(),
            frame in 1_usize..40,
        ) {
            let records: Vec<Value> = values.into_iter().map(|value| json!({ "value": value })).collect();
            let text = json!({ "records": records, "state": state }).to_string();
            let mut document = Document::default();

            for part in text.as_bytes().chunks(frame) {
                prop_assert_eq!(document.finish(), None);
                document.feed(part);
            }

            prop_assert_eq!(document.finish(), Some(records.len() as u64));
        }
    }
}
