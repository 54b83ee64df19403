//! Where every key and value of a file stands.
//!
//! The loader stops at its first error and knows no positions, so a second parser, one that keeps them, walks over the
//! text first. On its way it finds what the loader would not tell well: keys written twice, a second document, and
//! files that are nested or repeated beyond all reason.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// The deepest nesting that is read. The deepest sensible file has about twenty levels; the loader's stack bears 128.
pub(crate) const MAX_DEPTH: usize = 64;

/// The most keys, values and list items of one file, aliases counted as often as they are used. Ten thousand rules
/// have about a quarter of a million.
pub(crate) const MAX_NODES: usize = 1_000_000;

/// A stretch of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    /// From 1.
    pub(crate) line: usize,
    /// In characters from 1.
    pub(crate) column: usize,
    /// In characters, at least 1.
    pub(crate) width: usize,
}

/// One step from a value to one inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// Into the value of a key.
    Key(&'a str),
    /// Into a list, from 0.
    Index(usize),
}

/// The places of one file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// The root is the first; children come after their parents.
    nodes: Vec<PlaceNode>,
}

#[derive(Debug, Clone, Default)]
struct PlaceNode {
    place: Place,
    /// Where the key stands whose value this is.
    key: Option<Place>,
    inside: Inside,
}

#[derive(Debug, Clone, Default)]
enum Inside {
    #[default]
    Nothing,
    List(Vec<usize>),
    Map(HashMap<String, usize>),
}

/// Why a text has no places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is not YAML.
    Syntax(Place, String),
    /// It is beyond a bound: what, and what to do.
    Bound(Place, String, &'static str),
    /// A second document begins here.
    SecondDocument(Place),
    /// It holds no value.
    Empty,
}

/// A key that stands twice in one map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// The key.
    pub(crate) key: String,
    /// The path of the map, as it prints.
    pub(crate) path: String,
    /// Where it stands first, and again.
    pub(crate) first: Place,
    pub(crate) again: Place,
}

/// What the parser did not understand. Of a tab it tells where the value before it began.
fn syntax(text: &str, error: &saphyr_parser::ScanError) -> Unreadable {
    let place = point(error.marker());
    let tab_of = |line: &str| {
        let indentation = line.chars().take_while(|c| c.is_whitespace());
        indentation.enumerate().find(|(_, c)| *c == '\t')
    };
    let lines = text.lines().enumerate().skip(place.line.saturating_sub(1));
    let tab = error.info().contains("tab").then_some(lines);
    let tab = tab.and_then(|mut lines| {
        lines.find_map(|(line, text)| tab_of(text).map(|(column, _)| (line + 1, column + 1)))
    });
    match tab {
        Some((line, column)) => {
            let width = 1;
            let what = "a tab in the indentation, which takes spaces alone".to_owned();
            Unreadable::Syntax(
                Place {
                    line,
                    column,
                    width,
                },
                what,
            )
        }
        None => Unreadable::Syntax(place, error.info().to_owned()),
    }
}

impl Places {
    /// Walks over a whole file.
    pub(crate) fn read(text: &str) -> Result<(Self, Vec<Repeated>), Unreadable> {
        let mut walk = Walk::default();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| syntax(text, &error))?;
            walk.step(event, span)?;
        }
        if walk.places.nodes.is_empty() || walk.blank {
            return Err(Unreadable::Empty);
        }
        Ok((walk.places, walk.repeated))
    }

    /// Where a value stands; of what has no place of its own (a missing key, the inside of an alias) the nearest
    /// value around it.
    pub(crate) fn value(&self, path: &[Step<'_>]) -> Place {
        self.find(path).0.place
    }

    /// Whether there is such a value.
    pub(crate) fn holds(&self, path: &[Step<'_>]) -> bool {
        self.find(path).1
    }

    /// Where the key of a value stands; else as [`Self::value`].
    pub(crate) fn key(&self, path: &[Step<'_>]) -> Place {
        match self.find(path) {
            (PlaceNode { key: Some(key), .. }, true) => *key,
            (node, _) => node.place,
        }
    }

    fn find(&self, path: &[Step<'_>]) -> (&PlaceNode, bool) {
        let mut node = &self.nodes[0];
        for step in path {
            let next = match (&node.inside, step) {
                (Inside::List(items), Step::Index(index)) => items.get(*index),
                (Inside::Map(keys), Step::Key(key)) => keys.get(*key),
                _ => None,
            };
            let Some(next) = next else {
                return (node, false);
            };
            node = &self.nodes[*next];
        }
        (node, true)
    }
}

/// The walk over the parser's events.
#[derive(Default)]
struct Walk {
    places: Places,
    repeated: Vec<Repeated>,
    /// The lists and maps that are open, outermost first.
    open: Vec<Open>,
    /// How many nodes each anchored value holds, itself included.
    anchored: HashMap<usize, usize>,
    documents: usize,
    /// Nodes so far, aliases counted in full.
    weight: usize,
    /// The document is a single empty value.
    blank: bool,
}

struct Open {
    node: usize,
    anchor: usize,
    weight_before: usize,
    /// In a map: the key whose value comes next.
    key: Option<Key>,
    is_map: bool,
    /// Written with brackets.
    flow: bool,
    /// A key that is itself a list or map: its inside is walked over without being remembered.
    hidden: bool,
}

struct Key {
    /// `None` for a key that is no plain scalar.
    name: Option<String>,
    place: Place,
}

impl Walk {
    fn step(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Unreadable::SecondDocument(stretch(span)));
                }
            }
            Event::Scalar(value, style, anchor, tag) => {
                let place = stretch(span);
                if self.open.is_empty() && value.is_empty() && tag.is_none() {
                    self.blank = style == ScalarStyle::Plain;
                }
                let before = self.weight;
                self.count(place, 1)?;
                self.anchored.insert(anchor, self.weight - before);
                self.leaf(Some(value.into_owned()), place);
            }
            Event::Alias(anchor) => {
                let place = stretch(span);
                let weight = self.anchored.get(&anchor).copied().unwrap_or(1);
                self.count(place, weight)?;
                self.leaf(None, place);
            }
            Event::SequenceStart(anchor, _) => self.enter(span, anchor, false)?,
            Event::MappingStart(anchor, _) => self.enter(span, anchor, true)?,
            Event::SequenceEnd | Event::MappingEnd => self.leave(span),
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, place: Place, more: usize) -> Result<(), Unreadable> {
        self.weight = self.weight.saturating_add(more);
        if self.weight > MAX_NODES {
            let what = format!(
                "the file holds more than {MAX_NODES} keys and values, aliases counted as often as used"
            );
            return Err(Unreadable::Bound(
                place,
                what,
                "name long lists in files of their own, or drop aliases",
            ));
        }
        Ok(())
    }

    /// A scalar or alias: a key where a map waits for one, else a value.
    fn leaf(&mut self, name: Option<String>, place: Place) {
        if let Some(open) = self.open.last_mut()
            && open.is_map
            && open.key.is_none()
        {
            open.key = Some(Key { name, place });
            return;
        }
        self.place_value(place);
    }

    fn enter(&mut self, span: Span, anchor: usize, is_map: bool) -> Result<(), Unreadable> {
        let place = stretch(span);
        if self.open.len() >= MAX_DEPTH {
            let what = format!("the file is nested deeper than {MAX_DEPTH} levels");
            return Err(Unreadable::Bound(place, what, "flatten it"));
        }
        let weight_before = self.weight;
        self.count(place, 1)?;
        let waits = self
            .open
            .last()
            .is_some_and(|o| o.is_map && o.key.is_none());
        let hidden = waits || self.open.last().is_some_and(|o| o.hidden);
        if waits && let Some(open) = self.open.last_mut() {
            open.key = Some(Key { name: None, place });
        }
        let node = if hidden { 0 } else { self.place_value(place) };
        self.open.push(Open {
            node,
            anchor,
            weight_before,
            key: None,
            is_map,
            flow: !span.is_empty(),
            hidden,
        });
        if !hidden {
            self.places.nodes[node].inside = if is_map {
                Inside::Map(HashMap::new())
            } else {
                Inside::List(Vec::new())
            };
        }
        Ok(())
    }

    fn leave(&mut self, span: Span) {
        let Some(done) = self.open.pop() else { return };
        self.anchored
            .insert(done.anchor, self.weight - done.weight_before);
        if done.hidden {
            return;
        }
        // `{ … }` and `[ … ]` on one line are underlined whole.
        let place = &mut self.places.nodes[done.node].place;
        let end = span.end;
        if done.flow && end.line() == place.line && end.col() + 1 > place.column {
            place.width = end.col() + 1 - place.column;
        }
    }

    /// Remembers a value under the open list or map, and gives its node.
    fn place_value(&mut self, place: Place) -> usize {
        let node = self.places.nodes.len();
        let Some(index) = self.open.len().checked_sub(1) else {
            self.places.nodes.push(PlaceNode {
                place,
                ..PlaceNode::default()
            });
            return node;
        };
        let key = self.open[index].key.take();
        if self.open[index].hidden {
            return 0;
        }
        let parent = self.open[index].node;
        self.places.nodes.push(PlaceNode {
            place,
            key: key.as_ref().map(|k| k.place),
            inside: Inside::Nothing,
        });
        let first = match (&mut self.places.nodes[parent].inside, key) {
            (Inside::List(items), _) => {
                items.push(node);
                None
            }
            (
                Inside::Map(keys),
                Some(Key {
                    name: Some(name),
                    place,
                }),
            ) => match keys.get(&name) {
                Some(first) => Some((*first, name, place)),
                None => {
                    keys.insert(name, node);
                    None
                }
            },
            _ => None,
        };
        // A block map begins where its first key does: the key is underlined for it.
        if let Some(first_key) = self.places.nodes[node].key {
            let map = &mut self.places.nodes[parent].place;
            if (map.line, map.column) == (first_key.line, first_key.column) {
                map.width = first_key.width;
            }
        }
        if let Some((first, key, again)) = first {
            let first = self.places.nodes[first].key.unwrap_or_default();
            let path = self.path();
            self.repeated.push(Repeated {
                key,
                path,
                first,
                again,
            });
        }
        node
    }

    /// The path of the innermost open map, as it prints. Only asked when something is wrong.
    fn path(&self) -> String {
        let mut path = String::new();
        for pair in self.open.windows(2) {
            match &self.places.nodes[pair[0].node].inside {
                Inside::List(items) => {
                    let index = items.iter().position(|i| *i == pair[1].node).unwrap_or(0);
                    push_step(&mut path, Step::Index(index));
                }
                Inside::Map(keys) => {
                    if let Some((key, _)) = keys.iter().find(|(_, node)| **node == pair[1].node) {
                        push_step(&mut path, Step::Key(key));
                    }
                }
                Inside::Nothing => {}
            }
        }
        path
    }
}

/// Adds a step to a path that prints as `routes[0].rules[3].split`.
pub(crate) fn push_step(path: &mut String, step: Step<'_>) {
    use std::fmt::Write as _;
    match step {
        Step::Index(index) => {
            let _ = write!(path, "[{index}]");
        }
        Step::Key(key)
            if key
                .chars()
                .all(|c| c.is_alphanumeric() || "_-/".contains(c))
                && !key.is_empty() =>
        {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
        }
        Step::Key(key) => {
            let _ = write!(path, "[{key:?}]");
        }
    }
}

fn point(marker: &Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col() + 1,
        width: 1,
    }
}

/// What a span covers of its first line. Where it goes on below, its first character stands for it.
fn stretch(span: Span) -> Place {
    let Place { line, column, .. } = point(&span.start);
    let width = if span.end.line() == line {
        (span.end.col() + 1).saturating_sub(column).max(1)
    } else {
        1
    };
    Place {
        line,
        column,
        width,
    }
}
