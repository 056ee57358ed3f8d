//! Nests a chunk's rows into records and writes them as JSON.
//!
//! Output: one record after the other, each with the keys in the record model's order. What many records share (a
//! vehicle with its drivers, a look-up row) is encoded once and copied.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use rand::Rng;
use rand::distr::Alphanumeric;
use thiserror::Error;
use tokio_postgres::Row;

use super::fields::{FieldProfile, Object};
use super::read::Chunk;
use super::shape::Shape;
use super::value::ValueError;

/// `state.csrf_token`: random letters and digits, fresh for each answer.
const CSRF_TOKEN_LENGTH: usize = 40;

/// A fault of ours: the database's schema or a `.sql` file isn't what this version was written for.
#[derive(Debug, Error)]
pub enum EncodeError {
    #[error("column {column} has type {kind}, which the wire has no form for")]
    ColumnType { column: String, kind: String },
    #[error("column {column} is missing")]
    MissingColumn { column: &'static str },
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("a chunk came before the look-up tables")]
    NoLookUps,
}

/// Encodes the records of one batch.
pub struct RecordEncoder {
    profile: FieldProfile,
    written: u64,
    look_ups: Option<LookUps>,
    /// Vehicles of earlier chunks that later ones may name.
    kept_vehicles: LookUp,
    persons: BTreeSet<i32>,
    /// The keys' bytes, prepared when a statement's first row is seen.
    violation: Option<ViolationShape>,
    vehicle: Option<VehicleShape>,
    person: Option<PersonShape>,
    detail: Option<DetailShape>,
    attachment: Option<AttachmentShape>,
}

struct ViolationShape {
    shape: Shape,
    id: usize,
    vehicle: usize,
    user: usize,
    location: usize,
    category: usize,
}

struct VehicleShape {
    shape: Shape,
    id: usize,
    make: usize,
    colour: usize,
    kind: usize,
    plate: usize,
    province: usize,
}

struct PersonShape {
    shape: Shape,
    id: usize,
    vehicle: usize,
}

struct DetailShape {
    shape: Shape,
    violation: usize,
    kind: usize,
}

struct AttachmentShape {
    shape: Shape,
    violation: usize,
}

/// The look-up tables, each row encoded.
struct LookUps {
    makes: LookUp,
    colours: LookUp,
    vehicle_types: LookUp,
    plate_types: LookUp,
    provinces: LookUp,
    locations: LookUp,
    categories: LookUp,
    violation_types: LookUp,
}

/// Encoded objects by their key.
#[derive(Default)]
struct LookUp {
    bytes: Vec<u8>,
    ranges: HashMap<i32, Range<usize>>,
}

/// Where the rows of one parent are: they lie side by side.
type Groups = HashMap<i32, Range<usize>>;

/// One chunk's rows, by what they belong to, ready to be written record by record.
pub struct Related {
    chunk: Chunk,
    drivers: Groups,
    persons: HashMap<i32, usize>,
    details: Groups,
    attachments: Groups,
    /// Those that aren't kept for later chunks.
    vehicles: LookUp,
}

impl Related {
    /// How many records the chunk makes.
    pub fn record_count(&self) -> usize {
        self.chunk.violations.len()
    }
}

impl RecordEncoder {
    pub fn new(profile: FieldProfile) -> Self {
        Self {
            profile,
            written: 0,
            look_ups: None,
            kept_vehicles: LookUp::default(),
            persons: BTreeSet::new(),
            violation: None,
            vehicle: None,
            person: None,
            detail: None,
            attachment: None,
        }
    }

    /// `{"records":[`
    pub fn write_opening(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"records":["#);
    }

    /// `],"state":{…}}`, without which no document is well-formed.
    pub fn write_closing(&self, out: &mut Vec<u8>, version: &str) {
        out.extend_from_slice(br#"],"state":{"version":"#);
        serde_json::to_writer(&mut *out, version).expect("a string always has a JSON form");
        out.extend_from_slice(br#","csrf_token":""#);
        out.extend(rand::rng().sample_iter(Alphanumeric).take(CSRF_TOKEN_LENGTH));
        out.extend_from_slice(br#""}}"#);
    }

    /// UserIDs of everybody whom the chunks so far name, as a ticket's person or as a driver, in rising order.
    pub fn persons(&self) -> Vec<i32> {
        self.persons.iter().copied().collect()
    }

    /// Takes a chunk in: finds what belongs to what, and encodes what its records share.
    pub fn relate(&mut self, mut chunk: Chunk) -> Result<Related, EncodeError> {
        if let Some(rows) = chunk.look_ups.take() {
            self.look_ups = Some(LookUps::encode(&rows, self.profile)?);
        }
        self.learn_shapes(&chunk)?;
        let keep = chunk.keep_vehicles;
        let (mut drivers, mut persons) = (Groups::new(), HashMap::new());
        if let Some(person) = &self.person {
            for (index, row) in chunk.people.iter().enumerate() {
                match row.get::<_, Option<i32>>(person.vehicle) {
                    Some(vehicle) => extend(&mut drivers, vehicle, index),
                    None => drop(persons.insert(row.get(person.id), index)),
                }
            }
            if !self.profile.names_every_driver() {
                // Primary drivers come first: where the profile names but one, it is that one.
                drivers.values_mut().for_each(|range| range.end = range.start + 1);
            }
            let named = drivers.values().cloned().flatten().map(|index| chunk.people[index].get(person.id));
            self.persons.extend(named.chain(persons.keys().copied()));
        }
        let details = self.detail.as_ref().map_or_else(Groups::new, |d| group(&chunk.details, d.violation));
        let attachments =
            self.attachment.as_ref().map_or_else(Groups::new, |a| group(&chunk.attachments, a.violation));
        let mut related =
            Related { chunk, drivers, persons, details, attachments, vehicles: LookUp::default() };
        let mut vehicles = if keep { std::mem::take(&mut self.kept_vehicles) } else { LookUp::default() };
        self.encode_vehicles(&mut vehicles, &related)?;
        *(if keep { &mut self.kept_vehicles } else { &mut related.vehicles }) = vehicles;
        Ok(related)
    }

    /// Writes one record of a chunk, with the comma that parts it from the record before.
    pub fn write_record(
        &mut self,
        out: &mut Vec<u8>,
        related: &Related,
        index: usize,
    ) -> Result<(), EncodeError> {
        if self.written > 0 {
            out.push(b',');
        }
        self.written += 1;
        self.write_violation(out, &related.chunk.violations[index], related)
    }

    fn learn_shapes(&mut self, chunk: &Chunk) -> Result<(), EncodeError> {
        let profile = self.profile;
        learn(&mut self.violation, &chunk.violations, |row| {
            let shape = Shape::of(row, Object::Violation, profile)?;
            Ok(ViolationShape {
                id: shape.position("ViolationID")?,
                vehicle: shape.position("VehicleID")?,
                user: shape.position("userid")?,
                location: shape.position("LocationID")?,
                category: shape.position("TicketType")?,
                shape,
            })
        })?;
        learn(&mut self.vehicle, &chunk.vehicles, |row| {
            let shape = Shape::of(row, Object::Vehicle, profile)?;
            Ok(VehicleShape {
                id: shape.position("VehicleID")?,
                make: shape.position("MakeID")?,
                colour: shape.position("ColourID")?,
                kind: shape.position("TypeID")?,
                plate: shape.position("PlateTypeID")?,
                province: shape.position("ProvID")?,
                shape,
            })
        })?;
        learn(&mut self.person, &chunk.people, |row| {
            let shape = Shape::of(row, Object::Person, profile)?;
            Ok(PersonShape {
                id: shape.position("UserID")?,
                vehicle: shape.position("laravel_through_key")?,
                shape,
            })
        })?;
        learn(&mut self.detail, &chunk.details, |row| {
            let shape = Shape::of(row, Object::Detail, profile)?;
            Ok(DetailShape {
                violation: shape.position("ViolationID")?,
                kind: shape.position("ViolationTypeID")?,
                shape,
            })
        })?;
        learn(&mut self.attachment, &chunk.attachments, |row| {
            let shape = Shape::of(row, Object::Attachment, profile)?;
            Ok(AttachmentShape { violation: shape.position("relatedID")?, shape })
        })
    }

    fn encode_vehicles(&self, vehicles: &mut LookUp, related: &Related) -> Result<(), EncodeError> {
        let Some(vehicle) = &self.vehicle else {
            return Ok(());
        };
        for row in &related.chunk.vehicles {
            let start = vehicles.bytes.len();
            self.write_vehicle(&mut vehicles.bytes, row, vehicle, related)?;
            vehicles.ranges.insert(row.get(vehicle.id), start..vehicles.bytes.len());
        }
        Ok(())
    }

    fn write_violation(&self, out: &mut Vec<u8>, row: &Row, related: &Related) -> Result<(), EncodeError> {
        let look_ups = self.look_ups.as_ref().ok_or(EncodeError::NoLookUps)?;
        let violation = self.violation.as_ref().ok_or(EncodeError::NoLookUps)?;
        let id: i32 = row.get(violation.id);
        violation.shape.write_open(out, row, violation.shape.len())?;
        out.extend_from_slice(b",\"user\":");
        self.write_user(out, row.get(violation.user), related)?;
        out.extend_from_slice(b",\"vehicle\":");
        let vehicle = row.get(violation.vehicle);
        let found = self.kept_vehicles.find(vehicle).or_else(|| related.vehicles.find(vehicle));
        out.extend_from_slice(found.unwrap_or(b"null"));
        out.extend_from_slice(b",\"location\":");
        look_ups.locations.write(out, row.get(violation.location));
        out.extend_from_slice(b",\"details\":[");
        if let Some(detail) = &self.detail {
            write_list(out, &related.chunk.details, related.details.get(&id), |out, row| {
                detail.shape.write_open(out, row, detail.shape.len())?;
                out.extend_from_slice(b",\"type\":");
                look_ups.violation_types.write(out, row.get(detail.kind));
                out.push(b'}');
                Ok(())
            })?;
        }
        out.extend_from_slice(b"],\"attachments\":[");
        if let Some(attachment) = &self.attachment {
            write_list(out, &related.chunk.attachments, related.attachments.get(&id), |out, row| {
                attachment.shape.write(out, row)
            })?;
        }
        out.extend_from_slice(b"],\"category\":");
        look_ups.categories.write(out, row.get(violation.category));
        out.push(b'}');
        Ok(())
    }

    /// The person a ticket was written to: all of a driver's keys but the last, `laravel_through_key`.
    fn write_user(&self, out: &mut Vec<u8>, id: Option<i32>, related: &Related) -> Result<(), EncodeError> {
        match (&self.person, id.and_then(|id| related.persons.get(&id))) {
            (Some(person), Some(index)) => {
                person.shape.write_open(out, &related.chunk.people[*index], person.vehicle)?;
                out.push(b'}');
            }
            _ => out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    fn write_vehicle(
        &self,
        out: &mut Vec<u8>,
        row: &Row,
        vehicle: &VehicleShape,
        related: &Related,
    ) -> Result<(), EncodeError> {
        let look_ups = self.look_ups.as_ref().ok_or(EncodeError::NoLookUps)?;
        vehicle.shape.write_open(out, row, vehicle.shape.len())?;
        out.extend_from_slice(b",\"drivers\":[");
        if let Some(person) = &self.person {
            let drivers = related.drivers.get(&row.get(vehicle.id));
            write_list(out, &related.chunk.people, drivers, |out, row| person.shape.write(out, row))?;
        }
        out.extend_from_slice(b"],\"make\":");
        look_ups.makes.write(out, row.get(vehicle.make));
        out.extend_from_slice(b",\"colour\":");
        look_ups.colours.write(out, row.get(vehicle.colour));
        out.extend_from_slice(b",\"vehicle_type\":");
        look_ups.vehicle_types.write(out, row.get(vehicle.kind));
        out.extend_from_slice(b",\"plate_type\":");
        look_ups.plate_types.write(out, row.get(vehicle.plate));
        out.extend_from_slice(b",\"province\":");
        look_ups.provinces.write(out, row.get(vehicle.province));
        out.push(b'}');
        Ok(())
    }
}

impl LookUps {
    fn encode(rows: &[Vec<Row>; 8], profile: FieldProfile) -> Result<Self, EncodeError> {
        let [makes, colours, vehicle_types, plate_types, provinces, locations, categories, violation_types] =
            rows;
        let encode = |rows: &Vec<Row>| LookUp::encode(rows, profile);
        Ok(Self {
            makes: encode(makes)?,
            colours: encode(colours)?,
            vehicle_types: encode(vehicle_types)?,
            plate_types: encode(plate_types)?,
            provinces: encode(provinces)?,
            locations: encode(locations)?,
            categories: encode(categories)?,
            violation_types: encode(violation_types)?,
        })
    }
}

impl LookUp {
    /// A look-up table's first column is its key.
    fn encode(rows: &[Row], profile: FieldProfile) -> Result<Self, EncodeError> {
        let mut look_up = Self::default();
        let Some(first) = rows.first() else {
            return Ok(look_up);
        };
        let shape = Shape::of(first, Object::LookUp, profile)?;
        for row in rows {
            let start = look_up.bytes.len();
            shape.write(&mut look_up.bytes, row)?;
            look_up.ranges.insert(row.get(0), start..look_up.bytes.len());
        }
        Ok(look_up)
    }

    fn find(&self, key: Option<i32>) -> Option<&[u8]> {
        key.and_then(|key| self.ranges.get(&key)).map(|range| &self.bytes[range.clone()])
    }

    /// The object with this key, or null.
    fn write(&self, out: &mut Vec<u8>, key: Option<i32>) {
        out.extend_from_slice(self.find(key).unwrap_or(b"null"));
    }
}

fn learn<S>(
    slot: &mut Option<S>,
    rows: &[Row],
    of: impl FnOnce(&Row) -> Result<S, EncodeError>,
) -> Result<(), EncodeError> {
    if let (None, Some(row)) = (&slot, rows.first()) {
        *slot = Some(of(row)?);
    }
    Ok(())
}

fn group(rows: &[Row], parent: usize) -> Groups {
    let mut groups = Groups::new();
    for (index, row) in rows.iter().enumerate() {
        extend(&mut groups, row.get(parent), index);
    }
    groups
}

fn extend(groups: &mut Groups, parent: i32, index: usize) {
    groups.entry(parent).and_modify(|range| range.end = index + 1).or_insert(index..index + 1);
}

fn write_list(
    out: &mut Vec<u8>,
    rows: &[Row],
    range: Option<&Range<usize>>,
    mut write: impl FnMut(&mut Vec<u8>, &Row) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let Some(range) = range else {
        return Ok(());
    };
    for (index, row) in rows[range.clone()].iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, row)?;
    }
    Ok(())
}
