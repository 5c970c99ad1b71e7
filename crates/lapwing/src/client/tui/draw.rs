//! The picture of a listener, drawn on cells. Pure: what it shows, how large it is and how it may look are arguments.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use crate::client::log::FileState;
use crate::client::text::{Symbols, Tone};
use crate::client::view::bars::bars;
use crate::client::view::seen::Seen;
use crate::client::view::spread::spread;
use crate::client::view::topic::TopicView;
use crate::client::view::{Outage, State, Told, View};
use crate::recording::recorder::Kept;
use crate::terminal::form;
use crate::terminal::paint::{Painter, Role};

/// The least that a picture has room in, in columns and rows.
pub const SIZE_MIN: (u16, u16) = (60, 14);

/// What is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Whose blocks are shown: the place of the topic, counted on beyond the last one.
    pub topic: usize,
    /// Whether the picture is held still.
    pub is_paused: bool,
    /// Whether the keys are shown.
    pub shows_keys: bool,
}

/// Draws `view`. What tells whether the feed goes on comes from `newest`, which is another one while the picture is held still.
pub fn draw(view: &View, newest: &View, wishes: Wishes, paint: Painter, buffer: &mut Buffer) {
    let area = *buffer.area();
    let mut sheet = Sheet {
        symbols: view.symbols,
        paint,
        buffer,
    };
    if area.width < SIZE_MIN.0 || area.height < SIZE_MIN.1 {
        let words = format!(
            "{} x {} are needed, here are {} x {}",
            SIZE_MIN.0, SIZE_MIN.1, area.width, area.height
        );
        sheet.write(0, 0, area.width, None, &words);
        return;
    }
    let width = area.width;
    let (cells, per_row) = topic_cells(view, wishes.topic, usize::from(width) - 4);
    let rows_max = usize::from(area.height / 6).saturating_sub(1).max(1);
    let topic_rows = cells.len().div_ceil(per_row).clamp(1, rows_max) as u16;
    let rest = area.height - 4 - topic_rows;
    let panel = (rest * 2 / 5).clamp(3, 12);
    sheet.head(newest, wishes, width);
    sheet.topics(&cells, per_row, topic_rows, wishes.topic, width);
    let y = 1 + topic_rows;
    let left = (width - 3) * 3 / 5;
    sheet.blocks(view, wishes.topic, y, left, width, panel);
    let y = y + 1 + panel;
    sheet.lines(view, wishes, y, width, area.height - 1 - y);
    sheet.join_divider(left + 1, y);
    sheet.foot(newest, area.height - 1, width);
    if wishes.shows_keys {
        sheet.keys(area);
    }
}

struct Sheet<'a> {
    symbols: Symbols,
    paint: Painter,
    buffer: &'a mut Buffer,
}

/// A piece of a line.
type Piece = (Option<Role>, String);

impl Sheet<'_> {
    /// Writes text in at most `room` columns; gives the column behind it.
    fn write(&mut self, x: u16, y: u16, room: u16, role: Option<Role>, text: &str) -> u16 {
        let style = role.map_or(Style::new(), |role| style(self.paint, role));
        self.buffer.set_stringn(x, y, text, usize::from(room), style).0
    }

    /// Text cut to `room` columns, with a mark where something was left out.
    fn cut(&self, text: &str, room: usize) -> String {
        cut(self.symbols, text, room)
    }

    fn line(&self) -> Lines {
        match self.symbols {
            Symbols::Unicode => UNICODE,
            Symbols::Ascii => ASCII,
        }
    }

    /// A line from edge to edge with these corners, and pieces on it from the left.
    fn rule(&mut self, y: u16, width: u16, corners: (char, char), pieces: &[Piece]) {
        let across = self.line().across;
        let line: String = std::iter::once(corners.0)
            .chain((2..width).map(|_| across))
            .chain([corners.1])
            .collect();
        self.write(0, y, width, Some(Role::Time), &line);
        self.pieces(1, y, width - 2, pieces);
    }

    fn pieces(&mut self, x: u16, y: u16, room: u16, pieces: &[Piece]) {
        let end = x + room;
        let mut x = x;
        for (role, text) in pieces {
            x = self.write(x, y, end.saturating_sub(x), *role, text);
        }
    }

    /// The edges of a row that has content.
    fn edges(&mut self, y: u16, width: u16) {
        let down = self.line().down.to_string();
        self.write(0, y, 1, Some(Role::Time), &down);
        self.write(width - 1, y, 1, Some(Role::Time), &down);
    }

    fn head(&mut self, view: &View, wishes: Wishes, width: u16) {
        let (mut left, right) = head(view, wishes, usize::from(width) - 4);
        left.insert(0, (None, " ".to_owned()));
        left.push((None, " ".to_owned()));
        let corners = self.line().top;
        self.rule(0, width, corners, &left);
        if !right.is_empty() {
            let right = format!(" {right} ");
            let columns = columns(&right) as u16;
            self.write(width - 1 - columns, 0, columns, Some(Role::Hint), &right);
        }
    }

    fn topics(&mut self, cells: &[String], per_row: usize, rows: u16, selected: usize, width: u16) {
        (1..=rows).for_each(|y| self.edges(y, width));
        if cells.is_empty() {
            self.write(2, 1, width - 4, None, "no topic yet");
            return;
        }
        let room = usize::from(rows) * per_row;
        let selected = selected % cells.len();
        // One place says how many more there are.
        let shown = if cells.len() > room { (room - 1).max(1) } else { room };
        let first = selected / shown * shown;
        let cell_width = cells.iter().map(|cell| columns(cell)).max().unwrap_or(0);
        let place = |at: usize| {
            let x = 2 + (at % per_row) * (cell_width + columns(BETWEEN));
            (x as u16, 1 + (at / per_row) as u16)
        };
        for (at, cell) in cells.iter().skip(first).take(shown).enumerate() {
            let (x, y) = place(at);
            let role = (first + at == selected && cells.len() > 1).then_some(Role::Name);
            self.write(x, y, (width - 2).saturating_sub(x), role, cell);
            if at % per_row > 0 {
                let down = self.line().down.to_string();
                self.write(x - 2, y, 1, Some(Role::Time), &down);
            }
        }
        if cells.len() > shown && room > shown {
            let (x, y) = place(shown);
            let more = format!("{} of {} topics, t: next", shown, form::count(cells.len() as u64));
            self.write(x, y, (width - 2).saturating_sub(x), Some(Role::Hint), &more);
        }
    }

    /// Both panels of the topic that was chosen.
    fn blocks(&mut self, view: &View, selected: usize, y: u16, left: u16, width: u16, rows: u16) {
        let lines = self.line();
        let topic = (!view.topics.is_empty()).then(|| &view.topics[selected % view.topics.len()]);
        let name = topic.map_or("-", |topic| topic.name.as_str());
        let hint = if view.topics.len() > 1 { " (t: next topic)" } else { "" };
        let room = usize::from(left).saturating_sub(columns(hint) + 17);
        let title = format!(" block times, {}{hint} ", self.cut(name, room.max(8)));
        self.rule(y, width, lines.middle, &[(None, title)]);
        let count = topic.map_or(0, |topic| topic.timed().count() as u64);
        let last = if topic.is_some_and(TopicView::is_full) {
            "last "
        } else {
            ""
        };
        let count_text = format!("{last}{}", form::counted(count, "block"));
        let divider = left + 1;
        self.write(divider, y, 1, Some(Role::Time), &lines.divider.to_string());
        let room = width - divider - 2;
        let title = format!(" distribution, {count_text} ");
        let title = if columns(&title) <= usize::from(room) {
            title
        } else {
            format!(" {count_text} ")
        };
        self.write(divider + 1, y, room, None, &title);
        for y in y + 1..=y + rows {
            self.edges(y, width);
            self.write(divider, y, 1, Some(Role::Time), &lines.down.to_string());
        }
        match topic {
            Some(topic) if count > 0 => {
                self.bars(topic, (2, y + 1), usize::from(left) - 2, rows);
                self.spread(topic, (divider + 2, y + 1), usize::from(width - divider - 4), rows);
            }
            _ => {
                self.write(2, y + 1, left - 1, None, "no block was timed yet");
            }
        }
    }

    fn bars(&mut self, topic: &TopicView, (x, y): (u16, u16), room: usize, rows: u16) {
        let height = usize::from(rows) - 1;
        let Some(bars) = bars(topic.blocks().iter(), room - LABEL_WIDTH - 1, height, self.symbols) else {
            return;
        };
        let mut label = |row: u16, time: Duration| {
            let text = format!("{:>LABEL_WIDTH$}", form::span(time));
            self.write(x, y + row, LABEL_WIDTH as u16, None, &text);
        };
        label(0, bars.top);
        label(rows - 2, bars.bottom);
        for (row, cells) in bars.rows.iter().enumerate() {
            let x = x + LABEL_WIDTH as u16 + 1;
            self.write(x, y + row as u16, room as u16, None, cells);
        }
        let mark = match (bars.is_broken, self.symbols) {
            (false, _) => "",
            (true, Symbols::Unicode) => ", × interrupted",
            (true, Symbols::Ascii) => ", x interrupted",
        };
        let caption = format!("the last {}{mark}", form::count(bars.shown as u64));
        let x = x + LABEL_WIDTH as u16 + 1;
        self.write(
            x,
            y + rows - 1,
            (room - LABEL_WIDTH - 1) as u16,
            Some(Role::Time),
            &caption,
        );
    }

    fn spread(&mut self, topic: &TopicView, (x, y): (u16, u16), room: usize, rows: u16) {
        let Some(spread) = spread(topic.timed(), usize::from(rows) - 1) else {
            return;
        };
        let most = spread.bins.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        let digits = form::count(most as u64).len();
        let bar_room = room.saturating_sub(LABEL_WIDTH + 2 + digits);
        let block = match self.symbols {
            Symbols::Unicode => "█",
            Symbols::Ascii => "#",
        };
        for (row, (from, count)) in spread.bins.iter().enumerate() {
            let filled = match count {
                0 => 0,
                // What is there is seen.
                _ => (bar_room * count / most).max(1),
            };
            let text = format!(
                "{:>LABEL_WIDTH$} {} {}",
                form::span(*from),
                block.repeat(filled),
                form::count(*count as u64)
            );
            self.write(x, y + row as u16, room as u16, None, &text);
        }
        let (p50, p99) = (form::span(spread.p50), form::span(spread.p99));
        let both = format!("p50 {p50}  p99 {p99}");
        let text = if columns(&both) <= room {
            both
        } else {
            format!("p99 {p99}")
        };
        self.write(x, y + rows - 1, room as u16, None, &text);
    }

    fn lines(&mut self, view: &View, wishes: Wishes, y: u16, width: u16, rows: u16) {
        let title = match (wishes.is_paused, width < 80) {
            (false, false) => "last messages (p: pause the view; feed and log go on)",
            (false, true) => "last messages (p: pause the view)",
            (true, false) => "the view is paused (p: go on); feed and log go on",
            (true, true) => "the view is paused (p: go on)",
        };
        let corners = self.line().middle;
        let role = wishes.is_paused.then_some(Role::Attention);
        self.rule(y, width, corners, &[(role, format!(" {title} "))]);
        let room = usize::from(width) - 4;
        let rows = usize::from(rows) - 1;
        let lines = last_lines(view, room, rows);
        for row in 0..rows {
            let y = y + 1 + row as u16;
            self.edges(y, width);
            if let Some(pieces) = lines.get(row) {
                self.pieces(2, y, room as u16, pieces);
            }
        }
    }

    /// Ends the line between the panels, unless words stand there.
    fn join_divider(&mut self, x: u16, y: u16) {
        let lines = self.line();
        if self.buffer[(x, y)].symbol() == lines.across.to_string() {
            self.write(x, y, 1, Some(Role::Time), &lines.end.to_string());
        }
    }

    fn foot(&mut self, view: &View, y: u16, width: u16) {
        let room = usize::from(width) - 4;
        let (role, text) = foot(view, room, self.symbols);
        let corners = self.line().bottom;
        self.rule(y, width, corners, &[(role, format!(" {text} "))]);
    }

    fn keys(&mut self, area: Rect) {
        let width = KEYS.iter().map(|line| columns(line)).max().unwrap_or(0) as u16 + 4;
        let height = KEYS.len() as u16 + 2;
        let (x, y) = ((area.width - width) / 2, (area.height - height) / 2);
        let lines = self.line();
        let across: String = (2..width).map(|_| lines.across).collect();
        let edge = |corners: (char, char)| format!("{}{across}{}", corners.0, corners.1);
        self.write(x, y, width, Some(Role::Time), &edge(lines.top));
        for (row, key) in KEYS.iter().enumerate() {
            let inner = usize::from(width) - 4;
            let text = format!("{0} {key:inner$} {0}", lines.down);
            self.write(x, y + 1 + row as u16, width, None, &text);
        }
        self.write(x, y + height - 1, width, Some(Role::Time), &edge(lines.bottom));
    }
}

/// What stands at the left and at the right of the first line: what matters most, as far as there is room. No number is cut.
fn head(view: &View, wishes: Wishes, width: usize) -> (Vec<Piece>, String) {
    let (role, state) = state_text(view);
    let gaps = form::counted(view.gaps, "gap");
    let reconnects = form::counted(view.reconnects, "reconnect");
    let mut room = width.saturating_sub(columns(&state));
    let takes = |room: &mut usize, columns: usize| {
        let left = room.checked_sub(columns + APART.len());
        *room = left.unwrap_or(*room);
        left.is_some()
    };
    let paused = wishes.is_paused && takes(&mut room, "paused".len());
    let mut right = if takes(&mut room, KEYS_SHORT.len()) {
        KEYS_SHORT
    } else {
        ""
    };
    let has_gaps = takes(&mut room, gaps.len());
    let name = view.name.as_deref().unwrap_or_default();
    let name_room = room.saturating_sub(APART.len()).min(NAME_WIDTH);
    let name = cut(view.symbols, name, name_room);
    let has_name = !name.is_empty() && name_room >= NAME_WIDTH_MIN && takes(&mut room, columns(&name));
    let has_reconnects = takes(&mut room, reconnects.len());
    let progress = view.progress().filter(|progress| takes(&mut room, progress.len()));
    if takes(&mut room, KEYS_LONG.len() - KEYS_SHORT.len()) {
        right = KEYS_LONG;
    }
    let url_room = room.saturating_sub(APART.len());
    let url = (url_room >= URL_WIDTH_MIN).then(|| cut(view.symbols, &view.url, url_room));
    let all = [
        has_name.then_some((Some(Role::Name), name)),
        url.map(|url| (None, url)),
        Some((Some(role), state)),
        progress.map(|progress| (None, progress)),
        paused.then(|| (Some(Role::Attention), "paused".to_owned())),
        has_reconnects.then_some((None, reconnects)),
        has_gaps.then_some(((view.gaps > 0).then_some(Role::Attention), gaps)),
    ];
    let mut pieces: Vec<Piece> = Vec::new();
    for piece in all.into_iter().flatten() {
        if !pieces.is_empty() {
            pieces.push((None, APART.to_owned()));
        }
        pieces.push(piece);
    }
    (pieces, right.to_owned())
}

fn state_text(view: &View) -> (Role, String) {
    let now = Duration::from_nanos(view.now.mono);
    let with_mark = |mark: &str, text: String| match view.symbols {
        Symbols::Unicode => format!("{mark} {text}"),
        Symbols::Ascii => text,
    };
    let next = |outage: &Outage| {
        let Some((attempt, at)) = outage.next else {
            return String::new();
        };
        match at.checked_sub(now).filter(|left| !left.is_zero()) {
            Some(left) => format!(", attempt {attempt} in {:.1} s", left.as_secs_f64()),
            None => format!(", attempt {attempt}"),
        }
    };
    let since = |outage: &Outage| calm_span(now.saturating_sub(outage.since));
    match &view.state {
        State::Live => (
            Role::Good,
            with_mark("●", format!("live {}", calm_span(view.listened()))),
        ),
        State::Lost(outage) => (
            Role::Bad,
            with_mark("✕", format!("lost for {}{}", since(outage), next(outage))),
        ),
        State::Waiting(outage) => (
            Role::Attention,
            with_mark("○", format!("no server for {}{}", since(outage), next(outage))),
        ),
    }
}

/// A line for each topic, in columns, and how many stand beside each other in `room` columns.
fn topic_cells(view: &View, selected: usize, room: usize) -> (Vec<String>, usize) {
    let unknown = || "-".to_owned();
    let rows: Vec<[String; 5]> = view
        .topics
        .iter()
        .map(|topic| {
            [
                topic.name.as_str().to_owned(),
                view.rate(topic).map_or_else(unknown, form::rate),
                topic.last.map_or_else(unknown, |last| last.to_string()),
                view.lag(topic).map_or_else(unknown, |lag| lag.to_string()),
                topic.timed().next_back().map_or_else(unknown, form::span),
            ]
        })
        .collect();
    let widths: Vec<usize> = (0..5)
        .map(|column| rows.iter().map(|row| columns(&row[column])).max().unwrap_or(0))
        .collect();
    let with_block = |name: usize| name + widths[1] + widths[2] + widths[3] + widths[4] + 25;
    let without_block = |name: usize| name + widths[1] + widths[2] + widths[3] + 17;
    let has_block = with_block(widths[0].min(TOPIC_WIDTH_MIN)) <= room;
    let around = if has_block { with_block(0) } else { without_block(0) };
    let name_width = widths[0].min(room.saturating_sub(around).clamp(4, TOPIC_WIDTH_MAX));
    let mark = |at: usize| match (
        view.topics.len() > 1 && at == selected % view.topics.len(),
        view.symbols,
    ) {
        (false, _) => "  ",
        (true, Symbols::Unicode) => "▸ ",
        (true, Symbols::Ascii) => "> ",
    };
    let cells: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(at, [name, rate, last, lag, block])| {
            let name = cut(view.symbols, name, name_width);
            let mut cell = format!(
                "{}{name}{:pad$}  {rate:>rates$}  at {last:<lasts$}  lag {lag:<lags$}",
                mark(at),
                "",
                pad = name_width.saturating_sub(columns(&name)),
                rates = widths[1],
                lasts = widths[2],
                lags = widths[3],
            );
            if has_block {
                cell.push_str(&format!("  block {block:>blocks$}", blocks = widths[4]));
            }
            cell
        })
        .collect();
    let width = cells.iter().map(|cell| columns(cell)).max().unwrap_or(1);
    let per_row = ((room + columns(BETWEEN)) / (width + columns(BETWEEN))).max(1);
    (cells, per_row)
}

/// The newest lines that fill `rows`, in their order.
///
/// What was told lately keeps a third of them however fast messages come; what is older has room where messages leave it. Of a
/// sentence that has more lines than there is room for the first ones are shown.
fn last_lines(view: &View, room: usize, rows: usize) -> Vec<Vec<Piece>> {
    let lately = view.now.mono.saturating_sub(TOLD_FOR.as_nanos() as u64);
    let free = rows.saturating_sub(view.messages_seen.len());
    let mut numbered: Vec<(u64, Vec<Piece>)> = Vec::new();
    for told in view.told.iter().rev() {
        let rows = if told.at.mono >= lately {
            free.max(rows / 3).max(1)
        } else {
            free
        };
        let left = rows.saturating_sub(numbered.len());
        if left == 0 {
            break;
        }
        let lines = told_lines(told, room, left, view.symbols);
        numbered.extend(lines.into_iter().map(|line| (told.number, line)));
    }
    let left = rows.saturating_sub(numbered.len());
    numbered.extend(message_lines(view, room, left));
    // Lines of one sentence keep their order.
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, line)| line).collect()
}

fn message_lines(view: &View, room: usize, rows: usize) -> Vec<(u64, Vec<Piece>)> {
    let seen = || view.messages_seen.iter().rev().take(rows);
    let topic = |seen: &Seen| view.topics[seen.topic].name.as_str();
    let topic_width = seen().map(|seen| topic(seen).len()).max().unwrap_or(0);
    let topic_width = topic_width.min(TOPIC_WIDTH_MIN);
    let offset_width = seen().filter_map(|seen| Some(seen.offset?.to_string().len())).max();
    let offset_width = offset_width.unwrap_or(0);
    let line = |seen: &Seen| {
        let offset = seen.offset.map(|offset| offset.to_string()).unwrap_or_default();
        let topic = cut(view.symbols, topic(seen), topic_width);
        let begin = [
            (Some(Role::Time), form::clock(seen.at, 3)),
            (Some(Role::Name), format!("  {topic:topic_width$}")),
            (None, format!("  {offset:>offset_width$}  ")),
        ];
        let taken: usize = begin.iter().map(|(_, text)| columns(text)).sum();
        let text = cut(view.symbols, &seen.text(view.symbols), room.saturating_sub(taken));
        (seen.number, begin.into_iter().chain([(None, text)]).collect())
    };
    seen().map(line).collect()
}

/// A sentence and its hint, wrapped under themselves, in at most so many rows; a mark says where there is more of them.
fn told_lines(told: &Told, room: usize, rows: usize, symbols: Symbols) -> Vec<Vec<Piece>> {
    let role = match told.tone {
        Tone::Plain => None,
        Tone::Good => Some(Role::Good),
        Tone::Bad => Some(Role::Bad),
        Tone::Warning => Some(Role::Attention),
    };
    let time = format!("{}  ", form::clock(told.at.wall, 3));
    let indent = columns(&time);
    let room = room.saturating_sub(indent);
    let hint = told.hint.map(|hint| format!("hint: {hint}"));
    let sentence = form::wrapped(&told.text, room).into_iter().map(|words| (role, words));
    let hint = hint
        .iter()
        .flat_map(|hint| form::wrapped(hint, room))
        .map(|words| (None, words));
    let all: Vec<_> = sentence.chain(hint).collect();
    let line = |(at, (role, words)): (usize, &(Option<Role>, &str))| {
        let begin = if at == 0 { time.clone() } else { " ".repeat(indent) };
        let words = match at + 1 == rows && all.len() > rows {
            true => cut(symbols, &format!("{words}{}", more(symbols)), room),
            false => (*words).to_owned(),
        };
        vec![(Some(Role::Time), begin), (*role, words)]
    };
    all.iter().take(rows).enumerate().map(line).collect()
}

/// How the file stands.
fn foot(view: &View, room: usize, symbols: Symbols) -> (Option<Role>, String) {
    let Some(file) = &view.file else {
        return (None, "no log (--log FILE records)".to_owned());
    };
    let (role, state) = file_text(view, file);
    let name = cut(symbols, &file.name, room.saturating_sub(columns(&state) + 6).max(8));
    (role, format!("log {name}: {state}"))
}

fn file_text(view: &View, file: &FileState) -> (Option<Role>, String) {
    let ago = |mono: u64| calm_span(Duration::from_nanos(view.now.mono.saturating_sub(mono)));
    if let Some((why, since)) = &file.held {
        return (
            Some(Role::Attention),
            format!("{why}, reading is paused for {}", ago(*since)),
        );
    }
    let kept = match file.kept {
        Kept::Unasked => String::new(),
        Kept::All => ", all synced".to_owned(),
        Kept::Until(at) => format!(", synced {} ago", ago(at)),
        Kept::Nothing => ", not synced yet".to_owned(),
    };
    let text = format!(
        "{}, {}{kept}",
        form::counted(file.messages, "message"),
        form::bytes(file.bytes)
    );
    (None, text)
}

/// A span that goes on: in one unit below a minute, so that it does not jump from one to the other.
fn calm_span(span: Duration) -> String {
    match span.as_millis() {
        ..950 => format!("{:.1} s", span.as_secs_f64()),
        _ => form::short_span(span),
    }
}

fn cut(symbols: Symbols, text: &str, room: usize) -> String {
    match (symbols, form::cut(text, room)) {
        (_, std::borrow::Cow::Borrowed(whole)) => whole.to_owned(),
        (Symbols::Unicode, std::borrow::Cow::Owned(cut)) => cut,
        (Symbols::Ascii, _) => form::cut(text, room.saturating_sub(2)).replace('…', "..."),
    }
}

/// Stands behind what goes on where there is no room for it.
fn more(symbols: Symbols) -> &'static str {
    match symbols {
        Symbols::Unicode => " …",
        Symbols::Ascii => " ...",
    }
}

fn columns(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// The style of a role, as cells have it.
fn style(paint: Painter, role: Role) -> Style {
    let role = paint.style(role);
    let mut style = Style::new();
    if let Some(anstyle::Color::Ansi(colour)) = role.get_fg_color() {
        style = style.fg(Color::Indexed(anstyle::Ansi256Color::from(colour).index()));
    }
    let effects = role.get_effects();
    for (effect, modifier) in [
        (anstyle::Effects::BOLD, Modifier::BOLD),
        (anstyle::Effects::DIMMED, Modifier::DIM),
    ] {
        if effects.contains(effect) {
            style = style.add_modifier(modifier);
        }
    }
    style
}

/// What lines are made of: corners at the top, where lines meet the edges, at the bottom; and the rest.
#[derive(Clone, Copy)]
struct Lines {
    top: (char, char),
    middle: (char, char),
    bottom: (char, char),
    across: char,
    down: char,
    divider: char,
    end: char,
}

const UNICODE: Lines = Lines {
    top: ('┌', '┐'),
    middle: ('├', '┤'),
    bottom: ('└', '┘'),
    across: '─',
    down: '│',
    divider: '┬',
    end: '┴',
};

const ASCII: Lines = Lines {
    top: ('+', '+'),
    middle: ('+', '+'),
    bottom: ('+', '+'),
    across: '-',
    down: '|',
    divider: '+',
    end: '+',
};

const KEYS: [&str; 5] = [
    "t       the next topic",
    "p       hold the picture still; feed and log go on",
    "?       these keys, or no longer",
    "Ctrl-L  draw everything anew",
    "q       end, as Ctrl-C does, with the summary",
];
const KEYS_SHORT: &str = "? keys";
const KEYS_LONG: &str = "q quit  ? keys";

/// Between pieces of the first line, and between topics.
const APART: &str = "   ";
const BETWEEN: &str = " | ";

/// However wide the window, more of a name is not needed to know it.
const NAME_WIDTH: usize = 24;
/// And less of it says nothing.
const NAME_WIDTH_MIN: usize = 6;
const TOPIC_WIDTH_MAX: usize = 24;

/// In a narrow window names of topics are cut to this.
const TOPIC_WIDTH_MIN: usize = 12;

/// For so long a sentence is kept in sight.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// Less of a URL says nothing.
const URL_WIDTH_MIN: usize = 12;

/// `59 m 59 s`: the longest form of a time.
const LABEL_WIDTH: usize = 9;

#[cfg(test)]
mod tests {
    use lapwing_wire::block::Flags;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::client::event::Event;
    use crate::client::log::Said;
    use crate::client::view::tests::{at, block, message, view};

    const JSON: &str =
        "{\"name\":\"Aiko Brandt\",\"sex\":\"female\",\"username\":\"abrandt\",\"email\":\"aiko.brandt@example.org\"}";

    fn shown(view: &View, wishes: Wishes, (width, height): (u16, u16)) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it never fails");
        let drawn = terminal.draw(|frame| draw(view, view, wishes, Painter::PLAIN, frame.buffer_mut()));
        let buffer = drawn.expect("it never fails").buffer.clone();
        let row = |y| {
            let mut row = String::new();
            let mut x = 0;
            while x < width {
                let symbol = buffer[(x, y)].symbol();
                row.push_str(symbol);
                // The cell behind a wide character is covered by it.
                x += columns(symbol).max(1) as u16;
            }
            row
        };
        (0..height).map(row).collect()
    }

    /// Two minutes of two topics.
    fn run() -> View {
        let mut view = view("sensor-1", &[("users", 13), ("arrays", 35)]);
        for second in 0..120_u64 {
            message(&mut view, "users", 13 + second, second * 1000, JSON);
            if second % 5 == 4 {
                block(&mut view, "users", second * 1000, 5_000_000, Flags::NONE);
            }
            if second % 2 == 1 {
                for of in 0..5 {
                    let offset = 35 + second / 2 * 5 + of;
                    message(&mut view, "arrays", offset, second * 1000 + 1, "[83,7,44]");
                }
                let flags = if second == 61 { Flags::INTERRUPTED } else { Flags::NONE };
                let elapsed = [2_000_000, 2_001_000, 2_000_000, 2_020_000][(second / 2 % 4) as usize];
                block(&mut view, "arrays", second * 1000 + 1, elapsed, flags);
            }
        }
        let file = FileState {
            name: "feed.ndjson".to_owned(),
            messages: 420,
            bytes: 125_000,
            kept: Kept::Until(at(119_600).mono),
            held: None,
        };
        view.on_tick(at(120_000), Some(file));
        view
    }

    #[test]
    fn at_100_columns_it_is_the_picture_of_the_design() {
        let wishes = Wishes {
            topic: 1,
            ..Wishes::default()
        };
        let rows = shown(&run(), wishes, (100, 16));
        let clock = |ms| form::clock(at(ms).wall, 3);
        let rows: Vec<String> = rows
            .iter()
            .map(|row| row.replace(&clock(118_000), "19:01:58.000"))
            .map(|row| row.replace(&clock(119_000), "19:01:59.000"))
            .map(|row| row.replace(&clock(119_001), "19:01:59.001"))
            .collect();
        assert_eq!(
            rows,
            [
                "┌ sensor-1   ws://127.0.0.1:8765   ● live 2 m 00 s   0 reconnects   0 gaps ──────── q quit  ? keys ┐",
                "│   users   1.0/s  at 132  lag 0  block 5.000 s │ ▸ arrays  2.5/s  at 334  lag 0  block 2.020 s    │",
                "├ block times, arrays (t: next topic) ─────────────────────┬ distribution, 59 blocks ──────────────┤",
                "│   2.020 s  █   █   █   █   █   █   █   █   █   █   █   █ │   2.000 s ████████████████████████ 44 │",
                "│            █   █   █   █   █   █   █   █   █   █   █   █ │   2.007 s  0                          │",
                "│   2.000 s ▁█▁▂▁█▁▂▁█▁▂▁█▁▂×█▁▂▁█▁▂▁█▁▂▁█▁▂▁█▁▂▁█▁▂▁█▁▂▁█ │   2.013 s ████████ 15                 │",
                "│           the last 45, × interrupted                     │ p50 2.001 s  p99 2.020 s              │",
                "├ last messages (p: pause the view; feed and log go on) ───┴───────────────────────────────────────┤",
                "│ 19:01:58.000  users   131  \"{\"name\":\"Aiko Brandt\",\"sex\":\"female\",\"username\":\"abrandt\",\"email\":\"… │",
                "│ 19:01:59.000  users   132  \"{\"name\":\"Aiko Brandt\",\"sex\":\"female\",\"username\":\"abrandt\",\"email\":\"… │",
                "│ 19:01:59.001  arrays  330  \"[83,7,44]\"                                                           │",
                "│ 19:01:59.001  arrays  331  \"[83,7,44]\"                                                           │",
                "│ 19:01:59.001  arrays  332  \"[83,7,44]\"                                                           │",
                "│ 19:01:59.001  arrays  333  \"[83,7,44]\"                                                           │",
                "│ 19:01:59.001  arrays  334  \"[83,7,44]\"                                                           │",
                "└ log feed.ndjson: 420 messages, 122.1 KiB, synced 0.4 s ago ──────────────────────────────────────┘",
            ]
        );
    }

    #[test]
    fn at_every_width_columns_align_and_no_number_is_cut() {
        for size in [(60, 14), (80, 24), (100, 30), (200, 50), (61, 15), (300, 100)] {
            for topic in 0..3 {
                let wishes = Wishes {
                    topic,
                    ..Wishes::default()
                };
                let rows = shown(&run(), wishes, size);
                for row in &rows {
                    assert_eq!(columns(row), usize::from(size.0), "{size:?} {rows:#?}");
                    assert!("┌├│└".contains(row.chars().next().expect("wide")), "{size:?} {rows:#?}");
                    assert!("┐┤│┘".contains(row.chars().last().expect("wide")), "{size:?} {rows:#?}");
                }
                let all = rows.join("\n");
                let chosen = if topic % 2 == 0 { "users" } else { "arrays" };
                for whole in [
                    "● live 2 m 00 s",
                    "0 gaps",
                    "sensor-1",
                    "? keys",
                    &format!("block times, {chosen}"),
                    if chosen == "users" {
                        " 24 blocks "
                    } else {
                        " 59 blocks "
                    },
                    "420 messages, 122.1 KiB",
                ] {
                    assert!(all.contains(whole), "{whole} at {size:?}: {all}");
                }
                let row = if chosen == "users" {
                    "▸ users   1.0/s  at 132  lag 0  block 5.000 s"
                } else {
                    "▸ arrays  2.5/s  at 334  lag 0  block 2.020 s"
                };
                assert!(all.contains(row), "{row} at {size:?}: {all}");
            }
        }
    }

    #[test]
    fn in_ascii_nothing_else_is_drawn() {
        let mut view = run();
        view.symbols = Symbols::Ascii;
        message(&mut view, "users", 133, 120_000, &"a".repeat(500));
        let wishes = Wishes {
            topic: 1,
            is_paused: true,
            shows_keys: true,
        };
        for size in [(60, 14), (100, 30)] {
            let rows = shown(&view, wishes, size);
            assert!(rows.concat().is_ascii(), "{rows:#?}");
            assert!(rows.concat().contains("aaa..."), "{rows:#?}");
        }
    }

    #[test]
    fn nothing_from_outside_leaves_its_place() {
        for symbols in [Symbols::Unicode, Symbols::Ascii] {
            let name = format!("\u{1b}[2J<script>\u{202e}{}", "x".repeat(500));
            let mut view = view(&name, &[("users", 0)]);
            view.symbols = symbols;
            for text in [
                "\u{1b}]0;owned\u{7}\r\n\u{9b}31m",
                "日本語".repeat(300).as_str(),
                &"👨‍👩‍👧‍👦".repeat(200),
                &"e\u{301}\u{302}\u{303}".repeat(200),
                &"\u{fe0f}\u{200d}".repeat(100),
                &"x".repeat(1 << 20),
            ] {
                message(&mut view, "users", 0, 0, text);
            }
            view.on_event(&Event::Warned { message: &name }, at(1));
            view.on_event(&Event::Lost { why: "\\u{1b}[2J" }, at(1));
            view.on_tick(at(9_000), None);
            for size in [(60, 24), (80, 24), (200, 24)] {
                let rows = shown(&view, Wishes::default(), size);
                let down = if symbols == Symbols::Unicode { '│' } else { '|' };
                for row in &rows[1..23] {
                    assert!(!row.chars().any(|c| c.is_control() || c == '\u{202e}'), "{rows:#?}");
                    let edge = row.chars().last().expect("wide");
                    assert!(edge == down || "┤+".contains(edge), "{rows:#?}");
                }
                assert!(
                    rows[0].contains("lost for 9.0 s") && rows[0].contains("0 gaps"),
                    "{rows:#?}"
                );
                assert!(rows.concat().contains("\\u{1b}]0;owned\\u{7}\\r\\n"), "{rows:#?}");
            }
        }
    }

    #[test]
    fn more_topics_than_have_room_are_counted_and_the_chosen_one_is_seen() {
        let names: Vec<String> = (0..100).map(|at| format!("topic-{at}-{}", "n".repeat(50))).collect();
        let topics: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), u64::MAX >> 2)).collect();
        let mut view = view("sensor-1", &topics);
        message(&mut view, &names[77], (u64::MAX >> 2) - 1, 0, "a");
        for size in [(60, 14), (80, 24), (200, 50)] {
            for topic in [0, 50, 77, 99, 100] {
                let wishes = Wishes {
                    topic,
                    ..Wishes::default()
                };
                let rows = shown(&view, wishes, size);
                let all = rows.join("\n");
                assert!(
                    all.contains(&format!("▸ topic-{}", topic % 100)),
                    "{size:?} {topic} {all}"
                );
                assert!(rows.iter().all(|row| columns(row) == usize::from(size.0)), "{all}");
                if size.1 > 14 {
                    assert!(all.contains("of 100 topics"), "{all}");
                }
            }
        }
    }

    #[test]
    fn before_anything_came_every_part_says_so() {
        let mut view = view("sensor-1", &[]);
        view.on_tick(at(100), None);
        let all = shown(&view, Wishes::default(), (80, 24)).join("\n");
        for part in [
            "no topic yet",
            "no block was timed yet",
            "no log (--log FILE records)",
            "connected to ws://",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }

    #[test]
    fn what_is_told_stays_in_sight_however_fast_the_feed_is() {
        let mut view = view("sensor-1", &[("users", 0)]);
        view.on_event(&Event::Lost { why: "reset" }, at(1000));
        for offset in 0..500 {
            message(&mut view, "users", offset, 2000 + offset, JSON);
        }
        let lost = |view: &View| {
            let rows = shown(view, Wishes::default(), (100, 24));
            let lost = rows.iter().position(|row| row.contains("lost the connection: reset"));
            let message = rows.iter().position(|row| row.contains("Aiko"));
            (lost, message)
        };
        view.on_tick(at(3000), None);
        let (found, message_) = lost(&view);
        assert!(found.is_some() && found < message_, "it came before them");
        view.on_tick(at(100_000), None);
        assert_eq!(lost(&view).0, None, "it is old news");
    }

    #[test]
    fn of_a_long_sentence_in_the_smallest_window_as_much_is_seen_as_fits() {
        let mut view = run();
        let said = Said {
            warning: true,
            text: "feed.ndjson: disk full after 41,208 messages; reading is paused".to_owned(),
            hint: Some("free some space and it goes on by itself"),
        };
        view.on_said(&said, at(120_000));
        for (symbols, size, parts) in [
            (
                Symbols::Unicode,
                SIZE_MIN,
                ["feed.ndjson: disk full after ", "41,208 messages; reading is paused … "],
            ),
            (
                Symbols::Ascii,
                SIZE_MIN,
                [
                    "feed.ndjson: disk full after ",
                    "41,208 messages; reading is paused ... ",
                ],
            ),
            (
                Symbols::Unicode,
                (60, 30),
                ["41,208 messages; reading is paused", "hint: free some space"],
            ),
            (
                Symbols::Unicode,
                (100, 16),
                ["41,208 messages; reading is paused", "hint: free some space"],
            ),
        ] {
            view.symbols = symbols;
            let rows = shown(&view, Wishes::default(), size);
            for part in parts {
                assert!(
                    rows.iter().any(|row| row.contains(part)),
                    "{part} at {size:?}: {rows:#?}"
                );
            }
            assert!(
                rows.iter().any(|row| row.contains("Aiko") || row.contains("[83,7,44]")),
                "{rows:#?}"
            );
        }
    }

    #[test]
    fn a_pause_and_a_full_disk_are_told_in_words() {
        let view = run();
        let mut newest = view.clone();
        let held = FileState {
            held: Some(("disk full".to_owned(), at(120_000).mono)),
            ..newest.file.clone().expect("a file")
        };
        newest.on_said(
            &Said {
                warning: true,
                text: "only in the newest".to_owned(),
                hint: None,
            },
            at(125_000),
        );
        newest.on_tick(at(130_000), Some(held));
        let wishes = Wishes {
            is_paused: true,
            ..Wishes::default()
        };
        let mut terminal = Terminal::new(TestBackend::new(100, 24)).expect("it never fails");
        let drawn = terminal.draw(|frame| draw(&view, &newest, wishes, Painter::PLAIN, frame.buffer_mut()));
        let cells = drawn.expect("it never fails").buffer.content().iter();
        let all: String = cells.map(|cell| cell.symbol()).collect();
        for part in [
            "paused   ",
            "the view is paused (p: go on); feed and log go on",
            "● live 2 m 10 s",
            "log feed.ndjson: disk full, reading is paused for 10.0 s",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        assert!(!all.contains("only in the newest"), "{all}");
    }

    #[test]
    fn a_window_that_is_too_small_says_what_is_needed() {
        let rows = shown(&run(), Wishes::default(), (59, 14));
        assert!(rows[0].starts_with("60 x 14 are needed, here are 59 x 14"), "{rows:#?}");
        let rows = shown(&run(), Wishes::default(), (3, 1));
        assert_eq!(rows, ["60 "]);
    }

    #[test]
    fn colours_follow_the_roles_and_can_be_absent() {
        let styled = style(Painter::PLAIN, Role::Bad);
        assert_eq!(styled, Style::new());
        let bad = style(Painter::ALWAYS, Role::Bad);
        assert_eq!(bad.fg, Some(Color::Indexed(1)));
        assert!(style(Painter::ALWAYS, Role::Name).add_modifier.contains(Modifier::BOLD));
        assert!(style(Painter::ALWAYS, Role::Time).add_modifier.contains(Modifier::DIM));
    }
}
