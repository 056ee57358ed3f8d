//! One JSON object's form: its keys' bytes, prepared once a statement, and how each column is written.

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::encode::EncodeError;
use super::fields::{FieldProfile, Object};
use super::value::{Kind, ValueError};

/// The columns of a statement's rows, in wire order.
#[derive(Debug)]
pub struct Shape {
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// `{"ViolationID":` for the first column, `,"Ticket":` for the others.
    key: Vec<u8>,
    /// The same with `null` behind it: most columns of most rows.
    null: Vec<u8>,
    kind: Kind,
    hidden: bool,
}

/// A column's binary value as it came, whatever its type; None where it is null.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl Shape {
    /// Reads the form off a row of the statement.
    pub fn of(row: &Row, object: Object, profile: FieldProfile) -> Result<Self, EncodeError> {
        let mut columns = Vec::with_capacity(row.len());
        for column in row.columns() {
            let name = column.name().to_owned();
            let kind = Kind::of(column.type_()).ok_or_else(|| EncodeError::ColumnType {
                column: name.clone(),
                kind: column.type_().to_string(),
            })?;
            let mut key = vec![if columns.is_empty() { b'{' } else { b',' }];
            serde_json::to_writer(&mut key, &name).expect("a string always has a JSON form");
            key.push(b':');
            let null = [key.as_slice(), b"null"].concat();
            columns.push(Column { hidden: profile.hides(object, &name), name, key, null, kind });
        }
        Ok(Self { columns })
    }

    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Where a column stands; its absence is a fault of the `.sql` file.
    pub fn position(&self, name: &'static str) -> Result<usize, EncodeError> {
        self.columns.iter().position(|c| c.name == name).ok_or(EncodeError::MissingColumn { column: name })
    }

    /// Writes `{` and the row's first `count` columns; the closing `}` is the caller's, who may have relations to add.
    pub fn write_open(&self, out: &mut Vec<u8>, row: &Row, count: usize) -> Result<(), EncodeError> {
        for (index, column) in self.columns[..count].iter().enumerate() {
            match raw(row, index) {
                Some(value) if !column.hidden => {
                    out.extend_from_slice(&column.key);
                    let written = column.kind.write(out, value);
                    written.map_err(|_malformed| ValueError { column: column.name.clone() })?;
                }
                _ => out.extend_from_slice(&column.null),
            }
        }
        Ok(())
    }

    /// The whole row as a JSON object.
    pub fn write(&self, out: &mut Vec<u8>, row: &Row) -> Result<(), EncodeError> {
        self.write_open(out, row, self.len())?;
        out.push(b'}');
        Ok(())
    }
}

fn raw(row: &Row, index: usize) -> Option<&[u8]> {
    row.get::<_, Raw<'_>>(index).0
}
