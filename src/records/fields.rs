//! Field profiles: which columns a token may see. A key never vanishes; what isn't sent stands as null.
//!
//! The record model marks credentials and staff-only columns with `!` and personal data with `*`. `full` is the documented
//! record; `standard` nulls the former; `minimal` nulls the latter too, except what a debtor is found by: name,
//! address, phone and plate, and it names the primary driver alone.

/// What a token may see of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldProfile {
    Full,
    Standard,
    Minimal,
}

/// Which object a set of columns belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    Violation,
    Vehicle,
    Person,
    Detail,
    Attachment,
    LookUp,
}

impl FieldProfile {
    /// The ledger's and the token table's spelling; None for any other word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "full" => Some(Self::Full),
            "standard" => Some(Self::Standard),
            "minimal" => Some(Self::Minimal),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Standard => "standard",
            Self::Minimal => "minimal",
        }
    }

    /// Whether `column` of `object` is sent as null.
    pub fn hides(self, object: Object, column: &str) -> bool {
        match self {
            Self::Full => false,
            Self::Standard => object.restricted().contains(&column),
            Self::Minimal => object.restricted().contains(&column) || object.personal().contains(&column),
        }
    }

    pub fn names_every_driver(self) -> bool {
        self != Self::Minimal
    }
}

impl Object {
    /// Credentials and staff-only columns: marked `!`.
    fn restricted(self) -> &'static [&'static str] {
        match self {
            Self::Violation => &["AppealAdminComment", "PrivateComments", "pin"],
            Self::Vehicle => &["vehicleAlert"],
            Self::Person => &[
                "username",
                "privateComment",
                "encid",
                "salt",
                "register_token",
                "api_token",
                "bambora_customer_code",
            ],
            Self::Detail | Self::Attachment | Self::LookUp => &[],
        }
    }

    /// Personal data (marked `*`) that isn't name, address, phone or plate.
    fn personal(self) -> &'static [&'static str] {
        match self {
            Self::Violation => &["AppealComment"],
            Self::Vehicle => &["vin"],
            Self::Person => &[
                "email",
                "newEmail",
                "employNo",
                "employNo_int",
                "studentNo",
                "studentNo_int",
                "DLNum",
                "DOB",
                "kais_supervisor_name",
            ],
            Self::Detail | Self::Attachment | Self::LookUp => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::statements as sql;

    #[test]
    fn every_hidden_column_exists() {
        for (object, statement) in [
            (Object::Violation, sql::VIOLATIONS),
            (Object::Vehicle, sql::VEHICLES),
            (Object::Person, sql::PEOPLE),
        ] {
            for column in object.restricted().iter().chain(object.personal()) {
                assert!(
                    statement.sql.contains(&format!("\"{column}\"")),
                    "{object:?} has no column {column}"
                );
            }
        }
    }

    #[test]
    fn profiles_narrow_step_by_step() {
        for (column, full, standard, minimal) in [
            ("lastName", false, false, false),
            ("street", false, false, false),
            ("phonecell", false, false, false),
            ("email", false, false, true),
            ("DOB", false, false, true),
            ("salt", false, true, true),
        ] {
            assert_eq!(FieldProfile::Full.hides(Object::Person, column), full, "{column}");
            assert_eq!(FieldProfile::Standard.hides(Object::Person, column), standard, "{column}");
            assert_eq!(FieldProfile::Minimal.hides(Object::Person, column), minimal, "{column}");
        }
    }
}
