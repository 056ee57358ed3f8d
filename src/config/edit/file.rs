//! Writes a file as a whole or not at all: into a file beside it, which then takes its name.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// What others than owner and group may.
const OTHERS: u32 = 0o007;
const READ_AND_WRITE: u32 = 0o660;

/// Replaces a file's content; its mode and owner stay. Where the path is a link, what it leads to is replaced.
pub fn replace(path: &Path, content: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let like = fs::metadata(&path)?;
    write_beside(&path, content, &like, like.mode()).and_then(|draft| put(&draft, &path))
}

/// Makes a file that isn't there yet, with the mode and owner of another.
pub fn create(path: &Path, content: &str, like: &Path) -> io::Result<()> {
    let like = fs::metadata(like)?;
    create_with(path, content, &like, like.mode())
}

/// Makes a file for a secret: nobody but the other file's owner and, where that one is readable for it, its group may read
/// it.
pub fn create_secret(path: &Path, content: &str, like: &Path) -> io::Result<()> {
    let like = fs::metadata(like)?;
    create_with(path, content, &like, like.mode() & READ_AND_WRITE & !OTHERS)
}

/// Removes a file, for good.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_directory(path)
}

fn create_with(path: &Path, content: &str, like: &fs::Metadata, mode: u32) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    let draft = write_beside(path, content, like, mode)?;
    // A link, unlike a renaming, overwrites nothing that has come meanwhile.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    linked?;
    sync_directory(path)
}

/// A hidden file: no pattern of `include` matches it.
fn write_beside(path: &Path, content: &str, like: &fs::Metadata, mode: u32) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or_else(|| io::Error::other("is no file's path"))?);
    name.push(format!(".turnpike-{}", std::process::id()));
    let draft = path.with_file_name(name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (like.uid(), like.gid()) {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(draft),
        Err(error) => {
            drop(fs::remove_file(&draft)); // it may not even have been made
            Err(error)
        }
    }
}

fn put(draft: &Path, path: &Path) -> io::Result<()> {
    fs::rename(draft, path).inspect_err(|_| drop(fs::remove_file(draft)))?;
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_links_stay_links() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "before").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();

        replace(&link, "after").unwrap();

        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
        assert_eq!(mode(&file), 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn a_new_file_overwrites_none_and_a_secret_is_for_few() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("main");
        fs::write(&main, "").unwrap();
        fs::set_permissions(&main, fs::Permissions::from_mode(0o644)).unwrap();
        let secret = directory.path().join("secrets/a");

        create_secret(&secret, "hunter2", &main).unwrap();
        let twice = create_secret(&secret, "hunter3", &main);
        create(&directory.path().join("open"), "", &main).unwrap();

        assert_eq!(twice.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&secret).unwrap(), "hunter2");
        assert_eq!((mode(&secret), mode(&directory.path().join("open"))), (0o640, 0o644));
        assert_eq!(fs::read_dir(secret.parent().unwrap()).unwrap().count(), 1);
    }
}
