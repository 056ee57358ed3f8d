//! The record described: every object of an answer, with every key of it, as the statements' columns have it.

use utoipa::openapi::schema::{
    ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};

use super::text;
use crate::database::{Statement, statements as sql};
use crate::records::{Column, FieldProfile, Form, Object, columns};

/// From the document down to the look-ups.
pub fn record_schemas() -> Vec<(&'static str, Schema)> {
    let look_up = |statement| object(statement, Object::LookUp);
    let person = columns(&sql::PEOPLE).into_iter().filter(|column| column.name != "laravel_through_key");
    let csrf_token = text().pattern(Some("^[A-Za-z0-9]{40}$")).build();
    let schemas = [
        ("Records", with(ObjectBuilder::new(), [("records", list("Violation")), ("state", one("State"))])),
        (
            "State",
            with(
                ObjectBuilder::new(),
                [
                    ("version", Schema::from(text().build()).into()),
                    ("csrf_token", Schema::from(csrf_token).into()),
                ],
            ),
        ),
        (
            "Violation",
            with(
                object(&sql::VIOLATIONS, Object::Violation),
                [
                    ("user", one_or_null("Person")),
                    ("vehicle", one_or_null("Vehicle")),
                    ("location", one_or_null("Location")),
                    ("details", list("Detail")),
                    ("attachments", list("Attachment")),
                    ("category", one_or_null("Category")),
                ],
            ),
        ),
        (
            "Vehicle",
            with(
                object(&sql::VEHICLES, Object::Vehicle),
                [
                    ("drivers", list("Driver")),
                    ("make", one_or_null("Make")),
                    ("colour", one_or_null("Colour")),
                    ("vehicle_type", one_or_null("VehicleType")),
                    ("plate_type", one_or_null("PlateType")),
                    ("province", one_or_null("Province")),
                ],
            ),
        ),
        ("Person", object_of(person, Object::Person)),
        ("Driver", object(&sql::PEOPLE, Object::Person)),
        ("Detail", with(object(&sql::DETAILS, Object::Detail), [("type", one_or_null("ViolationType"))])),
        ("Attachment", object(&sql::ATTACHMENTS, Object::Attachment)),
        ("Make", look_up(&sql::VEHICLE_MAKES)),
        ("Colour", look_up(&sql::VEHICLE_COLOURS)),
        ("VehicleType", look_up(&sql::VEHICLE_TYPES)),
        ("PlateType", look_up(&sql::PLATE_TYPES)),
        ("Province", look_up(&sql::PROVINCES)),
        ("Location", look_up(&sql::LOCATIONS)),
        ("Category", look_up(&sql::TICKET_CATEGORIES)),
        ("ViolationType", look_up(&sql::VIOLATION_TYPES)),
    ];
    schemas.into_iter().map(|(name, object)| (name, Schema::from(object.build()))).collect()
}

fn object(statement: &Statement, object: Object) -> ObjectBuilder {
    object_of(columns(statement).into_iter(), object)
}

/// A key never vanishes; what a token's field profile hides is null.
fn object_of(columns: impl Iterator<Item = Column>, object: Object) -> ObjectBuilder {
    columns.fold(ObjectBuilder::new(), |builder, column| {
        let nullable = column.nullable || FieldProfile::Minimal.hides(object, &column.name);
        builder.property(&column.name, value(column.form, nullable).build()).required(column.name)
    })
}

fn value(form: Form, nullable: bool) -> ObjectBuilder {
    let (kind, format) = match form {
        Form::Integer | Form::Flag => (Type::Integer, Some("int64")),
        Form::Boolean => (Type::Boolean, None),
        Form::Number => (Type::Number, None),
        Form::Timestamp => (Type::String, Some("date-time")),
        Form::Uuid => (Type::String, Some("uuid")),
        Form::Decimal | Form::Text => (Type::String, None),
    };
    let builder = ObjectBuilder::new().format(format.map(|format| SchemaFormat::Custom(format.to_owned())));
    let builder = match form {
        Form::Flag => builder.minimum(Some(0)).maximum(Some(1)),
        Form::Decimal => builder.pattern(Some("^-?[0-9]+\\.[0-9]{4}$")),
        _ => builder,
    };
    if nullable {
        builder.schema_type(SchemaType::Array(vec![kind, Type::Null]))
    } else {
        builder.schema_type(kind)
    }
}

/// The object with its relations, which come after its columns.
fn with<const N: usize>(object: ObjectBuilder, relations: [(&str, RefOr<Schema>); N]) -> ObjectBuilder {
    relations.into_iter().fold(object, |object, (name, schema)| object.property(name, schema).required(name))
}

fn one(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

fn one_or_null(name: &str) -> RefOr<Schema> {
    let null = ObjectBuilder::new().schema_type(Type::Null).build();
    RefOr::T(Schema::from(OneOfBuilder::new().item(one(name)).item(Schema::from(null)).build()))
}

fn list(name: &str) -> RefOr<Schema> {
    RefOr::T(Schema::from(ArrayBuilder::new().items(one(name)).build()))
}
