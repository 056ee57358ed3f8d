//! From a batch's rows to the documented record's bytes.
//!
//! PostgreSQL reads, this module nests and encodes: [`RecordReader`] fetches a batch chunk by chunk, every relation in
//! one flight, and [`RecordEncoder`] writes JSON straight from the rows' binary values. Nothing is built as a tree, and
//! the memory that is used depends on the chunk, never on the batch.
//! The `.sql` files under `src/sql/records` are the only declaration of an object's columns and of their order.

mod encode;
mod fields;
mod read;
mod schema;
mod shape;
mod value;

pub use self::encode::{EncodeError, RecordEncoder, Related};
pub use self::fields::{FieldProfile, Object};
pub use self::read::{Chunk, RecordReader, read_first};
pub use self::schema::{Column, Form, columns};
