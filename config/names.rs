//! Words for messages: lists of names, and the name that was probably meant.

/// `"a"`, `"a" and "b"`, `"a", "b" or "c"`: long lists are cut.
pub(crate) fn list<S: AsRef<str>>(names: &[S], and: &str) -> String {
    const MOST: usize = 8;
    let mut quoted: Vec<String> = names
        .iter()
        .take(MOST)
        .map(|name| crate::problem::quoted(name.as_ref()))
        .collect();
    if names.len() > MOST {
        quoted.push(format!("{} more", names.len() - MOST));
    }
    match quoted.pop() {
        None => "nothing".to_owned(),
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} {and} {last}", quoted.join(", ")),
    }
}

/// The known name that a mistyped one is closest to, if any is close.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words are no typing mistakes, and comparing them is slow.
    const LONGEST: usize = 64;
    /// So many names are compared: a suggestion is worth no more time.
    const MOST: usize = 1000;
    if word.len() > LONGEST {
        return None;
    }
    let (lower, length) = (word.to_lowercase(), word.chars().count());
    // A third of the letters may be wrong.
    let allowed = |name: &str| (length.max(name.chars().count()) / 3).max(1);
    let differ = |name: &str| length.abs_diff(name.chars().count());
    known
        .into_iter()
        .take(MOST)
        .filter(|name| differ(name) <= allowed(name))
        // "v1" for "v3" is no slip: who wrote a number meant that number.
        .filter(|name| {
            name.len() <= LONGEST
                && (without_digits(name) != without_digits(word) || name.eq_ignore_ascii_case(word))
        })
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        // One letter for another is no likeness between words of one letter.
        .filter(|(distance, name)| *distance <= allowed(name) && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn without_digits(word: &str) -> String {
    word.chars()
        .filter(|c| !c.is_ascii_digit())
        .collect::<String>()
        .to_lowercase()
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name_that_was_meant() {
        for (typed, meant) in [
            ("lisener", Some("listeners")),
            ("servcies", Some("services")),
            ("SERVICES", Some("services")),
            ("rout", Some("routes")),
            ("banana", None),
        ] {
            assert_eq!(
                nearest(typed, ["listeners", "services", "routes"]),
                meant,
                "{typed}"
            );
        }
        assert_eq!(nearest("v3", ["v1", "v2"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn names_are_listed_as_people_say_them() {
        assert_eq!(list(&["v1"], "and"), "\"v1\"");
        assert_eq!(list(&["v1", "v2"], "and"), "\"v1\" and \"v2\"");
        assert_eq!(list(&["a", "b", "c"], "or"), "\"a\", \"b\" or \"c\"");
    }
}
