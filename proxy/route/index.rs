//! The rules that can match a request, found without trying all.
//!
//! Many rules need one of a few values to be in the request: a header's, the beginning of a cookie's, a user's, a
//! country. Such a rule is filed under the hashes of these values. A request is then asked for its own values, each is
//! hashed, and only rules filed under one of them, and rules that could not be filed, are checked, in the order
//! written. A hash that fits by accident costs a check and nothing else, for every rule found is still checked whole.
//!
//! A rule that asks for a part of a text, an expression or mere presence is filed under the name alone: it costs
//! nothing while the name is not sent, and a check (some ten nanoseconds, an expression more) when it is. Rules that
//! ask for absence, an expression of the path or something under `not` are checked each time.

use std::collections::HashMap;

use super::asking::Asking;
use super::condition::{Asked, Condition};
use super::fast_map::FastMap;
use super::need::{Need, needs};

/// With fewer rules trying all is faster than asking for values.
const WORTHWHILE: usize = 8;

/// Lists of rules that are merged for one request. A request whose values hit more has all rules checked: it carries
/// dozens of values that rules ask for.
const CURSORS: usize = 32;

/// The rules of one route, by the values that they need.
#[derive(Debug, Default)]
pub(super) struct Index {
    rules: u32,
    /// Rules that are checked for every request, ascending. All of them, where an index is not worthwhile.
    unfiled: Vec<u32>,
    /// By the hash of a value under its place's seed: rules, ascending, as a piece of `lists`.
    filed: FastMap<u64, (u32, u32)>,
    lists: Vec<u32>,
    places: Asking,
}

impl Index {
    /// Files rules by what they need; `None` is a rule without conditions.
    pub(super) fn new<'a>(rules: impl Iterator<Item = Option<&'a Condition>>) -> Self {
        let needs: Vec<Vec<Need>> = rules
            .map(|condition| condition.map_or_else(Vec::new, needs))
            .collect();
        let mut index = Self {
            rules: needs.len() as u32,
            ..Self::default()
        };
        if needs.len() <= WORTHWHILE {
            index.unfiled = (0..index.rules).collect();
            return index;
        }
        // How many rules could be filed under a value: of what a rule needs, the rarest finds it best.
        let mut crowds: HashMap<u64, u32> = HashMap::new();
        for (_, hash) in needs.iter().flatten().flatten() {
            *crowds.entry(*hash).or_default() += 1;
        }
        let crowd = |need: &Need| need.iter().map(|(_, hash)| crowds[hash]).max().unwrap_or(0);
        let mut filed: HashMap<u64, Vec<u32>> = HashMap::new();
        for (rule, needs) in (0u32..).zip(&needs) {
            let Some(need) = needs.iter().min_by_key(|need| (crowd(need), need.len())) else {
                index.unfiled.push(rule);
                continue;
            };
            for (place, hash) in need {
                let list = filed.entry(*hash).or_default();
                if list.last() != Some(&rule) {
                    list.push(rule);
                }
                index.places.add(place);
            }
        }
        for (hash, list) in filed {
            index
                .filed
                .insert(hash, (index.lists.len() as u32, list.len() as u32));
            index.lists.extend(list);
        }
        index
    }

    /// The first rule that fits, of those that can; `fits` is asked in the order written.
    pub(super) fn first<'a>(
        &self,
        asked: &mut Asked<'a>,
        mut fits: impl FnMut(&mut Asked<'a>, usize) -> bool,
    ) -> Option<usize> {
        if self.filed.is_empty() {
            return self
                .unfiled
                .iter()
                .map(|rule| *rule as usize)
                .find(|rule| fits(asked, *rule));
        }
        let mut cursors = Cursors {
            lists: [&[]; CURSORS],
            used: 0,
            too_many: false,
        };
        cursors.add(&self.unfiled);
        self.places.ask(asked, &mut |hash| {
            if let Some((start, length)) = self.filed.get(&hash) {
                cursors.add(&self.lists[*start as usize..][..*length as usize]);
            }
        });
        if cursors.too_many {
            return (0..self.rules as usize).find(|rule| fits(asked, *rule));
        }
        std::iter::from_fn(|| cursors.next())
            .map(|rule| rule as usize)
            .find(|rule| fits(asked, *rule))
    }
}

/// Ascending lists, merged.
struct Cursors<'a> {
    lists: [&'a [u32]; CURSORS],
    used: usize,
    too_many: bool,
}

impl<'a> Cursors<'a> {
    fn add(&mut self, list: &'a [u32]) {
        // A value that is sent twice finds the same list twice.
        let known = self.lists[..self.used]
            .iter()
            .any(|other| std::ptr::eq(*other, list));
        if list.is_empty() || known {
            return;
        }
        match self.lists.get_mut(self.used) {
            Some(place) => *place = list,
            None => self.too_many = true,
        }
        self.used = (self.used + 1).min(CURSORS);
    }

    fn next(&mut self) -> Option<u32> {
        let lists = &mut self.lists[..self.used];
        let next = *lists.iter().filter_map(|list| list.first()).min()?;
        for list in lists {
            if list.first() == Some(&next) {
                *list = &list[1..];
            }
        }
        Some(next)
    }
}
