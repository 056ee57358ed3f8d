//! Finds and parses the files of a configuration: the main one and those it includes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::fault::Fault;
use super::section::Section;
use super::value::{check_readable, strings};

/// The parsed files, none of them looked into yet but for `include`.
pub(super) struct Documents {
    pub(super) main: Section,
    /// In the order of the patterns, then by name.
    pub(super) included: Vec<Section>,
    /// Included files that could not be parsed.
    pub(super) faults: Vec<Fault>,
    /// The files, as whatever links lead to them.
    known: HashSet<PathBuf>,
}

impl Documents {
    /// Notes in `contents` every file, also those that can't be parsed, and the patterns with wildcards.
    ///
    /// # Errors
    /// Where the main file can't be read or parsed. Included ones that can't go to `faults`.
    pub(super) fn read(path: &Path, contents: &mut Contents) -> Result<Documents, Fault> {
        let main = read_section(path, contents)?;
        let known = HashSet::from([resolve(path)]);
        let mut documents = Documents { main, included: Vec::new(), faults: Vec::new(), known };
        for pattern in documents.main.find("include", strings).unwrap_or_default() {
            match documents.find_files(&pattern, contents) {
                Ok(files) => documents.include(files, contents),
                Err(reason) => documents.main.report("include", reason),
            }
        }
        Ok(documents)
    }

    fn find_files(&self, pattern: &str, contents: &mut Contents) -> Result<Vec<PathBuf>, String> {
        let path = self.main.beside(pattern);
        if !pattern.contains(['*', '?', '[']) {
            check_readable(&path)?;
            return Ok(vec![path]);
        }
        let directory = self.main.beside("");
        let directory = directory
            .to_str()
            .ok_or("a pattern needs a directory whose name is UTF-8: name each file instead")?;
        let escaped = glob::Pattern::escape(directory);
        let pattern = Path::new(&escaped).join(pattern).to_string_lossy().into_owned();
        let files = contents.find_matches(&pattern)?;
        contents.add_pattern(pattern);
        Ok(files)
    }

    fn include(&mut self, files: Vec<PathBuf>, contents: &mut Contents) {
        for file in files {
            // Two patterns may match one file, and one pattern the main file itself.
            if !self.known.insert(resolve(&file)) {
                continue;
            }
            match read_section(&file, contents) {
                Ok(section) => self.included.push(section),
                Err(fault) => self.faults.push(fault),
            }
        }
    }
}

/// Hidden files match no pattern: editors keep their half-written copies there.
pub(super) const MATCHING: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The files that match now, by name.
pub(super) fn find_matches(pattern: &str) -> Result<Vec<PathBuf>, String> {
    glob::glob_with(pattern, MATCHING)
        .map_err(|error| format!("is not a pattern: {pattern}: {error}"))?
        .collect::<Result<Vec<PathBuf>, glob::GlobError>>()
        .map_err(|error| format!("cannot read {}: {}", error.path().display(), error.error()))
}

fn resolve(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_unreadable| file.to_owned())
}

fn read_section(file: &Path, contents: &mut Contents) -> Result<Section, Fault> {
    let fault = |reason: String| Fault { file: file.to_owned(), key: String::new(), reason };
    let bytes = contents.read(file).map_err(|error| fault(format!("cannot read the file: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| fault(format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to())))?;
    let table = text.parse().map_err(|error| fault(describe_syntax(&text, &error)))?;
    Ok(Section::root(file, table))
}

/// `line 3, column 5: …`: without the line's text, which toml would show and which may hold a password.
fn describe_syntax(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: {message}")
}
