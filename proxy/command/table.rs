//! Plain tables for a terminal: titles, then a line a row, columns two spaces apart and no frames, so that `grep` and
//! `awk` read them too.
//!
//! Widths are those that a terminal gives to characters (two cells for Chinese ones). Where a table is wider than the
//! terminal, the widest texts are cut, with `…`; numbers and names never are: half a number is another number. In a pipe
//! nothing is cut and nothing is coloured.

use std::io;
use std::os::fd::AsFd;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: usize = 2;
/// A text is not cut below this: less tells nothing.
const LEAST_TEXT: usize = 8;

/// How wide this stream's terminal is, in cells; `None` where it is no terminal or does not tell.
pub fn width(stream: &(impl AsFd + io::IsTerminal)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// What stands above a column, and how its cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    title: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Name,
    Number,
}

impl Column {
    /// Words: to the left, cut where there is no room.
    pub const fn text(title: &'static str) -> Self {
        let kind = Kind::Text;
        Self { title, kind }
    }

    /// Something to be copied: to the left, never cut.
    pub const fn name(title: &'static str) -> Self {
        let kind = Kind::Name;
        Self { title, kind }
    }

    /// To the right, never cut.
    pub const fn number(title: &'static str) -> Self {
        let kind = Kind::Number;
        Self { title, kind }
    }
}

/// One cell, on one line whatever it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    colour: Option<&'static str>,
}

impl Cell {
    /// Makes a cell. What would move the cursor or change colours becomes a space: texts come from strangers too.
    pub fn new(text: impl AsRef<str>) -> Self {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Self {
            text: text.as_ref().chars().map(plain).collect(),
            colour: None,
        }
    }

    /// In this colour, as the terminal numbers them (`31`, `1;31`), where colours are shown.
    pub fn painted(mut self, colour: &'static str) -> Self {
        self.colour = Some(colour);
        self
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// Rows under titles.
#[derive(Debug, Clone)]
pub struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    /// Without rows yet.
    pub const fn new(columns: [Column; N]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, a line end after each line, no wider than `room` where that can be.
    pub fn render(&self, room: Option<usize>, colour: bool) -> String {
        let widths = self.widths(room);
        let titles = self.columns.map(|column| Cell::new(column.title));
        let mut out = String::new();
        for cells in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            let mut blank = 0;
            for ((cell, column), width) in cells.iter().zip(self.columns).zip(widths) {
                let shown = cut(&cell.text, width);
                let rest = width.saturating_sub(shown.width());
                let (before, after) = match column.kind {
                    Kind::Number => (rest, 0),
                    Kind::Text | Kind::Name => (0, rest),
                };
                // Blanks wait for what follows them: a line does not end with any.
                blank += before;
                if !shown.is_empty() {
                    line.extend(std::iter::repeat_n(' ', blank));
                    blank = 0;
                    match cell.colour.filter(|_| colour) {
                        Some(code) => line.push_str(&format!("\x1b[{code}m{shown}\x1b[0m")),
                        None => line.push_str(&shown),
                    }
                }
                blank += after + GAP;
            }
            out.push_str(&line);
            out.push('\n');
        }
        out
    }

    /// How wide each column is.
    fn widths(&self, room: Option<usize>) -> [usize; N] {
        let mut widths = self.columns.map(|column| column.title.width());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.text.width().max(*width);
            }
        }
        let gaps = GAP * N.saturating_sub(1);
        let total = widths.iter().sum::<usize>() + gaps;
        let mut over = room.map_or(0, |room| total.saturating_sub(room));
        while over > 0 {
            let texts = widths
                .iter_mut()
                .zip(self.columns)
                .filter(|(_, column)| column.kind == Kind::Text)
                .map(|(width, column)| (column.title.width().max(LEAST_TEXT), width))
                .filter(|(least, width)| **width > *least);
            let Some((_, widest)) = texts.max_by_key(|(_, width)| **width) else {
                break;
            };
            *widest -= 1;
            over -= 1;
        }
        widths
    }
}

/// The text in so many cells, with `…` at its end where that took something away.
fn cut(text: &str, cells: usize) -> String {
    if text.width() <= cells {
        return text.to_owned();
    }
    let mut left = cells.saturating_sub(1);
    let kept = text.chars().take_while(|c| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    });
    let mut shown: String = kept.collect();
    shown.truncate(shown.trim_end().len());
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<4> {
        let mut table = Table::new([
            Column::name("rollout"),
            Column::text("phase"),
            Column::number("weight"),
            Column::text("reason"),
        ]);
        table.row([
            "shop-v2".into(),
            Cell::new("rolled_back").painted("1;31"),
            "0 %".into(),
            "candidate 7.4 % errors of 1 312 requests in 30 s (allowed 5 %)".into(),
        ]);
        table.row([
            "checkout-2.4.0".into(),
            "holding".into(),
            "12.5 %".into(),
            "".into(),
        ]);
        table
    }

    #[test]
    fn columns_stand_below_each_other_and_numbers_end_together() {
        assert_eq!(
            table().render(None, false),
            "rollout         phase        weight  reason\n\
             shop-v2         rolled_back     0 %  candidate 7.4 % errors of 1 312 requests in 30 s (allowed 5 %)\n\
             checkout-2.4.0  holding      12.5 %\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_and_numbers_and_names_are_not() {
        let shown = table().render(Some(60), false);
        assert_eq!(
            shown,
            "rollout         phase        weight  reason\n\
             shop-v2         rolled_back     0 %  candidate 7.4 % errors…\n\
             checkout-2.4.0  holding      12.5 %\n"
        );
        // Below what the rest needs, texts keep what tells something and the terminal wraps.
        let narrow = table().render(Some(10), false);
        assert!(
            narrow.contains("shop-v2         rolled_…     0 %  candida…\n"),
            "{narrow}"
        );
    }

    #[test]
    fn colours_are_shown_only_where_somebody_sees_them_and_take_no_room() {
        let plain = table().render(None, false);
        let coloured = table().render(None, true);
        assert!(!plain.contains('\x1b'));
        assert!(
            coloured.contains("\x1b[1;31mrolled_back\x1b[0m     0 %"),
            "{coloured}"
        );
        assert_eq!(
            coloured.replace("\x1b[1;31m", "").replace("\x1b[0m", ""),
            plain
        );
    }

    #[test]
    fn wide_characters_take_two_cells() {
        let mut table = Table::new([Column::text("window"), Column::number("n")]);
        table.row(["国庆封网".into(), "1".into()]);
        table.row(["abc".into(), "22".into()]);
        assert_eq!(
            table.render(None, false),
            "window     n\n国庆封网   1\nabc       22\n"
        );
        assert_eq!(cut("国庆封网", 8), "国庆封网");
        assert_eq!(cut("国庆封网", 7), "国庆封…");
        assert_eq!(cut("国庆封网", 6), "国庆…");
    }

    #[test]
    fn a_strangers_text_stays_in_its_cell() {
        let cell = Cell::new("back\nto \x1b[31mred\u{9b}x");
        assert_eq!(cell.text, "back to  [31mred x");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_where_texts_can_be_cut() {
        for room in 47..100 {
            let shown = table().render(Some(room), false);
            assert!(
                shown.lines().all(|line| line.width() <= room),
                "{room}:\n{shown}"
            );
        }
    }

    #[test]
    fn a_file_has_no_width() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(width(&file), None);
    }
}
