//! Every statement that the gateway sends to a tenant's database: its `.sql` file and its parameters' types.
//!
//! The types are written here, not asked of the server, so that an unnamed statement costs one round trip where a
//! transaction pooler forbids prepared ones.

use tokio_postgres::types::Type;

/// SQL text and the types of `$1`, `$2`, ….
#[derive(Debug)]
pub struct Statement {
    pub name: &'static str,
    pub sql: &'static str,
    pub parameters: &'static [Type],
}

macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $file:literal [$($parameter:ident),*];)*) => {
        $($(#[$meta])* pub const $name: Statement = Statement {
            name: $file,
            sql: include_str!(concat!("../sql/", $file, ".sql")),
            parameters: &[$(Type::$parameter),*],
        };)*
        /// All of them, for `turnpike check --connect`.
        pub const ALL: &[&Statement] = &[$(&$name),*];
    };
}

statements! {
    AUTHENTICATE = "authenticate" [BYTEA, INET];
    EXPIRE = "expire" [TEXT];
    LOOK = "look" [];
    CLAIM = "claim" [BYTEA, INET, UUID, INT4, NUMERIC, INT4_ARRAY, INT8, FLOAT8, TEXT, TEXT, TEXT, FLOAT8];
    PREVIEW = "preview" [BYTEA, INET, INT4, NUMERIC, INT4_ARRAY, INT8];
    ELIGIBLE = "eligible" [INT4, NUMERIC, INT4_ARRAY];
    BATCH_LIST = "batch_list" [BYTEA, INT8, INT8];
    BATCH_FIND = "batch_find" [BYTEA, INT8];
    BATCH_MISSING = "batch_missing" [UUID];
    BATCH_SEARCH = "batch_search" [TEXT, INT4, TEXT, INT8];
    BATCH_SHOW = "batch_show" [INT8];
    BATCH_VOID = "batch_void" [INT8, TEXT, TEXT, TEXT];
    BATCH_REQUEUE = "batch_requeue" [INT8, TEXT, TEXT, TEXT];
    BATCH_ACKNOWLEDGE = "batch_acknowledge" [BYTEA, INT8, INT8];
    RENEW = "renew" [UUID, FLOAT8];
    RELEASE = "release" [UUID, INT4_ARRAY];
    REPLAY = "replay" [UUID, INT4_ARRAY];
    VOID = "void" [UUID, TEXT, TEXT];
    VOID_UNMARK = "void_unmark" [UUID];
    ACTIVITY = "activity" [INT4, NUMERIC, INT4_ARRAY, INT8];
    EXPLAIN = "explain" [TEXT, INT4, NUMERIC, INT4_ARRAY];
    CHECK = "check" [];
    SCHEMA_VERSION = "schema_version" [];
    TOKEN_ISSUE = "token_issue" [BYTEA, TEXT, TEXT, BOOL, FLOAT8, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT, TEXT, TEXT];
    TOKEN_LIST = "token_list" [INT8, FLOAT8];
    TOKEN_LOCK = "token_lock" [INT8];
    TOKEN_ROTATE = "token_rotate" [INT8, BYTEA, FLOAT8, FLOAT8, BOOL, TEXT, TEXT, TEXT];
    TOKEN_AMEND = "token_amend" [INT8, TEXT, BOOL, TEXT_ARRAY, BOOL, FLOAT8, TEXT, TEXT, TEXT];
    TOKEN_REVOKE = "token_revoke" [INT8, TEXT, TEXT, TEXT];
    TOKEN_KNOWN = "token_known" [BYTEA_ARRAY, TIMESTAMPTZ_ARRAY];
    TOKEN_IMPORT = "token_import" [
        BYTEA_ARRAY, TEXT_ARRAY, TEXT_ARRAY, BOOL_ARRAY, TIMESTAMPTZ_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY,
        TEXT, TEXT, TEXT
    ];
    AUDIT_RECORD = "audit_record" [TEXT, TEXT, TEXT, TEXT, TEXT, TEXT];
    AUDIT_LIST = "audit_list" [FLOAT8, TIMESTAMPTZ, TEXT, TEXT, INT8];
    VIOLATIONS = "records/violations" [INT4_ARRAY, UUID, INT4];
    VEHICLES = "records/vehicles" [INT4_ARRAY];
    PEOPLE = "records/people" [INT4_ARRAY, INT4_ARRAY, BOOL];
    DETAILS = "records/details" [INT4_ARRAY];
    ATTACHMENTS = "records/attachments" [INT4_ARRAY];
    VEHICLE_MAKES = "records/vehicle_makes" [];
    VEHICLE_COLOURS = "records/vehicle_colours" [];
    VEHICLE_TYPES = "records/vehicle_types" [];
    PLATE_TYPES = "records/plate_types" [];
    PROVINCES = "records/provinces" [];
    LOCATIONS = "records/locations" [];
    TICKET_CATEGORIES = "records/ticket_categories" [];
    VIOLATION_TYPES = "records/violation_types" [];
}

/// Transaction control and session set-up, sent as they are.
pub const CLAIM_BEGIN: &str = include_str!("../sql/claim_begin.sql");
pub const BEGIN: &str = "BEGIN";
pub const COMMIT: &str = "COMMIT";
pub const SESSION: &str = include_str!("../sql/session.sql");
