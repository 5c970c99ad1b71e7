//! Kinds of faults as they are typed.

/// Kinds of faults, of one server or of several.
#[derive(Clone, Debug)]
pub struct Kinds<Kind>(pub Vec<Kind>);

impl<Kind: Copy> Kinds<Kind> {
    /// Words with commas between them, or `all`.
    pub fn parse(text: &str, all: &[Kind], word: fn(Kind) -> &'static str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(all.to_vec()));
        }
        let kind = |typed: &str| {
            let known = all.iter().copied().find(|kind| word(*kind) == typed);
            let words: Vec<&str> = all.iter().copied().map(word).collect();
            known.ok_or_else(|| format!("{typed} is no fault; there are {}", words.join(", ")))
        };
        let words = text.split(',').filter(|word| !word.is_empty());
        words.map(kind).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use lapwing_trial::{fleet, schedule};

    use super::*;

    #[test]
    fn every_kind_is_found_by_its_word() {
        let one = |kind: schedule::Kind| Kinds::parse(kind.word(), &schedule::Kind::ALL, schedule::Kind::word);
        for kind in schedule::Kind::ALL {
            assert_eq!(one(kind).expect("a kind").0, [kind]);
        }
        let (all, word) = (&fleet::schedule::Kind::ALL, fleet::schedule::Kind::word);
        for kind in all {
            assert_eq!(Kinds::parse(word(*kind), all, word).expect("a kind").0, [*kind]);
        }
        assert_eq!(Kinds::parse("all", all, word).expect("kinds").0, all);
        assert_eq!(Kinds::parse("stop,,kill", all, word).expect("kinds").0.len(), 2);
        let wrong = Kinds::parse("kill,storm", all, word).expect_err("no kind");
        assert!(
            wrong.starts_with("storm is no fault; there are kill, stop, "),
            "{wrong}"
        );
    }
}
