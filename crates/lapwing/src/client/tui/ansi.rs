//! Cells on their way to a terminal, as the few sequences that every terminal knows.

use std::convert::Infallible;

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier, Style};

/// Gathers what is to be written; the caller writes all of a picture in one go.
pub struct Ansi {
    size: Size,
    bytes: Vec<u8>,
}

impl Ansi {
    /// For a screen of this size.
    #[must_use]
    pub fn new((width, height): (u16, u16)) -> Self {
        Self {
            size: Size::new(width, height),
            bytes: Vec::new(),
        }
    }

    /// The screen has another size now.
    pub fn resize(&mut self, (width, height): (u16, u16)) {
        self.size = Size::new(width, height);
    }

    /// What is to be written.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn say(&mut self, sequence: &str) {
        self.bytes.extend_from_slice(sequence.as_bytes());
    }

    fn go_to(&mut self, x: u16, y: u16) {
        self.say(&format!("\x1b[{};{}H", y + 1, x + 1));
    }

    fn set_style(&mut self, style: Style) {
        self.say("\x1b[0m");
        for (modifier, sequence) in [(Modifier::BOLD, "\x1b[1m"), (Modifier::DIM, "\x1b[2m")] {
            if style.add_modifier.contains(modifier) {
                self.say(sequence);
            }
        }
        if let Some(Color::Indexed(colour @ 0..8)) = style.fg {
            self.say(&format!("\x1b[3{colour}m"));
        }
    }
}

impl Backend for Ansi {
    type Error = Infallible;

    fn draw<'a, I>(&mut self, content: I) -> Result<(), Self::Error>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut at = None;
        let mut style = None;
        for (x, y, cell) in content {
            if at != Some((x, y)) {
                self.go_to(x, y);
            }
            if style != Some(cell.style()) {
                self.set_style(cell.style());
                style = Some(cell.style());
            }
            let symbol = cell.symbol();
            // All text was made harmless before; this is the last door.
            let is_harmless = !symbol.chars().any(char::is_control);
            self.say(if is_harmless { symbol } else { "?" });
            // How wide a terminal draws other characters is its own affair: the next one is put in its place.
            at = (symbol.len() == 1).then_some((x + 1, y));
        }
        if style.is_some() {
            self.say("\x1b[0m");
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> Result<(), Self::Error> {
        self.say("\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> Result<(), Self::Error> {
        self.say("\x1b[?25h");
        Ok(())
    }

    fn get_cursor_position(&mut self) -> Result<Position, Self::Error> {
        // Nobody asks while there is a whole screen.
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> Result<(), Self::Error> {
        let Position { x, y } = position.into();
        self.go_to(x, y);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Self::Error> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, region: ClearType) -> Result<(), Self::Error> {
        self.say(match region {
            ClearType::All => "\x1b[2J",
            ClearType::AfterCursor => "\x1b[J",
            ClearType::BeforeCursor => "\x1b[1J",
            ClearType::CurrentLine => "\x1b[2K",
            ClearType::UntilNewLine => "\x1b[K",
        });
        Ok(())
    }

    fn size(&self) -> Result<Size, Self::Error> {
        Ok(self.size)
    }

    fn window_size(&mut self) -> Result<WindowSize, Self::Error> {
        Ok(WindowSize {
            columns_rows: self.size,
            pixels: Size::ZERO,
        })
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(cells: &[(u16, u16, &str, Style)]) -> String {
        let mut ansi = Ansi::new((10, 10));
        let cells: Vec<_> = cells
            .iter()
            .map(|(x, y, symbol, style)| {
                let mut cell = Cell::default();
                cell.set_symbol(symbol).set_style(*style);
                (*x, *y, cell)
            })
            .collect();
        let Ok(()) = ansi.draw(cells.iter().map(|(x, y, cell)| (*x, *y, cell)));
        String::from_utf8(ansi.take()).expect("text")
    }

    #[test]
    fn neighbours_need_no_move_and_what_may_be_wider_is_followed_by_one() {
        let plain = Style::new();
        assert_eq!(
            drawn(&[
                (0, 0, "a", plain),
                (1, 0, "b", plain),
                (5, 2, "é", plain),
                (6, 2, "c", plain)
            ]),
            "\x1b[1;1H\x1b[0mab\x1b[3;6Hé\x1b[3;7Hc\x1b[0m"
        );
    }

    #[test]
    fn styles_are_set_where_they_change() {
        let good = Style::new().fg(Color::Indexed(2)).add_modifier(Modifier::BOLD);
        assert_eq!(
            drawn(&[(0, 0, "a", good), (1, 0, "b", good), (2, 0, "c", Style::new())]),
            "\x1b[1;1H\x1b[0m\x1b[1m\x1b[32mab\x1b[0mc\x1b[0m"
        );
    }

    #[test]
    fn what_could_drive_a_terminal_does_not_pass() {
        assert!(!drawn(&[(0, 0, "\x1b[2J", Style::new())]).contains("\x1b[2J"));
        assert!(!drawn(&[(0, 0, "\u{9b}", Style::new())]).contains('\u{9b}'));
    }
}
