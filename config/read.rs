//! From bytes to shapes: the main file and what it includes, each read, placed and walked over.

use std::io;
use std::path::{Path, PathBuf};

use crate::file::{self, File, Node, Refusal};
use crate::place::{Place, Places, Unreadable};
use crate::problem::{Problem, plain, quoted};
use crate::reader::{MAX_FILE, Reader};
use crate::shape;
use crate::source::{At, Problems, Source};

/// The most files that one configuration includes.
const MAX_INCLUDED: usize = 1000;

/// One file of a configuration, its shape known to be good.
pub(crate) struct Part {
    pub(crate) source: Source,
    pub(crate) file: File,
    /// Relative paths begin here.
    pub(crate) folder: PathBuf,
}

/// Reads the main file's bytes and all that they include. `None` where a shape is wrong; the problems say why.
pub(crate) fn parts(
    name: &Path,
    bytes: &[u8],
    folder: &Path,
    reader: &mut Reader,
    problems: &mut Problems,
) -> (Option<Vec<Part>>, Vec<PathBuf>) {
    let mut names = vec![name.to_owned()];
    let Some((source, node)) = opened(name, bytes, problems) else {
        return (None, names);
    };
    let root = At::root(&source);
    shape::walk(&root, &node, problems);
    let mut sources = Vec::new();
    let runtime = root.key("runtime");
    let include = runtime.key("include");
    if let Some(Node::List(patterns)) = node
        .get("runtime")
        .and_then(|runtime| runtime.get("include"))
    {
        for (index, pattern) in patterns.iter().enumerate() {
            let Node::Text(pattern) = pattern else {
                continue;
            };
            let at = include.index(index);
            for path in found(&at, pattern, folder, reader, problems) {
                // Two patterns may match one file, and a pattern the file that it stands in.
                if names.contains(&path) {
                    continue;
                }
                if names.len() > MAX_INCLUDED {
                    let message = format!("more than {MAX_INCLUDED} files are included");
                    problems.error(&at, "T403", message, "join some of them");
                    return (None, names);
                }
                names.push(path.clone());
                sources.extend(included(&at, &path, reader, problems));
            }
        }
    }
    if problems.has_errors() {
        return (None, names);
    }
    let main = (source, folder.to_owned());
    let parts = std::iter::once(main)
        .chain(sources)
        .map(|(source, folder)| decoded(source, folder, problems));
    (parts.collect(), names)
}

/// The files that an entry of `include` means.
fn found(
    at: &At<'_>,
    pattern: &str,
    folder: &Path,
    reader: &mut Reader,
    problems: &mut Problems,
) -> Vec<PathBuf> {
    let is_pattern = |text: &str| text.contains(['*', '?', '[']);
    let path = joined(folder, pattern);
    if !is_pattern(pattern) {
        return vec![path];
    }
    let parent = Path::new(pattern)
        .parent()
        .and_then(Path::to_str)
        .unwrap_or_default();
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if is_pattern(parent) || name.contains("**") {
        let message = format!("{} has a pattern in a folder's name", quoted(pattern));
        problems.error(
            at,
            "T403",
            message,
            "use patterns in file names only, and name each folder",
        );
        return Vec::new();
    }
    let pattern = match glob::Pattern::new(name) {
        Ok(pattern) => pattern,
        Err(error) => {
            problems.error(
                at,
                "T403",
                format!("{} is no pattern: {error}", quoted(pattern)),
                "write it like `routes.d/*.yaml`",
            );
            return Vec::new();
        }
    };
    let parent = path.parent().unwrap_or(folder);
    match reader.list(parent, &pattern) {
        Ok(files) => files,
        // A pattern may match nothing, and it is noticed when the folder appears.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let folder = quoted(&parent.display().to_string());
            let message = format!("cannot list the folder {folder}: {}", told(&error));
            problems.error(
                at,
                "T403",
                message,
                "let this process read it, or remove the entry",
            );
            Vec::new()
        }
    }
}

fn included(
    at: &At<'_>,
    path: &Path,
    reader: &mut Reader,
    problems: &mut Problems,
) -> Option<(Source, PathBuf)> {
    let bytes = match reader.read(path, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!(
                "cannot read {}: {}",
                quoted(&path.display().to_string()),
                told(&error)
            );
            problems.error(
                at,
                "T401",
                message,
                "create it, let this process read it, or remove the entry",
            );
            return None;
        }
    };
    let (source, node) = opened(path, &bytes, problems)?;
    shape::walk(&At::root(&source), &node, problems);
    Some((source, path.parent().unwrap_or(Path::new("")).to_owned()))
}

/// A text with its places and its values, if it is YAML at all.
fn opened(name: &Path, bytes: &[u8], problems: &mut Problems) -> Option<(Source, Node)> {
    match tried(name, bytes, problems) {
        Ok(opened) => opened,
        Err(problem) => {
            problems.push(*problem);
            None
        }
    }
}

fn tried(
    name: &Path,
    bytes: &[u8],
    problems: &mut Problems,
) -> Result<Option<(Source, Node)>, Box<Problem>> {
    let whole = |code, message: &str, hint: &str| {
        Box::new(Problem::of_file(code, name.to_owned(), message, hint))
    };
    if bytes.len() as u64 > MAX_FILE {
        return Err(whole(
            "T109",
            &format!("the file is larger than {MAX_FILE} bytes"),
            "split it, or name long lists in files of their own",
        ));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        let start = bytes[..error.valid_up_to()]
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let before = String::from_utf8_lossy(&bytes[start..error.valid_up_to()]);
        Box::new(Problem {
            line,
            column: before.chars().count() + 1,
            ..Problem::of_file(
                "T110",
                name.to_owned(),
                "the file is not UTF-8; here is the first wrong byte",
                "save it as UTF-8",
            )
        })
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut source = Source::new(name.to_owned(), text.to_owned(), Places::default());
    let repeated = match Places::read(text) {
        Ok((places, repeated)) => {
            source.places = places;
            repeated
        }
        Err(unreadable) => return Err(Box::new(unreadable_problem(&source, unreadable))),
    };
    for twice in &repeated {
        let message = format!(
            "the key {} stands twice, first in line {}",
            quoted(&twice.key),
            twice.first.line
        );
        let problem = source.problem(twice.again, "T102", &message, "remove one of the two");
        problems.push(Problem {
            path: plain(&twice.path),
            ..problem
        });
    }
    let node =
        file::node(text).map_err(|error| Box::new(loader_problem(&source, "T101", &error)))?;
    if node == Node::Null {
        return Err(Box::new(unreadable_problem(&source, Unreadable::Empty)));
    }
    Ok(Some((source, node)))
}

fn unreadable_problem(source: &Source, unreadable: Unreadable) -> Problem {
    match unreadable {
        Unreadable::Syntax(place, what) => source.problem(
            place,
            "T101",
            &format!("this is not YAML: {what}"),
            "look at indentation, quotes and brackets here and above",
        ),
        Unreadable::Bound(place, what, hint) => source.problem(place, "T109", &what, hint),
        Unreadable::SecondDocument(place) => source.problem(
            place,
            "T101",
            "a second document begins here, and a file holds one",
            "remove the `---`",
        ),
        Unreadable::Empty => Problem::of_file(
            "T100",
            source.name.clone(),
            "the file holds nothing",
            "begin with `version: 1`; `tidegate schema` tells every key",
        ),
    }
}

fn loader_problem(source: &Source, code: &'static str, error: &Refusal) -> Problem {
    let (line, column) = error.place.unwrap_or((1, 1));
    let place = Place {
        line,
        column,
        width: 1,
    };
    source.problem(
        place,
        code,
        &format!("this cannot be read: {}", error.what),
        "look at indentation, quotes and brackets here and above",
    )
}

fn decoded(source: Source, folder: PathBuf, problems: &mut Problems) -> Option<Part> {
    match file::decode(&source.text) {
        Ok(file) => Some(Part {
            source,
            file,
            folder,
        }),
        Err(error) => {
            problems.push(loader_problem(&source, "T999", &error));
            None
        }
    }
}

/// A path of the file, as messages show it: without `/./`.
pub(crate) fn joined(folder: &Path, path: &str) -> PathBuf {
    folder.join(path).components().collect()
}

/// What a failure to read means to an operator.
pub(crate) fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this process may not read it".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::NotSeekable => {
            "it is a pipe or a device, which is read at the start only".to_owned()
        }
        _ => error.to_string(),
    }
}
