//! The one door to the disk: reads what the configuration names, within bounds, and remembers what it saw.
//!
//! What was seen gives the fingerprint of a load. It is taken from the very bytes that were checked, so a file that
//! changes while it is read cannot be taken for one that was seen whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::standing::Standing;

/// The largest configuration file that is read.
pub(crate) const MAX_FILE: u64 = 16 << 20;
/// The largest file of users: a million of long IDs.
pub(crate) const MAX_USERS_FILE: u64 = 64 << 20;
/// The largest file of tokens.
pub(crate) const MAX_TOKENS_FILE: u64 = 1 << 20;
/// The largest region database; the largest that is sold has about half of this.
pub(crate) const MAX_DATABASE: u64 = 1 << 30;

/// Something on the disk that a configuration depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dependency {
    /// A file, of which so many bytes count.
    File(PathBuf, u64),
    /// The names in a folder that a pattern matches.
    Listing(PathBuf, glob::Pattern),
}

impl Dependency {
    /// The path whose way down the folders is to be watched.
    pub(crate) fn watched(&self) -> PathBuf {
        match self {
            Self::File(path, _) => path.clone(),
            // Any name will do: it is the folder that counts.
            Self::Listing(folder, _) => folder.join("*"),
        }
    }

    /// What there is to see now.
    fn look(&self) -> u64 {
        match self {
            Self::File(path, bound) => look_at_file(path, *bound),
            Self::Listing(folder, pattern) => seen_names(&matching(folder, pattern)),
        }
    }
}

/// A fingerprint of what is on the disk now, comparable with [`Reader::fingerprint`].
pub(crate) fn fingerprint(dependencies: &[Dependency]) -> u64 {
    combine(
        dependencies
            .iter()
            .map(|dependency| (dependency, dependency.look())),
    )
}

/// Reads files and remembers them.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    seen: Vec<(Dependency, u64)>,
    only_files: bool,
    starved: bool,
}

impl Reader {
    /// One that refuses pipes and devices: whoever opens a pipe waits for its writer, perhaps for ever.
    pub(crate) fn of_files() -> Self {
        Self {
            only_files: true,
            ..Self::default()
        }
    }

    /// The bytes of a file, at most so many.
    pub(crate) fn read(&mut self, path: &Path, bound: u64) -> io::Result<Vec<u8>> {
        let result = if self.only_files && is_pipe_or_device(path) {
            Err(io::Error::from(io::ErrorKind::NotSeekable))
        } else {
            read_bounded(path, bound)
        };
        self.starved |= result.as_ref().is_err_and(no_descriptors);
        let seen = match &result {
            Ok((bytes, Some(standing))) => {
                let mut hash = Xxh3::new();
                hash.update(bytes);
                seen_bytes(hash, *standing)
            }
            Ok((_, None)) => NO_FILE_OF_BYTES,
            Err(error) if error.kind() == io::ErrorKind::NotSeekable => NO_FILE_OF_BYTES,
            Err(error) => seen_error(error),
        };
        self.remember(Dependency::File(path.to_owned(), bound), seen);
        let (bytes, _) = result?;
        if bytes.len() as u64 > bound {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {} MiB", bound >> 20),
            ));
        }
        Ok(bytes)
    }

    /// Remembers that a file could not be read, unless its reading is remembered already.
    pub(crate) fn failed(&mut self, path: &Path, bound: u64, error: &io::Error) {
        self.starved |= no_descriptors(error);
        self.remember(Dependency::File(path.to_owned(), bound), seen_error(error));
    }

    /// The files of a folder whose names match, in the order of their names.
    pub(crate) fn list(
        &mut self,
        folder: &Path,
        pattern: &glob::Pattern,
    ) -> io::Result<Vec<PathBuf>> {
        let result = matching(folder, pattern);
        self.starved |= result.as_ref().is_err_and(no_descriptors);
        self.remember(
            Dependency::Listing(folder.to_owned(), pattern.clone()),
            seen_names(&result),
        );
        Ok(result?.into_iter().map(|name| folder.join(name)).collect())
    }

    /// Whether something could not be opened only because the process, or the machine, has too many open files.
    pub(crate) fn starved(&self) -> bool {
        self.starved
    }

    fn remember(&mut self, dependency: Dependency, seen: u64) {
        if !self.seen.iter().any(|(known, _)| *known == dependency) {
            self.seen.push((dependency, seen));
        }
    }

    /// Equal when nothing changed.
    pub(crate) fn fingerprint(&self) -> u64 {
        combine(
            self.seen
                .iter()
                .map(|(dependency, seen)| (dependency, *seen)),
        )
    }

    /// All that was asked for, found or not.
    pub(crate) fn dependencies(&self) -> Vec<Dependency> {
        self.seen
            .iter()
            .map(|(dependency, _)| dependency.clone())
            .collect()
    }
}

/// What stands for a pipe or device: its bytes can be read only once, so they cannot be compared.
const NO_FILE_OF_BYTES: u64 = 0x7069_7065;

/// Who mends a file's permissions has changed something too.
fn seen_bytes(mut hash: Xxh3, standing: Standing) -> u64 {
    hash.update(&standing.to_bytes());
    hash.digest()
}

/// The bytes, one more than the bound where there are more, and how the file stands where they can be read again.
fn read_bounded(path: &Path, bound: u64) -> io::Result<(Vec<u8>, Option<Standing>)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    let expected = usize::try_from(about.len().min(bound)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(expected);
    file.take(bound + 1).read_to_end(&mut bytes)?;
    Ok((bytes, about.is_file().then(|| Standing::of(&about))))
}

fn is_pipe_or_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir())
}

fn look_at_file(path: &Path, bound: u64) -> u64 {
    let look = || -> io::Result<u64> {
        // Asked before it is opened: opening a pipe waits for its writer.
        let about = fs::metadata(path)?;
        if !about.is_file() {
            return Ok(NO_FILE_OF_BYTES);
        }
        let mut file = File::open(path)?.take(bound + 1);
        let mut hash = Xxh3::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(seen_bytes(hash, Standing::of(&about))),
                read => hash.update(&buffer[..read]),
            }
        }
    };
    look().unwrap_or_else(|error| seen_error(&error))
}

fn matching(folder: &Path, pattern: &glob::Pattern) -> io::Result<Vec<String>> {
    // Hidden names are none of ours unless asked for: editors' swap files, Kubernetes' `..data`.
    let options = glob::MatchOptions {
        require_literal_leading_dot: true,
        ..glob::MatchOptions::new()
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name
            .to_str()
            .filter(|name| pattern.matches_with(name, options))
        else {
            continue;
        };
        if fs::metadata(entry.path()).is_ok_and(|about| about.is_file()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn seen_names(names: &io::Result<Vec<String>>) -> u64 {
    match names {
        Ok(names) => xxh3_64(names.join("\0").as_bytes()),
        Err(error) => seen_error(error),
    }
}

/// EMFILE and ENFILE, which have no kind of their own.
pub(crate) fn no_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}

fn seen_error(error: &io::Error) -> u64 {
    xxh3_64(format!("error {:?}", error.kind()).as_bytes())
}

fn combine<'a>(seen: impl Iterator<Item = (&'a Dependency, u64)>) -> u64 {
    let mut hash = Xxh3::new();
    for (dependency, seen) in seen {
        hash.update(dependency.watched().as_os_str().as_encoded_bytes());
        hash.update(&seen.to_le_bytes());
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_and_what_is_there_have_one_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "a").unwrap();
        let mut reader = Reader::default();
        reader.read(&folder.path().join("a.yaml"), 10).unwrap();
        reader.read(&folder.path().join("missing"), 10).unwrap_err();
        reader
            .list(folder.path(), &glob::Pattern::new("*.yaml").unwrap())
            .unwrap();
        let read = reader.fingerprint();
        let dependencies = reader.dependencies();
        assert_eq!(fingerprint(&dependencies), read);

        for (name, text) in [("a.yaml", "b"), ("missing", ""), ("b.yaml", "")] {
            let before = fingerprint(&dependencies);
            fs::write(folder.path().join(name), text).unwrap();
            assert_ne!(fingerprint(&dependencies), before, "{name} changed");
        }
    }

    #[test]
    fn a_file_beyond_its_bound_is_refused_and_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        fs::write(&path, vec![b'x'; 1000]).unwrap();
        let error = Reader::default().read(&path, 999).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
