//! Owns tables that are a command's result: columns that line up, whatever the text in them.

use super::format;
use super::text;

/// Returns a head and rows as lines, each column as wide as its widest cell.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let clean = |row: Vec<String>| row.iter().map(|cell| text::joined(cell)).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).map(clean).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| format::width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format::pad(cell, *width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_stay_out() {
        let rows = [["web1\u{1b}[31m", "good", ""], ["ü", "two\nlines", "y"]];
        let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            table(&["host", "state", "x"], rows),
            "host  state      x\nweb1  good\nü     two lines  y"
        );
    }
}
