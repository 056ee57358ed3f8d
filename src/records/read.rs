//! Reads a batch's violations chunk by chunk: one flight a chunk, and no connection held in between.

use std::sync::Arc;

use tokio_postgres::Row;
use uuid::Uuid;

use super::fields::FieldProfile;
use crate::database::{Connection, Database, DatabaseError, Fault, Parameters, Statement, statements as sql};

/// Small, so that the first byte is early; it also travels in the claim's own flight.
const FIRST_CHUNK: u8 = 50;
/// Not more, though 500 would be a little faster: a chunk is a turn on the CPU, PostgreSQL's and ours, that others wait for.
const LARGEST_CHUNK: usize = 100;
const SMALLEST_CHUNK: usize = 4;
/// Chunks shrink where violations are wide (comments of a megabyte do occur), so that memory stays bounded.
const CHUNK_BYTES: usize = 2 * 1024 * 1024;
/// Rows of vehicles and their drivers that a batch reads to keep; what comes after them is read chunk by chunk.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// What a flight needs to have prepared on its connection.
const STATEMENTS: [&Statement; 13] = [
    &sql::VIOLATIONS,
    &sql::VEHICLES,
    &sql::PEOPLE,
    &sql::DETAILS,
    &sql::ATTACHMENTS,
    LOOK_UPS[0],
    LOOK_UPS[1],
    LOOK_UPS[2],
    LOOK_UPS[3],
    LOOK_UPS[4],
    LOOK_UPS[5],
    LOOK_UPS[6],
    LOOK_UPS[7],
];
const LOOK_UPS: [&Statement; 8] = [
    &sql::VEHICLE_MAKES,
    &sql::VEHICLE_COLOURS,
    &sql::VEHICLE_TYPES,
    &sql::PLATE_TYPES,
    &sql::PROVINCES,
    &sql::LOCATIONS,
    &sql::TICKET_CATEGORIES,
    &sql::VIOLATION_TYPES,
];

/// Some violations of a batch, in its order, with every row that their records are made of.
pub struct Chunk {
    pub violations: Vec<Row>,
    /// Those that no earlier chunk of the batch had to keep, and their drivers among `people`.
    pub vehicles: Vec<Row>,
    pub people: Vec<Row>,
    /// Whether the chunks that follow leave these vehicles out.
    pub keep_vehicles: bool,
    pub details: Vec<Row>,
    pub attachments: Vec<Row>,
    /// The look-up tables' rows in the order makes, colours, vehicle types, plate types, provinces, locations, ticket
    /// categories, violation types; in a batch's first chunk only.
    pub look_ups: Option<[Vec<Row>; 8]>,
}

/// A batch, or a preview, that is being read.
pub struct RecordReader {
    database: Database,
    violation_ids: Arc<[i32]>,
    every_driver: bool,
    /// Vehicles that chunks before were told to keep, sorted, and what their rows may still take: many violations are
    /// the same few vehicles', and a person has 74 columns.
    kept: Vec<i32>,
    room: usize,
    /// Violations that were read with the chunk before (at first: with the claim).
    ahead: Vec<Row>,
    /// Which of `violation_ids` they are: from the one up to, not including, the other.
    from: usize,
    to: usize,
}

/// The first chunk's violations, for the claim's flight to ask for, before anybody knows which they are.
pub async fn read_first(connection: &Connection, claim_id: Uuid) -> Result<Vec<Row>, DatabaseError> {
    connection.query(&sql::VIOLATIONS, &[&None::<&[i32]>, &claim_id, &i32::from(FIRST_CHUNK)]).await
}

async fn read_violations(connection: &Connection, ids: &[i32]) -> Result<Vec<Row>, DatabaseError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    connection.query(&sql::VIOLATIONS, &[&ids, &None::<Uuid>, &None::<i32>]).await
}

impl RecordReader {
    /// Goes on where `first`, the rows of [`read_first`], ends.
    pub fn new(
        database: Database,
        violation_ids: Arc<[i32]>,
        profile: FieldProfile,
        first: Vec<Row>,
    ) -> Self {
        let to = violation_ids.len().min(FIRST_CHUNK.into());
        let every_driver = profile.names_every_driver();
        let (kept, room) = (Vec::new(), KEPT_BYTES);
        Self { database, violation_ids, every_driver, kept, room, ahead: first, from: 0, to }
    }

    /// Reads the first rows itself: for what no claim has read already.
    pub async fn open(
        database: Database,
        violation_ids: Arc<[i32]>,
        profile: FieldProfile,
    ) -> Result<Self, DatabaseError> {
        let connection = database.connection().await?;
        connection.prepare(&[&sql::VIOLATIONS]).await?;
        let first =
            read_violations(&connection, &violation_ids[..violation_ids.len().min(FIRST_CHUNK.into())]).await;
        let first = connection.finish(first)?;
        Ok(Self::new(database, violation_ids, profile, first))
    }

    /// Whether there is a chunk that hasn't been given yet.
    pub fn has_more(&self) -> bool {
        self.from < self.to
    }

    /// The next chunk, None after the last. Safe to drop: nothing is changed in the database.
    ///
    /// # Errors
    /// Also where a row of the batch isn't there any more: the answer would be incomplete.
    pub async fn next(&mut self) -> Result<Option<Chunk>, DatabaseError> {
        let violations = std::mem::take(&mut self.ahead);
        if violations.len() != self.to - self.from {
            return Err(DatabaseError::Unexpected(Fault::text("violations of the batch are gone")));
        }
        let Some(row) = violations.first() else {
            return Ok(None);
        };
        let (mut vehicle_ids, user_ids) = related_ids(row, &violations)?;
        vehicle_ids.retain(|id| self.kept.binary_search(id).is_err());
        let (from, to) = (self.to, self.violation_ids.len().min(self.to + next_size(&violations)));

        let connection = self.database.connection().await?;
        connection.prepare(&STATEMENTS).await?;
        let (vehicles, people): (Parameters<'_>, Parameters<'_>) =
            (&[&vehicle_ids], &[&vehicle_ids, &user_ids, &self.every_driver]);
        let violations_only: Parameters<'_> = &[&&self.violation_ids[self.from..self.to]];
        let flight = async {
            tokio::try_join!(
                connection.query(&sql::VEHICLES, vehicles),
                connection.query(&sql::PEOPLE, people),
                connection.query(&sql::DETAILS, violations_only),
                connection.query(&sql::ATTACHMENTS, violations_only),
                read_look_ups(&connection, self.from == 0),
                read_violations(&connection, &self.violation_ids[from..to]),
            )
        };
        let flight = flight.await;
        let (vehicles, people, details, attachments, look_ups, ahead) = connection.finish(flight)?;
        (self.ahead, self.from, self.to) = (ahead, from, to);
        let keep_vehicles = self.keep(vehicle_ids, vehicles.iter().chain(&people));
        Ok(Some(Chunk { violations, vehicles, people, keep_vehicles, details, attachments, look_ups }))
    }

    /// Whether there is room to keep these rows' vehicles for the rest of the batch.
    fn keep<'a>(&mut self, vehicle_ids: Vec<i32>, rows: impl Iterator<Item = &'a Row>) -> bool {
        let bytes: usize = rows.map(Row::raw_size_bytes).sum();
        let fits = bytes <= self.room;
        if fits {
            self.room -= bytes;
            self.kept.extend(vehicle_ids);
            self.kept.sort_unstable();
        }
        fits
    }
}

async fn read_look_ups(
    connection: &Connection,
    wanted: bool,
) -> Result<Option<[Vec<Row>; 8]>, DatabaseError> {
    if !wanted {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h] = LOOK_UPS.map(|statement| connection.query(statement, &[]));
    let (a, b, c, d, e, f, g, h) = tokio::try_join!(a, b, c, d, e, f, g, h)?;
    Ok(Some([a, b, c, d, e, f, g, h]))
}

/// VehicleIDs and UserIDs of a chunk.
fn related_ids(row: &Row, violations: &[Row]) -> Result<(Vec<i32>, Vec<i32>), DatabaseError> {
    let column = |name: &str| {
        let position = row.columns().iter().position(|column| column.name() == name);
        position.ok_or_else(|| DatabaseError::Unexpected(Fault::text(format!("no column {name}"))))
    };
    let distinct = |index: usize| {
        let mut ids: Vec<i32> =
            violations.iter().filter_map(|row| row.get::<_, Option<i32>>(index)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    Ok((distinct(column("VehicleID")?), distinct(column("userid")?)))
}

fn next_size(violations: &[Row]) -> usize {
    let bytes: usize = violations.iter().map(Row::raw_size_bytes).sum();
    (CHUNK_BYTES * violations.len() / bytes.max(1)).clamp(SMALLEST_CHUNK, LARGEST_CHUNK)
}
