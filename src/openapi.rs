//! OpenAPI 3.1 documents, generated from what the code itself goes by: the routers' paths, the types that are serialised, the
//! statements' columns, the problems' statuses. Here is what the vendors' document ([`vendor`]) and the operators' have in common.

mod record;
pub mod vendor;

use std::collections::BTreeMap;

use utoipa::ToSchema;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, Header, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response,
    ResponseBuilder,
};

pub const JSON: &str = "application/json";
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The document's head.
pub fn begin(title: &str, description: &str) -> OpenApiBuilder {
    let info = InfoBuilder::new()
        .title(title)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description))
        .build();
    OpenApiBuilder::new().info(info)
}

/// The document as it is served and kept.
pub fn render(document: &OpenApi) -> String {
    let mut text =
        document.to_pretty_json().expect("a document that is made of strings always has a JSON form");
    text.push('\n');
    text
}

pub fn bearer(format: &str, description: &str) -> SecurityScheme {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format(format);
    SecurityScheme::Http(scheme.description(Some(description)).build())
}

/// Adds a type's schema, and those of the types in it.
pub fn with_schemas<T: ToSchema>(builder: ComponentsBuilder) -> ComponentsBuilder {
    let mut within = Vec::new();
    T::schemas(&mut within);
    builder.schemas_from_iter(within).schema(T::name(), T::schema())
}

/// A body of one media type, by its schema's name.
pub fn content(schema: &str) -> Content {
    Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name(schema))))
}

pub fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub fn integer(minimum: i64, maximum: i64) -> ObjectBuilder {
    let builder = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(minimum));
    builder.maximum(Some(maximum)).format(Some(SchemaFormat::Custom("int64".to_owned())))
}

pub fn flag() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean)
}

pub fn path_parameter(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    parameter(ParameterIn::Path, name, description, schema).required(Required::True).build()
}

pub fn query_parameter(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    parameter(ParameterIn::Query, name, description, schema).build()
}

pub fn header_parameter(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    parameter(ParameterIn::Header, name, description, schema).build()
}

fn parameter(place: ParameterIn, name: &str, description: &str, schema: ObjectBuilder) -> ParameterBuilder {
    let builder = ParameterBuilder::new().name(name).parameter_in(place).description(Some(description));
    builder.schema(Some(Schema::from(schema.build())))
}

pub fn header(description: &str, schema: ObjectBuilder) -> Header {
    HeaderBuilder::new().description(Some(description)).schema(Some(Schema::from(schema.build()))).build()
}

/// One response a status: problems that share one are told together.
pub fn by_status<'a>(problems: impl IntoIterator<Item = (u16, &'a str)>) -> BTreeMap<u16, String> {
    let mut texts: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (status, text) in problems {
        let known = texts.entry(status).or_default();
        if !known.contains(&text) {
            known.push(text);
        }
    }
    texts.into_iter().map(|(status, texts)| (status, texts.join("\n\n"))).collect()
}

/// A response with the headers that its status asks for.
pub fn with_headers_of(status: u16, response: ResponseBuilder) -> Response {
    match status {
        401 => response.header("WWW-Authenticate", header("RFC 6750", text())),
        405 => response.header("Allow", header("The methods that the path answers", text())),
        429 | 503 => response.header("Retry-After", header("Seconds", integer(0, i64::MAX))),
        _ => response,
    }
    .build()
}
