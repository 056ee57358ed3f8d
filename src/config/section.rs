//! Reads one TOML table key by key and remembers everything that is wrong with it.
//!
//! Each key is taken out of the table under the name the code asks for; what is left in the end was asked
//! for by nobody and is reported as unknown. A fault never stops the reading: an operator who is paged at
//! night gets the whole list at once, not one fault a restart.
//!
//! Has no `Debug`: the table may hold a URL with a password.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::fault::Fault;
use super::value;

/// One table of one file, being read.
pub(super) struct Section {
    file: PathBuf,
    path: String,
    rest: Table,
    asked: Vec<String>,
    faults: Vec<Fault>,
}

impl Section {
    /// The top level of a file.
    pub(super) fn root(file: &Path, table: Table) -> Section {
        Section::at(file, String::new(), table)
    }

    fn at(file: &Path, path: String, rest: Table) -> Section {
        Section { file: file.to_owned(), path, rest, asked: Vec::new(), faults: Vec::new() }
    }

    /// Starts reading the table under `key`; an absent one reads as empty. Give it back to [`Section::close`].
    pub(super) fn open(&mut self, key: &str) -> Section {
        let path = self.full_key(key);
        match self.take(key) {
            Some(Value::Table(table)) => Section::at(&self.file, path, table),
            Some(other) => {
                let mut empty = Section::at(&self.file, path, Table::new());
                empty.report("", value::wrong_type("a table", &other));
                empty
            }
            None => Section::at(&self.file, path, Table::new()),
        }
    }

    /// Starts reading every table in here, whatever its key.
    pub(super) fn open_all(&mut self) -> Vec<(String, Section)> {
        let keys: Vec<String> = self.rest.keys().cloned().collect();
        keys.into_iter()
            .map(|key| {
                let section = self.open(&key);
                (key, section)
            })
            .collect()
    }

    /// Ends the reading of a table that was opened in this one, and keeps its faults.
    pub(super) fn close(&mut self, opened: Section) {
        self.faults.extend(opened.finish());
    }

    /// Ends the reading: every fault found, and one for each key that nobody asked for.
    pub(super) fn finish(mut self) -> Vec<Fault> {
        let unknown: Vec<String> = self.rest.keys().cloned().collect();
        for key in unknown {
            let reason = match self.find_nearest(&key) {
                Some(known) => format!("unknown key, did you mean `{known}`?"),
                None => "unknown key".to_owned(),
            };
            self.report(&key, reason);
        }
        self.faults
    }

    /// The value under `key`, converted; `None` where the key is absent, or its value refused and reported.
    pub(super) fn find<T>(
        &mut self,
        key: &str,
        convert: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<T> {
        match convert(self.take(key)?) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.report(key, reason);
                None
            }
        }
    }

    /// Like [`Section::find`], and an absent key is a fault.
    pub(super) fn require<T>(
        &mut self,
        key: &str,
        convert: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<T> {
        if !self.says(key) {
            self.report(key, "is required");
        }
        self.find(key, convert)
    }

    /// A key that is known, but must not stand here. Its value is not looked at.
    pub(super) fn refuse(&mut self, key: &str, reason: &str) {
        if self.take(key).is_some() {
            self.report(key, reason);
        }
    }

    /// Whether `key` is in the table and has not been read yet.
    pub(super) fn says(&self, key: &str) -> bool {
        self.rest.contains_key(key)
    }

    /// Whether a fault was reported for this very key.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        let key = self.full_key(key);
        self.faults.iter().any(|fault| fault.key == key)
    }

    /// Records a fault of `key`; of the table itself where `key` is empty.
    pub(super) fn report(&mut self, key: &str, reason: impl Into<String>) {
        self.faults.push(Fault { file: self.file.clone(), key: self.full_key(key), reason: reason.into() });
    }

    /// The file being read.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The path as this file means it: relative ones start at the file's own directory.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Every key asked for so far, known in this table.
    #[cfg(test)]
    pub(super) fn asked(&self) -> &[String] {
        &self.asked
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.asked.push(key.to_owned());
        self.rest.remove(key)
    }

    fn full_key(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (_, true) => self.path.clone(),
            (true, false) => quote(key),
            (false, false) => format!("{}.{}", self.path, quote(key)),
        }
    }

    fn find_nearest(&self, key: &str) -> Option<&String> {
        let near = (key.len() / 3).max(1);
        self.asked
            .iter()
            .map(|known| (strsim::damerau_levenshtein(key, known), known))
            .filter(|(distance, _)| *distance <= near)
            .min()
            .map(|(_, known)| known)
    }
}

/// A key as TOML would have it written; control characters escaped, for it ends up in logs.
fn quote(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { key.to_owned() } else { format!("{key:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Section {
        Section::root(Path::new("etc/tenants.toml"), text.parse().unwrap())
    }

    fn lines(section: Section) -> Vec<String> {
        section.finish().iter().map(Fault::to_string).collect()
    }

    #[test]
    fn a_key_that_nobody_asked_for_is_unknown() {
        let mut section = section("listn = 1\ncolour = 2\n\"a b\" = 3");
        section.find("listen", value::string);

        assert_eq!(
            lines(section),
            [
                "etc/tenants.toml: \"a b\": unknown key",
                "etc/tenants.toml: colour: unknown key",
                "etc/tenants.toml: listn: unknown key, did you mean `listen`?",
            ]
        );
    }

    #[test]
    fn faults_carry_the_full_dotted_key() {
        let mut root = section("[outer.inner]\nname = 5");
        let mut outer = root.open("outer");
        let mut inner = outer.open("inner");
        inner.require("name", value::string);
        inner.require("title", value::string);
        outer.close(inner);
        root.close(outer);

        assert_eq!(
            lines(root),
            [
                "etc/tenants.toml: outer.inner.name: must be a string, is an integer",
                "etc/tenants.toml: outer.inner.title: is required",
            ]
        );
    }

    #[test]
    fn a_value_where_a_table_belongs_is_a_fault_of_that_table() {
        let mut root = section("outer = [1]");
        let outer = root.open("outer");
        root.close(outer);

        assert_eq!(lines(root), ["etc/tenants.toml: outer: must be a table, is an array"]);
    }

    #[test]
    fn a_refused_key_is_reported_without_its_value() {
        let mut root = section("password = \"hunter2\"");
        root.refuse("password", "must not stand here");

        assert_eq!(lines(root), ["etc/tenants.toml: password: must not stand here"]);
    }

    #[test]
    fn paths_start_at_the_files_directory_unless_absolute() {
        let section = section("");

        assert_eq!(section.beside("certs/a.pem"), Path::new("etc/certs/a.pem"));
        assert_eq!(section.beside("/run/a.pem"), Path::new("/run/a.pem"));
    }
}
