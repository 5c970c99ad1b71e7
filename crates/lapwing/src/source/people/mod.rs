//! Random people whose fields fit each other, the same for the same seed on every machine and with every version.
//!
//! A person's first name fits sex and country; user name and e-mail address come from the name; city, region, postcode and
//! area code belong together; the age fits the job, and the job its employer.
//!
//! The tables in `data/people/` are our own and frozen, as is the order of the draws. The `fake` crate would not do: its
//! first names carry no sex, its fields know nothing of each other, and its tables grow, so that a seed would give other
//! people after an update. Whoever changes a table or a draw raises [`People::VERSION`] and the files in `tests/golden/`.
//!
//! Nobody real is reached by what is made here. E-mail domains are those of RFC 2606 and RFC 6761 (`example.com`,
//! `example.org`, `example.net`, `….example`). Phone numbers come only from ranges that regulators keep free for fiction,
//! and a country's cities are those that such a range covers:
//!
//! | Country | Ranges | Reserved by |
//! |---|---|---|
//! | United States | 555-0100 to 555-0199 in every area code | NANPA, 555 line numbers |
//! | United Kingdom | 020 7946 0xxx, 01xx 496 0xxx, 0191 498 0xxx, 028 9649 6xxx, 029 2018 0xxx | Ofcom, numbers for drama use |
//! | Australia | 02, 03, 07, 08 5550 xxxx and 7010 xxxx | ACMA, numbers for use in fiction |
//! | Germany | 030 23125 xxx, 040 66969 xxx, 069 90009 xxx, 089 99998 xxx, 0221 4710 xxx | Bundesnetzagentur, "Drama Numbers" |
//! | France | 01 99 00, 02 61 91, 03 53 01, 04 65 71, 05 36 49 xx xx | ARCEP, numbers for audiovisual works |
//! | Sweden | 08-465 004 xx, 031-390 06 xx, 040-628 04 xx, 0980-319 20 xx | PTS, numbers for books and films |
//!
//! Names, companies and addresses are put together by chance; that one of them exists somewhere is chance, too.

mod ascii;
mod dice;
mod locale;
mod tables;

pub use locale::{Locale, LocaleError};

use dice::Dice;
use tables::{Job, Pattern, Piece, Place, Postcode, Tables, Term};

/// An endless row of people, each one a JSON object.
///
/// A person costs no allocation once the buffer has grown to its size.
///
/// ```
/// use lapwing::source::people::{Locale, People};
///
/// let mut person = Vec::new();
/// People::new(Locale::Sv, 1, 0).write_next(&mut person);
/// assert!(person.starts_with(br#"{"name":"Jakob Westerberg","sex":"male","username":"jakob_westerberg","#));
/// ```
pub struct People {
    dice: Dice,
    countries: Box<[Tables]>,
}

impl People {
    /// Rises whenever the same seed gives other people than before; stands beside the seed where a feed is described.
    pub const VERSION: u32 = 1;

    /// The people of `locale` that `seed` and `stream` stand for; topics of one seed take different streams.
    #[must_use]
    pub fn new(locale: Locale, seed: u64, stream: u64) -> Self {
        let countries = match locale {
            Locale::Mixed => Locale::COUNTRIES.into_iter().map(Tables::load).collect(),
            country => Box::new([Tables::load(country)]) as Box<[Tables]>,
        };
        Self {
            dice: Dice::new(seed, stream),
            countries,
        }
    }

    /// Appends the next person to `out` as one compact JSON object, without a newline.
    ///
    /// All people have the same fields in the same order; only `company` may be `null`, for the retired.
    pub fn write_next(&mut self, out: &mut Vec<u8>) {
        let tables = match &*self.countries {
            [country] => country,
            countries => self.dice.pick(countries),
        };
        Person::draw(&mut self.dice, tables).write(out);
    }
}

/// Ages are those at the end of this year. Fixed, because with today's date a seed would give other people tomorrow.
const REFERENCE_YEAR: u32 = 2025;

/// Out of a hundred people, this many study, and this many more are retired.
const STUDYING_PERCENT: u32 = 12;
const RETIRED_PERCENT: u32 = 14;

/// Out of a hundred people with an employer, this many give the address they have there.
const WORK_EMAIL_PERCENT: u32 = 40;

/// Everything about one person, drawn and not yet written.
struct Person<'a> {
    tables: &'a Tables,
    sex: Sex,
    first: &'a Term,
    surname: &'a Term,
    username: Username,
    email: Email,
    born: Date,
    job: &'a Job,
    company: Option<Company<'a>>,
    place: &'a Place,
    street: &'a str,
    house: u32,
    postcode: PostcodeDrawn<'a>,
    phone: u32,
}

#[derive(Clone, Copy)]
enum Sex {
    Female,
    Male,
}

struct Date {
    year: u32,
    month: u32,
    day: u32,
}

struct Username {
    pattern: &'static [Part],
    number: u32,
}

#[derive(Clone, Copy)]
enum Email {
    /// The user name at one of the domains for examples.
    Private { domain: &'static str },
    /// First name and surname at the employer's domain.
    Work,
}

struct Company<'a> {
    name: &'a [Piece],
    surname: &'a Term,
    other: &'a Term,
    word: &'a Term,
    legal: &'a str,
}

enum PostcodeDrawn<'a> {
    Number { number: u32, digits: u32, gap: bool },
    Outward { outward: &'a str, inward: [u8; 3] },
}

/// A part of a user name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    First,
    FirstInitial,
    Last,
    LastInitial,
    Dot,
    Underscore,
    /// The year of birth, four or two digits.
    Year,
    ShortYear,
    /// Two to four digits.
    Number,
}

/// How user names are made; each line is equally likely. More than half carry a number, as where plain names are taken.
const USERNAMES: [&[Part]; 16] = {
    use Part::{Dot, First, FirstInitial, Last, LastInitial, Number, ShortYear, Underscore, Year};
    [
        &[First, Dot, Last],
        &[First, Dot, Last],
        &[FirstInitial, Last],
        &[First, Last],
        &[First, Underscore, Last],
        &[Last, Dot, First],
        &[First, Dot, Last, Number],
        &[First, Dot, Last, Number],
        &[First, Dot, Last, ShortYear],
        &[FirstInitial, Last, Number],
        &[FirstInitial, Last, Number],
        &[FirstInitial, Last, ShortYear],
        &[First, LastInitial, Number],
        &[First, Underscore, Last, Number],
        &[Last, FirstInitial, Number],
        &[First, LastInitial, Year],
    ]
};

const EMAIL_DOMAINS: [&str; 4] = ["example.com", "example.com", "example.org", "example.net"];

/// The letters of an inward postcode in the United Kingdom, which has no C, I, K, M, O and V.
const INWARD_LETTERS: &[u8; 20] = b"ABDEFGHJLNPQRSTUWXYZ";

// Deciding: the order of the draws is part of what a seed means.
impl<'a> Person<'a> {
    fn draw(dice: &mut Dice, tables: &'a Tables) -> Self {
        let sex = if dice.below(2) == 0 { Sex::Female } else { Sex::Male };
        let first_names = match sex {
            Sex::Female => &tables.female,
            Sex::Male => &tables.male,
        };
        let first = dice.pick(first_names);
        let surname = dice.pick(&tables.surnames);
        let jobs = match dice.below(100) {
            0..STUDYING_PERCENT => &tables.studying,
            percent if percent < STUDYING_PERCENT + RETIRED_PERCENT => &tables.retired,
            _ => &tables.working,
        };
        let job = dice.pick(jobs);
        let age = dice.between(job.age_min, job.age_max);
        let born = Date::draw(dice, REFERENCE_YEAR - age);
        let company = Company::draw(dice, tables, job);
        let username = Username::draw(dice);
        let at_work = company.is_some() && dice.below(100) < WORK_EMAIL_PERCENT;
        let email = match at_work {
            true => Email::Work,
            false => Email::private(dice),
        };
        let place = dice.pick(&tables.places);
        Self {
            tables,
            sex,
            first,
            surname,
            username,
            email,
            born,
            job,
            company,
            place,
            street: *dice.pick(&tables.streets),
            house: dice.between(1, tables.house_max),
            postcode: PostcodeDrawn::draw(dice, &place.postcode),
            phone: dice.below(10_u32.pow(place.phone.digits)),
        }
    }
}

impl Date {
    fn draw(dice: &mut Dice, year: u32) -> Self {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let february = if leap { 29 } else { 28 };
        let mut day = dice.below(337 + february);
        let mut month = 1;
        for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if day < days {
                break;
            }
            day -= days;
            month += 1;
        }
        Self {
            year,
            month,
            day: day + 1,
        }
    }
}

impl Username {
    fn draw(dice: &mut Dice) -> Self {
        let pattern = *dice.pick(&USERNAMES);
        let number = if pattern.contains(&Part::Number) {
            dice.between(10, 9_999)
        } else {
            0
        };
        Self { pattern, number }
    }
}

impl Email {
    fn private(dice: &mut Dice) -> Self {
        let domain = dice.pick::<&str>(&EMAIL_DOMAINS);
        Self::Private { domain }
    }
}

impl<'a> Company<'a> {
    fn draw(dice: &mut Dice, tables: &'a Tables, job: &'a Job) -> Option<Self> {
        if job.employers.is_empty() {
            return None;
        }
        let name = dice.pick(&job.employers);
        // Two different surnames, so that nobody works for "Braun & Braun".
        let surname = dice.below(tables.surnames.len() as u32) as usize;
        let step = 1 + dice.below(tables.surnames.len() as u32 - 1) as usize;
        Some(Self {
            name,
            surname: &tables.surnames[surname],
            other: &tables.surnames[(surname + step) % tables.surnames.len()],
            word: dice.pick(&tables.words),
            legal: *dice.pick(&tables.legal),
        })
    }
}

impl<'a> PostcodeDrawn<'a> {
    fn draw(dice: &mut Dice, postcode: &'a Postcode) -> Self {
        match postcode {
            &Postcode::Range { low, high, digits, gap } => Self::Number {
                number: dice.between(low, high),
                digits,
                gap,
            },
            Postcode::Outward(codes) => {
                let outward = dice.pick(codes);
                let digit = b'1' + dice.below(9) as u8;
                Self::Outward {
                    outward,
                    inward: [digit, *dice.pick(INWARD_LETTERS), *dice.pick(INWARD_LETTERS)],
                }
            }
        }
    }
}

// Writing: nothing is escaped, because nothing in the tables needs it (a test of the tables says so).
impl Person<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let (sex, job) = match self.sex {
            Sex::Female => ("female", self.job.of_woman),
            Sex::Male => ("male", self.job.of_man),
        };
        push(out, &["{\"name\":\"", self.first.text, " ", self.surname.text]);
        push(out, &["\",\"sex\":\"", sex, "\",\"username\":\""]);
        let username = self.write_username(out);
        push(out, &["\",\"email\":\""]);
        self.write_email(username, out);
        push(out, &["\",\"birth_date\":\""]);
        self.born.write(out);
        push(out, &["\",\"job\":\"", job, "\",\"company\":"]);
        match &self.company {
            Some(company) => company.write_name(self.place, out),
            None => push(out, &["null"]),
        }
        push(out, &[",\"address\":{\"street\":\""]);
        self.write_street(out);
        push(
            out,
            &[
                "\",\"city\":\"",
                self.place.city.text,
                "\",\"region\":\"",
                self.place.region,
            ],
        );
        push(out, &["\",\"postcode\":\""]);
        self.postcode.write(out);
        push(out, &["\",\"country\":\"", self.tables.country, "\"},\"phone\":\""]);
        self.place.phone.write(self.phone, out);
        push(out, &["\"}"]);
    }

    /// Writes the user name and returns where in `out` it stands.
    fn write_username(&self, out: &mut Vec<u8>) -> std::ops::Range<usize> {
        let begin = out.len();
        let (first, last) = (&self.first.ascii, &self.surname.ascii);
        for part in self.username.pattern {
            match part {
                Part::First => push(out, &[first]),
                Part::FirstInitial => push(out, &[&first[..1]]),
                Part::Last => push(out, &[last]),
                Part::LastInitial => push(out, &[&last[..1]]),
                Part::Dot => out.push(b'.'),
                Part::Underscore => out.push(b'_'),
                Part::Year => push_digits(out, self.born.year, 4),
                Part::ShortYear => push_digits(out, self.born.year % 100, 2),
                Part::Number => push_number(out, self.username.number),
            }
        }
        begin..out.len()
    }

    fn write_email(&self, username: std::ops::Range<usize>, out: &mut Vec<u8>) {
        match (self.email, &self.company) {
            (Email::Work, Some(company)) => {
                push(out, &[&self.first.ascii, ".", &self.surname.ascii, "@"]);
                company.write_label(self.place, out);
                push(out, &[".example"]);
            }
            (Email::Private { domain }, _) => {
                out.extend_from_within(username);
                push(out, &["@", domain]);
            }
            (Email::Work, None) => unreachable!("only who has an employer was given an address there"),
        }
    }

    fn write_street(&self, out: &mut Vec<u8>) {
        if self.tables.number_first {
            push_number(out, self.house);
            push(out, &[" ", self.street]);
        } else {
            push(out, &[self.street, " "]);
            push_number(out, self.house);
        }
    }
}

impl Date {
    fn write(&self, out: &mut Vec<u8>) {
        push_digits(out, self.year, 4);
        out.push(b'-');
        push_digits(out, self.month, 2);
        out.push(b'-');
        push_digits(out, self.day, 2);
    }
}

impl Company<'_> {
    /// Writes the name as a JSON string.
    fn write_name(&self, place: &Place, out: &mut Vec<u8>) {
        out.push(b'"');
        for piece in self.name {
            let text = match piece {
                Piece::Text { text, .. } => text,
                Piece::Surname => self.surname.text,
                Piece::Other => self.other.text,
                Piece::Word => self.word.text,
                Piece::City => place.city.text,
                Piece::Legal => self.legal,
            };
            push(out, &[text]);
        }
        out.push(b'"');
    }

    /// Writes the name as a label of a domain, without the legal form.
    fn write_label(&self, place: &Place, out: &mut Vec<u8>) {
        let begin = out.len();
        for piece in self.name {
            let label = match piece {
                Piece::Text { slug, .. } => slug,
                Piece::Surname => &self.surname.ascii,
                Piece::Other => &self.other.ascii,
                Piece::Word => &self.word.ascii,
                Piece::City => &place.city.ascii,
                Piece::Legal => continue,
            };
            if !label.is_empty() && out.len() > begin {
                out.push(b'-');
            }
            push(out, &[label]);
        }
    }
}

impl PostcodeDrawn<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Number {
                number,
                digits,
                gap: false,
            } => push_digits(out, number, digits),
            Self::Number {
                number,
                digits,
                gap: true,
            } => {
                push_digits(out, number / 100, digits - 2);
                out.push(b' ');
                push_digits(out, number % 100, 2);
            }
            Self::Outward { outward, inward } => {
                push(out, &[outward, " "]);
                out.extend_from_slice(&inward);
            }
        }
    }
}

impl Pattern {
    /// Writes the text with the digits of `number` in place of its `#`.
    fn write(&self, number: u32, out: &mut Vec<u8>) {
        let begin = out.len();
        push(out, &[self.text]);
        let mut rest = number;
        for byte in out[begin..].iter_mut().rev().filter(|byte| **byte == b'#') {
            *byte = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

fn push(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

fn push_number(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes `number` with leading zeros, at most five digits.
fn push_digits(out: &mut Vec<u8>, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        out.push(b'0' + (number / 10_u32.pow(place) % 10) as u8);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
