//! The record's objects described, for the vendors' OpenAPI document, without a database.
//!
//! A `.sql` file is the only declaration of an object's columns and their order; the migration that makes the tables, of
//! their types. This reads both as text; a test holds what it reads to what a server says of the same statements.

use crate::database::Statement;

const TABLES: &str = include_str!("../../schema/migrations/V1__record_model.sql");

/// One key of an object, as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub form: Form,
    pub nullable: bool,
}

/// Source: the record model's table of wire types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Integer,
    /// 0 or 1.
    Flag,
    Boolean,
    /// Without trailing zeros.
    Number,
    /// A string with four decimals.
    Decimal,
    /// `2016-05-03T20:00:00.000000Z`
    Timestamp,
    Text,
    Uuid,
}

/// The columns of a statement of `src/sql/records`, in wire order.
pub fn columns(statement: &Statement) -> Vec<Column> {
    let sql = statement.sql;
    let list = sql.split_once("\nSELECT").map_or(sql, |(_, list)| list);
    let list = list.split_once("\n  FROM ").map_or(list, |(list, _)| list);
    let from = &sql[sql.find("\n  FROM ").unwrap_or_default()..];
    list.lines().map(|line| read_item(line.trim().trim_end_matches(','), from)).collect()
}

/// `v."Ticket"`, `v."taxAmount"::text AS "taxAmount"`, `NULL::timestamptz AS "SentToCollections"`
fn read_item(item: &str, from: &str) -> Column {
    let (expression, name) = match item.split_once(" AS ") {
        Some((expression, name)) => (expression, name),
        None => (item, item.split_once('.').map_or(item, |(_, column)| column)),
    };
    let name = name.trim_matches('"').to_owned();
    if let Some(of) = expression.strip_prefix("NULL::") {
        return Column { name, form: form(of, ""), nullable: true };
    }
    let (reference, cast) = expression.split_once("::").unwrap_or((expression, ""));
    let declared = reference.split_once('.').and_then(|(alias, column)| find(alias, column, from));
    match declared {
        // A link's column: an id that a driver has, and a ticket's addressee hasn't.
        None => Column { name, form: Form::Integer, nullable: true },
        Some((of, rest)) => {
            let form = form(of, rest);
            let form = if cast == "text" && form == Form::Number { Form::Decimal } else { form };
            Column { name, form, nullable: !rest.contains("NOT NULL") && !rest.contains("PRIMARY KEY") }
        }
    }
}

/// A column's declaration: its type's first word, and all of it.
fn find<'a>(alias: &str, column: &str, from: &str) -> Option<(&'a str, &'a str)> {
    let ending = format!(" {alias}");
    let table = from.lines().find_map(|line| {
        let line = line.trim();
        let table = line.split_once("public.")?.1.strip_suffix(&ending)?;
        table.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(table)
    })?;
    let (_, body) = TABLES.split_once(&format!("CREATE TABLE public.{table} ("))?;
    let (body, _) = body.split_once("\n);")?;
    let column = if column.starts_with('"') { column.to_owned() } else { format!("\"{column}\"") };
    let line = body.lines().find(|line| line.trim_start().starts_with(&format!("{column} ")))?;
    let declared = line.trim_start()[column.len()..].trim_start();
    Some((declared.split([' ', '(', ',']).next().unwrap_or_default(), declared))
}

fn form(kind: &str, declared: &str) -> Form {
    match kind {
        "smallint" if declared.contains("IN (0, 1)") => Form::Flag,
        "smallint" | "integer" | "bigint" => Form::Integer,
        "boolean" => Form::Boolean,
        "numeric" => Form::Number,
        "timestamptz" => Form::Timestamp,
        "uuid" => Form::Uuid,
        _ => Form::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::statements as sql;

    fn column(statement: &Statement, name: &str) -> (Form, bool) {
        let found = columns(statement).into_iter().find(|column| column.name == name).unwrap();
        (found.form, found.nullable)
    }

    #[test]
    fn a_column_has_the_form_of_its_type() {
        assert_eq!(column(&sql::VIOLATIONS, "ViolationID"), (Form::Integer, false));
        assert_eq!(column(&sql::VIOLATIONS, "taxAmount"), (Form::Decimal, false));
        assert_eq!(column(&sql::VIOLATIONS, "SentToCollections"), (Form::Timestamp, true));
        assert_eq!(column(&sql::VIOLATIONS, "Spoiled"), (Form::Flag, false));
        assert_eq!(column(&sql::VIOLATIONS, "latitude"), (Form::Number, true));
        assert_eq!(column(&sql::VIOLATION_TYPES, "adminOnly"), (Form::Boolean, false));
        assert_eq!(column(&sql::PEOPLE, "laravel_through_key"), (Form::Integer, true));
        assert_eq!(column(&sql::PEOPLE, "UserUUID"), (Form::Uuid, true));
        assert_eq!(columns(&sql::PEOPLE).len(), 75);
    }
}
