//! What the files of a configuration held when they were read, so that a change can be told from no change.
//!
//! By content, not by time nor by notification: a Kubernetes volume changes by a symlink two directories up, an editor by a
//! rename, and a restored backup has an old time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest as _, Sha256};

use super::documents::{MATCHING, find_matches};

/// SHA-256 of a file.
pub type Digest = [u8; 32];

/// Every file that a configuration was read from, with what it held; and the patterns that may match more of them later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// `None`: it couldn't be read.
    files: BTreeMap<PathBuf, Option<Digest>>,
    /// The patterns of `include`, complete with their directory.
    patterns: Vec<String>,
    /// What is read instead of a file, to see what an edit would make of the configuration.
    drafts: Drafts,
}

/// Files as they would be, not as they are; `None`: it would be gone.
pub(super) type Drafts = BTreeMap<PathBuf, Option<String>>;

impl Contents {
    pub(super) fn with(drafts: Drafts) -> Contents {
        Contents { drafts, ..Contents::default() }
    }

    /// Every file looked at, sorted; also those that are missing.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// The same files, and those that match a pattern by now, as they are at present. Reads all of them: not for a worker
    /// thread of the runtime.
    #[must_use]
    pub fn look_again(&self) -> Contents {
        let mut now = Contents { patterns: self.patterns.clone(), ..Contents::default() };
        for file in self.files() {
            now.look(file);
        }
        for pattern in &self.patterns {
            // A directory that can't be read now is the reload's to report.
            for file in find_matches(pattern).unwrap_or_default() {
                now.look(&file);
            }
        }
        now
    }

    /// Reads a file and remembers what it held, or that it couldn't be read.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = match self.drafts.get(path) {
            Some(Some(draft)) => Ok(draft.clone().into_bytes()),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            None => read_file(path),
        };
        let digest = bytes.as_ref().ok().map(|bytes| Sha256::digest(bytes).into());
        // The first look counts: if the file has changed since, the next comparison is to find that out.
        self.files.entry(path.to_owned()).or_insert(digest);
        bytes
    }

    /// What a file holds that somebody else reads; read once, however often it is asked for.
    pub(super) fn look(&mut self, path: &Path) -> Option<Digest> {
        if !self.files.contains_key(path) {
            drop(self.read(path)); // an error is remembered, too
        }
        self.files.get(path).copied().flatten()
    }

    /// The files that a pattern matches now, by name.
    pub(super) fn find_matches(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let mut files = find_matches(pattern)?;
        let pattern = glob::Pattern::new(pattern).map_err(|error| error.to_string())?;
        files.retain(|file| self.drafts.get(file) != Some(&None));
        let drafts = self.drafts.iter().filter(|(file, draft)| {
            draft.is_some() && pattern.matches_path_with(file, MATCHING) && !files.contains(file)
        });
        let drafts: Vec<PathBuf> = drafts.map(|(file, _)| file.clone()).collect();
        files.extend(drafts);
        files.sort();
        Ok(files)
    }

    pub(super) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    pub(super) fn add_pattern(&mut self, pattern: String) {
        self.patterns.push(pattern);
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Before opening: opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_content_is_seen_whatever_the_path_leads_through() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (volume, content) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(path(volume)).unwrap();
            fs::write(path(volume).join("secret"), content).unwrap();
        }
        std::os::unix::fs::symlink("v1", path("data")).unwrap();
        let mut contents = Contents::default();
        contents.read(&path("data/secret")).unwrap();

        let same = contents.look_again();
        fs::remove_file(path("data")).unwrap();
        std::os::unix::fs::symlink("v2", path("data")).unwrap();
        let swapped = contents.look_again();
        fs::remove_file(path("data")).unwrap();
        let gone = contents.look_again();

        assert_eq!(same, contents);
        assert_ne!(swapped, contents);
        assert_ne!(gone, contents);
        assert_eq!(gone.files().count(), 1);
    }
}
