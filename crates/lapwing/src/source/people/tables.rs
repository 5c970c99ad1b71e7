//! The names, places and jobs of one country, read once from `data/people/`.

use super::ascii::{Umlaut, fold, slug};
use super::locale::Locale;

/// All that people of one country are made of. Every list has at least one entry.
pub(super) struct Tables {
    pub(super) country: &'static str,
    /// `12 Mill Lane` or `Lindenstraße 12`.
    pub(super) number_first: bool,
    pub(super) house_max: u32,
    pub(super) female: Vec<Term>,
    pub(super) male: Vec<Term>,
    pub(super) surnames: Vec<Term>,
    pub(super) places: Vec<Place>,
    pub(super) streets: Vec<&'static str>,
    pub(super) words: Vec<Term>,
    pub(super) legal: Vec<&'static str>,
    pub(super) working: Vec<Job>,
    pub(super) studying: Vec<Job>,
    pub(super) retired: Vec<Job>,
}

/// A name, and how it stands in a user name or a domain.
pub(super) struct Term {
    pub(super) text: &'static str,
    pub(super) ascii: String,
}

/// A city with what belongs to it; a city of several postcode ranges has several of these.
pub(super) struct Place {
    pub(super) city: Term,
    pub(super) region: &'static str,
    pub(super) postcode: Postcode,
    pub(super) phone: Pattern,
}

/// The postcodes of a place.
pub(super) enum Postcode {
    /// `10115-10179`; with a gap, as in Sweden, `111 20-118 72`.
    Range {
        low: u32,
        high: u32,
        digits: u32,
        gap: bool,
    },
    /// `SW11 SW18`: outward codes, each followed by an inward code such as `4QX`.
    Outward(Vec<&'static str>),
}

/// A text in which each `#` is a digit.
pub(super) struct Pattern {
    pub(super) text: &'static str,
    pub(super) digits: u32,
}

/// A job, who is old enough for it, and who employs.
pub(super) struct Job {
    pub(super) age_min: u32,
    pub(super) age_max: u32,
    pub(super) of_man: &'static str,
    pub(super) of_woman: &'static str,
    /// The names of employers of its sector; none for the retired.
    pub(super) employers: Vec<Vec<Piece>>,
}

/// A part of an employer's name.
#[derive(Clone)]
pub(super) enum Piece {
    Text { text: &'static str, slug: String },
    Surname,
    Other,
    Word,
    City,
    Legal,
}

impl Tables {
    /// Reads the tables of a country.
    ///
    /// # Panics
    ///
    /// For [`Locale::Mixed`], which is no country. A malformed table also panics: the tables are part of the program, and a
    /// test reads them all.
    pub(super) fn load(locale: Locale) -> Self {
        let (text, umlaut) = match locale {
            Locale::En => (include_str!("../../../data/people/en.txt"), Umlaut::Bare),
            Locale::EnGb => (include_str!("../../../data/people/en-GB.txt"), Umlaut::Bare),
            Locale::EnAu => (include_str!("../../../data/people/en-AU.txt"), Umlaut::Bare),
            Locale::De => (include_str!("../../../data/people/de.txt"), Umlaut::Digraph),
            Locale::Fr => (include_str!("../../../data/people/fr.txt"), Umlaut::Bare),
            Locale::Sv => (include_str!("../../../data/people/sv.txt"), Umlaut::Bare),
            Locale::Mixed => unreachable!("mixed is drawn from the countries"),
        };
        let name = |text| Term {
            text,
            ascii: fold(text, umlaut),
        };
        let names = |section| list(text, section).map(name).collect();
        let label = |text| Term {
            text,
            ascii: slug(text, umlaut),
        };

        let mut facts = records(text, "country");
        let [country, street, house_max] = facts.next().expect("a table names its country");
        let employers: Vec<(&str, Vec<Piece>)> = records(text, "employers")
            .map(|[sector, name]| (sector, pieces(name, umlaut)))
            .collect();
        let place = |[city, region, postcode, phone]: [&'static str; 4]| Place {
            city: label(city),
            region,
            postcode: Postcode::parse(postcode),
            phone: Pattern::parse(phone),
        };
        let of_sectors = |wanted: fn(&str) -> bool| {
            let mine = lines(text, "jobs").map(fields).filter(move |job| wanted(job[0]));
            mine.map(|job| Job::parse(&job, &employers)).collect()
        };

        Self {
            country,
            number_first: street == "{number} {street}",
            house_max: house_max.parse().expect("a house number is a number"),
            female: names("female"),
            male: names("male"),
            surnames: names("surnames"),
            places: records(text, "places").map(place).collect(),
            streets: list(text, "streets").collect(),
            words: list(text, "words").map(label).collect(),
            legal: list(text, "legal").collect(),
            working: of_sectors(|sector| !matches!(sector, "student" | "retired")),
            studying: of_sectors(|sector| sector == "student"),
            retired: of_sectors(|sector| sector == "retired"),
        }
    }
}

impl Job {
    fn parse(job: &[&'static str], employers: &[(&str, Vec<Piece>)]) -> Self {
        let [sector, ages, of_man, rest @ ..] = job else {
            panic!("a job needs sector, ages and title: {job:?}")
        };
        let (age_min, age_max) = ages.split_once('-').expect("ages are a range");
        Self {
            age_min: age_min.parse().expect("an age is a number"),
            age_max: age_max.parse().expect("an age is a number"),
            of_man,
            of_woman: rest.first().unwrap_or(of_man),
            employers: employers
                .iter()
                .filter(|(of, _)| of == sector)
                .map(|(_, name)| name.clone())
                .collect(),
        }
    }
}

impl Postcode {
    fn parse(text: &'static str) -> Self {
        let Some((low, high)) = text.split_once('-') else {
            return Self::Outward(text.split(' ').collect());
        };
        let number = |text: &str| {
            text.replace(' ', "")
                .parse()
                .expect("a postcode range is made of numbers")
        };
        let gap = low.contains(' ');
        Self::Range {
            low: number(low),
            high: number(high),
            digits: low.len() as u32 - u32::from(gap),
            gap,
        }
    }
}

impl Pattern {
    fn parse(text: &'static str) -> Self {
        Self {
            text,
            digits: text.matches('#').count() as u32,
        }
    }
}

/// Takes `{surname} & {other} {legal}` apart.
fn pieces(name: &'static str, umlaut: Umlaut) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (piece, after) = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some(("surname", after)) => (Piece::Surname, after),
            Some(("other", after)) => (Piece::Other, after),
            Some(("word", after)) => (Piece::Word, after),
            Some(("city", after)) => (Piece::City, after),
            Some(("legal", after)) => (Piece::Legal, after),
            Some((unknown, _)) => panic!("{{{unknown}}} in {name} stands for nothing"),
            None => {
                let (text, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
                (
                    Piece::Text {
                        text,
                        slug: slug(text, umlaut),
                    },
                    after,
                )
            }
        };
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The lines of one `[section]`, without comments and empty lines.
fn lines(text: &'static str, section: &str) -> impl Iterator<Item = &'static str> {
    let title = |line: &str| line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) == Some(section);
    let after = text.lines().skip_while(move |line| !title(line)).skip(1);
    after
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The entries of a section that is a list with commas.
fn list(text: &'static str, section: &str) -> impl Iterator<Item = &'static str> {
    lines(text, section)
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// The entries of a section whose lines are `N` fields.
fn records<const N: usize>(text: &'static str, section: &str) -> impl Iterator<Item = [&'static str; N]> {
    lines(text, section).map(|line| {
        fields(line)
            .try_into()
            .expect("each line of a section has the same fields")
    })
}

fn fields(line: &'static str) -> Vec<&'static str> {
    line.split(" | ").collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_country_has_enough_of_everything() {
        for country in Locale::COUNTRIES {
            let tables = Tables::load(country);
            let cities: BTreeSet<&str> = tables.places.iter().map(|place| place.city.text).collect();
            assert!(tables.female.len() >= 100 && tables.male.len() >= 100, "{country}");
            assert!(tables.surnames.len() >= 150 && tables.streets.len() >= 40, "{country}");
            assert!(
                cities.len() >= 5 && tables.words.len() >= 50 && tables.legal.len() >= 4,
                "{country}"
            );
            assert!(tables.working.len() >= 40, "{country}");
            assert!(!tables.studying.is_empty() && !tables.retired.is_empty(), "{country}");
        }
    }

    #[test]
    fn nothing_in_a_table_needs_escaping_in_json() {
        for country in Locale::COUNTRIES {
            let tables = Tables::load(country);
            let names = [&tables.female, &tables.male, &tables.surnames, &tables.words]
                .into_iter()
                .flatten();
            let mut texts: Vec<&str> = names.map(|term| term.text).collect();
            texts.extend(tables.streets.iter().chain(&tables.legal));
            texts.extend(
                tables
                    .places
                    .iter()
                    .flat_map(|place| [place.city.text, place.region, place.phone.text]),
            );
            for job in [&tables.working, &tables.studying, &tables.retired]
                .into_iter()
                .flatten()
            {
                texts.extend([job.of_man, job.of_woman]);
                texts.extend(job.employers.iter().flatten().filter_map(|piece| match piece {
                    Piece::Text { text, .. } => Some(*text),
                    _ => None,
                }));
            }
            texts.push(tables.country);
            for text in texts {
                assert_eq!(serde_json::to_string(text).unwrap(), format!("\"{text}\""), "{country}");
            }
        }
    }

    #[test]
    fn every_letter_of_a_name_survives_folding() {
        for country in Locale::COUNTRIES {
            let tables = Tables::load(country);
            for term in [&tables.female, &tables.male, &tables.surnames, &tables.words]
                .into_iter()
                .flatten()
            {
                let letters = term.text.chars().filter(|c| c.is_alphabetic()).count();
                assert!(
                    term.ascii.len() >= letters,
                    "{country}: {} is {}",
                    term.text,
                    term.ascii
                );
            }
        }
    }

    #[test]
    fn no_name_is_listed_twice() {
        for country in Locale::COUNTRIES {
            let tables = Tables::load(country);
            for names in [&tables.female, &tables.male, &tables.surnames, &tables.words] {
                let mut seen = BTreeSet::new();
                for name in names {
                    assert!(seen.insert(name.text), "{country}: {}", name.text);
                }
            }
            let women: BTreeSet<&str> = tables.female.iter().map(|name| name.text).collect();
            assert!(
                tables.male.iter().all(|name| !women.contains(name.text)),
                "{country}: a name tells the sex"
            );
        }
    }

    #[test]
    fn ages_and_employers_fit_the_stage_of_life() {
        for country in Locale::COUNTRIES {
            let tables = Tables::load(country);
            for job in &tables.working {
                assert!((18..=40).contains(&job.age_min), "{}", job.of_man);
                assert!(job.age_max <= 67 && job.age_min < job.age_max, "{}", job.of_man);
                assert!(!job.employers.is_empty(), "nobody employs {}", job.of_man);
            }
            assert!(
                tables
                    .studying
                    .iter()
                    .all(|job| job.age_min >= 18 && !job.employers.is_empty()),
                "{country}"
            );
            assert!(
                tables
                    .retired
                    .iter()
                    .all(|job| job.age_min >= 64 && job.employers.is_empty()),
                "{country}"
            );
        }
    }
}
