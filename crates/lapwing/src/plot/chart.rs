//! A chart as SVG, with axes, lines and marks.

use std::fmt::Write as _;

use super::axis::Axis;
use super::markup::text;

/// A chart with lines.
pub struct Chart {
    /// What it shows, as a sentence; it is read to those who do not see it.
    pub says: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The lines; each has a colour, a dash and a mark of its own, so that they can be told apart in grey.
    pub lines: Vec<Line>,
    /// Parts of the x axis that do not count.
    pub shades: Vec<(f64, f64)>,
    /// Places on the x axis where something happened, and what.
    pub events: Vec<(f64, String)>,
}

/// A line with what belongs to it.
#[derive(Default)]
pub struct Line {
    /// Its name, written at its end.
    pub name: String,
    /// Its points; a none parts it, and so does one that an axis has no place for.
    pub points: Vec<Option<(f64, f64)>>,
    /// From where to where around it most of the values lie; a none parts it.
    pub band: Vec<Option<(f64, f64, f64)>>,
    /// A second line for comparison, thin and dotted.
    pub beside: Vec<(f64, f64)>,
    /// Marks on points.
    pub marks: Vec<(f64, f64, Mark)>,
}

/// What a mark says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A ring.
    Hollow,
    /// A disc.
    Full,
    /// A cross.
    Cross,
}

impl Chart {
    /// The whole drawing.
    #[must_use]
    pub fn svg(&self) -> String {
        self.drawn("")
    }

    /// The whole drawing as a part of another one, `top` below its upper edge.
    #[must_use]
    pub fn svg_at(&self, top: f64) -> String {
        self.drawn(&format!(" y=\"{top}\" width=\"{WIDTH}\" height=\"{HEIGHT}\""))
    }

    fn drawn(&self, place: &str) -> String {
        let mut out = format!(
            "<svg{place} viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            text(&self.says)
        );
        for (from, to) in &self.shades {
            let (from, to) = (self.x_at(*from), self.x_at(*to));
            let _ = write!(
                out,
                "<rect class=\"shade\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{INNER_HEIGHT}\"/>",
                to - from
            );
        }
        self.draw_axes(&mut out);
        for (at, line) in self.lines.iter().enumerate() {
            self.draw_line(at, line, &mut out);
        }
        for (at, what) in &self.events {
            let (x, y) = (self.x_at(*at), BOTTOM);
            let _ = write!(
                out,
                "<path class=\"event\" d=\"M{x:.1} {:.1}l4 8h-8z\"><title>{}</title></path>",
                y - 8.0,
                text(what)
            );
        }
        self.draw_names(&mut out);
        out.push_str("</svg>");
        out
    }

    fn holds(&self, x: f64, y: f64) -> bool {
        self.x.holds(x) && self.y.holds(y)
    }

    fn x_at(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * INNER_WIDTH
    }

    fn y_at(&self, value: f64) -> f64 {
        BOTTOM - self.y.place(value) * INNER_HEIGHT
    }

    fn draw_axes(&self, out: &mut String) {
        for (value, words) in &self.y.ticks {
            let y = self.y_at(*value);
            let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>");
            let _ = write!(
                out,
                "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                text(words)
            );
        }
        for (value, words) in &self.x.ticks {
            let x = self.x_at(*value);
            let _ = write!(out, "<path class=\"grid\" d=\"M{x:.1} {BOTTOM}v5\"/>");
            let _ = write!(
                out,
                "<text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                BOTTOM + 18.0,
                text(words)
            );
        }
        let middle = LEFT + INNER_WIDTH / 2.0;
        let _ = write!(
            out,
            "<text class=\"middle label\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
            HEIGHT - 4.0,
            text(&self.x.label)
        );
        let _ = write!(
            out,
            "<text class=\"label\" x=\"4\" y=\"12\">{}</text>",
            text(&self.y.label)
        );
    }

    fn draw_line(&self, at: usize, line: &Line, out: &mut String) {
        let class = at % COLOURS;
        let place = |x: f64, y: f64| format!("{:.1} {:.1}", self.x_at(x), self.y_at(y));
        for band in line.band.split(Option::is_none).filter(|band| band.len() > 1) {
            let up = band.iter().flatten().map(|(x, low, _)| place(*x, *low));
            let back = band.iter().flatten().rev().map(|(x, _, high)| place(*x, *high));
            let _ = write!(
                out,
                "<path class=\"band c{class}\" d=\"M{}z\"/>",
                up.chain(back).collect::<Vec<_>>().join("L")
            );
        }
        let beside = line.beside.iter().filter(|(x, y)| self.holds(*x, *y));
        let points = beside.map(|(x, y)| place(*x, *y)).collect::<Vec<_>>();
        if points.len() > 1 {
            let _ = write!(out, "<path class=\"beside c{class}\" d=\"M{}\"/>", points.join("L"));
        }
        let is_hole = |point: &Option<(f64, f64)>| !point.is_some_and(|(x, y)| self.holds(x, y));
        for run in line.points.split(is_hole) {
            let points: Vec<String> = run.iter().flatten().map(|(x, y)| place(*x, *y)).collect();
            match points.as_slice() {
                [] => {}
                // A single point has no length: a round cap and a width of its own make it seen.
                [only] => drop(write!(out, "<path class=\"line c{class} d{at}\" d=\"M{only}h0\"/>")),
                points => drop(write!(
                    out,
                    "<path class=\"line c{class} d{at}\" d=\"M{}\"/>",
                    points.join("L")
                )),
            }
        }
        for (x, y, mark) in line.marks.iter().filter(|(x, y, _)| self.holds(*x, *y)) {
            let (x, y) = (self.x_at(*x), self.y_at(*y));
            let _ = match mark {
                Mark::Hollow => write!(
                    out,
                    "<circle class=\"hollow c{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"
                ),
                Mark::Full => write!(
                    out,
                    "<circle class=\"full c{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"
                ),
                Mark::Cross => write!(
                    out,
                    "<path class=\"cross c{class}\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\"/>",
                    x - 4.0,
                    y - 4.0
                ),
            };
        }
    }

    /// Writes each name right of the drawing, where no line crosses it, as high as its line ends; moved where two would lie on each other.
    fn draw_names(&self, out: &mut String) {
        let end = |line: &Line| {
            line.points
                .iter()
                .flatten()
                .rfind(|(x, y)| self.holds(*x, *y))
                .map(|(_, y)| self.y_at(*y))
        };
        let mut names: Vec<(usize, &str, f64)> = self
            .lines
            .iter()
            .enumerate()
            .filter_map(|(at, line)| Some((at, line.name.as_str(), end(line)?)))
            .collect();
        names.sort_by(|(_, _, one), (_, _, other)| one.total_cmp(other));
        let mut most = BOTTOM;
        for (_, _, y) in names.iter_mut().rev() {
            *y = y.min(most);
            most = *y - NAME_HEIGHT;
        }
        for (at, name, y) in names {
            let class = at % COLOURS;
            let _ = write!(
                out,
                "<text class=\"name c{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                RIGHT + 8.0,
                y + 4.0,
                text(name)
            );
        }
    }
}

/// How charts look, its colours by their names; to stand in the style of what holds them.
pub const STYLE: &str = "\
svg text{font-size:12px;fill:var(--muted)}svg .middle{text-anchor:middle}svg .end{text-anchor:end}\
.grid{stroke:var(--grid);fill:none}.shade{fill:var(--grid);opacity:.45}.event{fill:var(--bad)}\
.line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.d1{stroke-dasharray:7 4}.d2{stroke-dasharray:2 4}\
.d3{stroke-dasharray:10 3 2 3}.d4{stroke-dasharray:14 4}.line[d$=h0]{stroke-width:5;stroke-dasharray:none}.band{fill:currentColor;opacity:.13}.beside{fill:none;stroke:currentColor;stroke-dasharray:1 3}\
.hollow{fill:var(--page);stroke:currentColor;stroke-width:2}.full{fill:currentColor}.cross{stroke:currentColor;stroke-width:2;fill:none}\
svg .name{fill:currentColor;font-weight:600}\
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}";

const COLOURS: usize = 5;
/// How wide a chart is drawn; what it stands in may stretch it.
pub const WIDTH: f64 = 760.0;
/// How high.
pub const HEIGHT: f64 = 320.0;
const LEFT: f64 = 76.0;
const TOP: f64 = 24.0;
const RIGHT: f64 = 640.0;
const BOTTOM: f64 = 270.0;
const INNER_WIDTH: f64 = RIGHT - LEFT;
const INNER_HEIGHT: f64 = BOTTOM - TOP;
const NAME_HEIGHT: f64 = 14.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: Vec<Line>) -> Chart {
        Chart {
            says: "a \"test\" <of> it".to_owned(),
            x: Axis::linear("x", 10.0, |value| value.to_string()),
            y: Axis::times("y", 1.0, 100.0),
            lines,
            shades: vec![(0.0, 2.0)],
            events: vec![(5.0, "3 <missed>".to_owned())],
        }
    }

    #[test]
    fn a_line_has_a_hole_where_it_has_no_point() {
        let point = |x| Some((x, 10.0));
        let points = vec![point(0.0), point(1.0), None, point(3.0), None];
        let svg = chart(vec![Line {
            name: "p50".to_owned(),
            points,
            ..Line::default()
        }])
        .svg();
        assert_eq!(svg.matches("class=\"line c0 d0\"").count(), 2, "{svg}");
        assert!(svg.contains("h0"), "a point alone is seen: {svg}");
    }

    #[test]
    fn what_has_no_place_on_a_logarithmic_axis_is_not_drawn() {
        let svg = chart(vec![Line {
            name: "p50".to_owned(),
            points: vec![Some((1.0, 0.0)), Some((2.0, 10.0)), Some((3.0, 0.0))],
            marks: vec![(1.0, 0.0, Mark::Full), (2.0, 10.0, Mark::Full)],
            ..Line::default()
        }])
        .svg();
        assert_eq!(svg.matches("class=\"line c0 d0\"").count(), 1, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 1, "{svg}");
        assert!(svg.contains("y (logarithmic)"), "{svg}");
    }

    #[test]
    fn names_do_not_lie_on_each_other() {
        let line = |name: &str| Line {
            name: name.to_owned(),
            points: vec![Some((10.0, 10.0))],
            ..Line::default()
        };
        let svg = chart(vec![line("one"), line("two"), line("three")]).svg();
        let names = svg.split("class=\"name").skip(1).map(|rest| {
            let y = rest
                .split("y=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .expect("a place");
            y.parse::<f64>().expect("a number")
        });
        let names: Vec<f64> = names.collect();
        assert!(names.windows(2).all(|pair| pair[1] - pair[0] >= 13.9), "{names:?}");
    }

    #[test]
    fn what_it_says_is_escaped() {
        let svg = chart(Vec::new()).svg();
        assert!(
            svg.contains("a &quot;test&quot; &lt;of&gt; it") && svg.contains("3 &lt;missed&gt;"),
            "{svg}"
        );
    }
}
