//! Tokens that vendors have from another system go on here: a CSV file, hashed on the way in.
//!
//! Input: the file's bytes. Output: [`Imports`], or every fault of the file with its line. All is checked before anything is
//! written, and all of it is written by one statement or none. Neither a token nor any other field's text is in a fault: in a
//! file whose columns are mixed up, any of them may be the token.

use std::collections::HashMap;
use std::fmt;

use csv::{ReaderBuilder, StringRecord, Trim};
use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use thiserror::Error;

use super::network::{parse_network, to_cidr};
use super::{Permission, failed};
use crate::audit::Actor;
use crate::auth::hash_token;
use crate::claim::TokenHash;
use crate::database::{Database, DatabaseError, Parameters, statements as sql};
use crate::records::FieldProfile;

/// The contract's bound on a token.
const LONGEST: usize = 50;
/// A token of fewer characters may be guessed: it is imported, and should be rotated.
const SHORT: usize = 20;
/// PostgreSQL's unique_violation.
const ALREADY_THERE: &str = "23505";

const COLUMNS: [&str; 7] = ["token", "vendor", "permission", "fields", "sandbox", "expires", "allow"];
const REQUIRED: usize = 2;

/// What a file holds, without the tokens' text.
#[derive(Clone)]
pub struct Imports {
    tokens: Vec<Import>,
}

#[derive(Clone)]
struct Import {
    line: u64,
    hash: TokenHash,
    is_short: bool,
    vendor: String,
    permissions: Vec<Permission>,
    profile: FieldProfile,
    sandbox: bool,
    expires_at: Option<Timestamp>,
    allowed: Vec<IpNet>,
}

/// What is wrong in one line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    pub line: u64,
    pub reason: String,
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

#[derive(Debug, Error)]
pub enum ImportError {
    /// Between the check and the import somebody else stored one of them; nothing was imported.
    #[error("somebody stored one of the tokens meanwhile: nothing was imported, check the file again")]
    AlreadyThere,
    #[error(transparent)]
    Token(#[from] super::TokenError),
}

impl Imports {
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Line, vendor and field profile of each.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &str, FieldProfile)> {
        self.tokens.iter().map(|token| (token.line, token.vendor.as_str(), token.profile))
    }

    /// The lines whose tokens are short enough to be guessed.
    pub fn short_lines(&self) -> Vec<u64> {
        self.tokens.iter().filter(|token| token.is_short).map(|token| token.line).collect()
    }
}

/// Reads a CSV file with a line of column names. A line that says no field profile gets `profile`.
///
/// # Errors
/// Every fault, in the order of lines.
pub fn read_imports(file: &[u8], profile: FieldProfile) -> Result<Imports, Vec<LineFault>> {
    // Spreadsheet programs begin UTF-8 with a byte order mark.
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(file);
    let header = reader.headers().map_err(|_unreadable| vec![fault(1, "isn't UTF-8")])?;
    let columns = Columns::read(header)?;
    let (mut tokens, mut faults) = (Vec::new(), Vec::new());
    let mut lines: HashMap<TokenHash, u64> = HashMap::new();
    let mut place = Place { rest: file, byte: 0, line: 1 };
    for record in reader.into_records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                faults.push(fault(place.line(error.position()), "isn't UTF-8"));
                continue;
            }
        };
        let line = place.line(record.position());
        match columns.token(&record, line, profile) {
            Ok(token) => match lines.insert(token.hash, line) {
                Some(first) => faults.push(fault(line, format!("has the same token as line {first}"))),
                None => tokens.push(token),
            },
            Err(reasons) => faults.extend(reasons.into_iter().map(|reason| fault(line, reason))),
        }
    }
    if tokens.is_empty() && faults.is_empty() {
        faults.push(fault(1, "no token follows"));
    }
    if faults.is_empty() { Ok(Imports { tokens }) } else { Err(faults) }
}

fn fault(line: u64, reason: impl Into<String>) -> LineFault {
    LineFault { line, reason: reason.into() }
}

/// How far the file is read. The reader's own count of lines is one behind where they end in CR LF.
struct Place<'a> {
    rest: &'a [u8],
    byte: u64,
    line: u64,
}

impl Place<'_> {
    /// The line on which a later record begins, empty lines before it passed over.
    fn line(&mut self, begin: Option<&csv::Position>) -> u64 {
        let begin = begin.map_or(0, csv::Position::byte);
        while let Some((byte, rest)) = self.rest.split_first()
            && (self.byte < begin || matches!(byte, b'\r' | b'\n'))
        {
            self.line += u64::from(*byte == b'\n');
            self.byte += 1;
            self.rest = rest;
        }
        self.line
    }
}

/// Where each of [`COLUMNS`] stands in the file.
struct Columns {
    places: [Option<usize>; COLUMNS.len()],
    count: usize,
}

impl Columns {
    fn read(header: &StringRecord) -> Result<Self, Vec<LineFault>> {
        let mut places = [None; COLUMNS.len()];
        let mut faults = Vec::new();
        for (place, name) in header.iter().enumerate() {
            match COLUMNS.iter().position(|column| column.eq_ignore_ascii_case(name)) {
                Some(column) if places[column].is_none() => places[column] = Some(place),
                Some(column) => faults.push(fault(1, format!("names the column {} twice", COLUMNS[column]))),
                // A file without a header begins with a token: its text isn't repeated.
                None => faults.push(fault(
                    1,
                    format!("the name of column {} is none of {}", place + 1, COLUMNS.join(", ")),
                )),
            }
        }
        for column in (0..REQUIRED).filter(|column| places[*column].is_none()) {
            faults.push(fault(1, format!("the column {} is missing", COLUMNS[column])));
        }
        if faults.is_empty() { Ok(Self { places, count: header.len() }) } else { Err(faults) }
    }

    fn token(&self, record: &StringRecord, line: u64, profile: FieldProfile) -> Result<Import, Vec<String>> {
        if record.len() != self.count {
            let (given, named) = (record.len(), self.count);
            return Err(vec![format!("has {given} fields where the first line names {named}")]);
        }
        let text = |column: usize| self.places[column].and_then(|place| record.get(place)).unwrap_or("");
        let mut reasons = Vec::new();
        let mut check = |reason: Option<String>| reasons.extend(reason);
        check(token_fault(text(0)));
        check(text(1).is_empty().then(|| "vendor is empty".to_owned()));
        let permissions = keep(permissions(text(2)), &mut check);
        let profile = keep(field_profile(text(3), profile), &mut check);
        let sandbox = keep(sandbox(text(4)), &mut check);
        let expires_at = keep(expiry(text(5)), &mut check);
        let allowed = keep(allowed(text(6)), &mut check);
        match (permissions, profile, sandbox, expires_at, allowed) {
            (Some(permissions), Some(profile), Some(sandbox), Some(expires_at), Some(allowed))
                if reasons.is_empty() =>
            {
                let (hash, is_short) = (hash_token(text(0)), text(0).len() < SHORT);
                let vendor = text(1).to_owned();
                Ok(Import {
                    line,
                    hash,
                    is_short,
                    vendor,
                    permissions,
                    profile,
                    sandbox,
                    expires_at,
                    allowed,
                })
            }
            _ => Err(reasons),
        }
    }
}

/// The value, or None after its fault was told.
fn keep<T>(value: Result<T, String>, tell: &mut impl FnMut(Option<String>)) -> Option<T> {
    value.map_err(|reason| tell(Some(reason))).ok()
}

/// What the contract says of a token: at most 50 characters, "alphanumeric including dashes".
fn token_fault(token: &str) -> Option<String> {
    if token.is_empty() {
        return Some("token is empty".to_owned());
    }
    if token.chars().count() > LONGEST {
        return Some(format!("token has more than {LONGEST} characters"));
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!token.bytes().all(is_allowed))
        .then(|| "token has characters beside letters, digits and dashes".to_owned())
}

fn permissions(text: &str) -> Result<Vec<Permission>, String> {
    if text.is_empty() {
        return Ok(vec![Permission::documented()]);
    }
    let parsed: Option<Vec<Permission>> = text.split_whitespace().map(Permission::parse).collect();
    parsed.ok_or_else(|| "permission isn't ACTION:RESOURCE, like user-create:violation_collection".to_owned())
}

fn field_profile(text: &str, otherwise: FieldProfile) -> Result<FieldProfile, String> {
    if text.is_empty() {
        return Ok(otherwise);
    }
    FieldProfile::parse(text).ok_or_else(|| "fields is none of full, standard, minimal".to_owned())
}

fn sandbox(text: &str) -> Result<bool, String> {
    match text {
        "" | "false" => Ok(false),
        "true" => Ok(true),
        _ => Err("sandbox is neither true nor false".to_owned()),
    }
}

/// A time with its zone, or a day, which begins at midnight UTC.
fn expiry(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let day = || {
        let day = text.parse::<Date>().ok().filter(|_| text.len() == "2027-01-31".len())?;
        day.to_zoned(TimeZone::UTC).ok().as_ref().map(Zoned::timestamp)
    };
    let time = text.parse::<Timestamp>().ok().or_else(day);
    time.map(Some)
        .ok_or_else(|| "expires is neither like 2027-01-31 nor like 2027-01-31T12:00:00Z".to_owned())
}

fn allowed(text: &str) -> Result<Vec<IpNet>, String> {
    text.split_whitespace()
        .map(|network| parse_network(network).map_err(|hint| format!("allow isn't a network: {hint}")))
        .collect()
}

/// The faults that only the database knows: tokens that are there already, times that are over by its clock.
pub async fn known(database: &Database, imports: &Imports) -> Result<Vec<LineFault>, ImportError> {
    let hashes = hashes(imports);
    let expiries: Vec<Option<Timestamp>> = imports.tokens.iter().map(|token| token.expires_at).collect();
    let rows = database.query(&sql::TOKEN_KNOWN, &[&hashes, &expiries]).await;
    let rows = rows.map_err(failed("look for the tokens"))?;
    let mut faults = Vec::new();
    for (token, row) in imports.tokens.iter().zip(&rows) {
        if row.get("known") {
            faults.push(fault(token.line, "has a token that is there already"));
        }
        if row.get("over") {
            faults.push(fault(token.line, "expires is over"));
        }
    }
    Ok(faults)
}

/// Stores them, all or none; gives their numbers, in the order of lines.
pub async fn import(database: &Database, imports: &Imports, actor: &Actor) -> Result<Vec<i64>, ImportError> {
    let tokens = &imports.tokens;
    let vendors: Vec<&str> = tokens.iter().map(|token| token.vendor.as_str()).collect();
    let profiles: Vec<&str> = tokens.iter().map(|token| token.profile.as_str()).collect();
    let sandboxes: Vec<bool> = tokens.iter().map(|token| token.sandbox).collect();
    let expiries: Vec<Option<Timestamp>> = tokens.iter().map(|token| token.expires_at).collect();
    // An array of arrays would need all of one length: each travels as text.
    let allowed = |token: &Import| to_cidr(&token.allowed).map(|list| format!("{{{}}}", list.join(",")));
    let allowed: Vec<Option<String>> = tokens.iter().map(allowed).collect();
    let mut permissions: (Vec<i64>, Vec<&str>, Vec<&str>) = Default::default();
    for (place, token) in (1..).zip(tokens) {
        for Permission { action, resource } in &token.permissions {
            permissions.0.push(place);
            permissions.1.push(action);
            permissions.2.push(resource);
        }
    }
    let parameters: Parameters<'_> = &[
        &hashes(imports),
        &vendors,
        &profiles,
        &sandboxes,
        &expiries,
        &allowed,
        &permissions.0,
        &permissions.1,
        &permissions.2,
        &actor.name,
        &actor.reason,
        &actor.request_id,
    ];
    match database.query(&sql::TOKEN_IMPORT, parameters).await {
        Ok(rows) => Ok(rows.iter().map(|row| row.get("token_id")).collect()),
        Err(DatabaseError::Refused(fault)) if fault.sqlstate() == Some(ALREADY_THERE) => {
            Err(ImportError::AlreadyThere)
        }
        Err(error) => Err(failed("import the tokens")(error).into()),
    }
}

fn hashes(imports: &Imports) -> Vec<&[u8]> {
    imports.tokens.iter().map(|token| token.hash.as_slice()).collect()
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
