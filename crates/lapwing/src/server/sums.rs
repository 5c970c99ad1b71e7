//! Sums by name, as they are told at the end of a run.

use std::collections::BTreeMap;

/// How often each of several things was, by its name; what never was is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Sums(BTreeMap<&'static str, u64>);

impl Sums {
    /// Whether nothing ever was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `; WHAT: head 3, message 1`, or nothing.
    #[must_use]
    pub fn behind_words(&self, what: &str) -> String {
        if self.is_empty() {
            return String::new();
        }
        let counts = self.0.iter().map(|(name, count)| format!("{name} {count}"));
        format!("; {what}: {}", counts.collect::<Vec<_>>().join(", "))
    }
}

impl FromIterator<(&'static str, u64)> for Sums {
    fn from_iter<T: IntoIterator<Item = (&'static str, u64)>>(counts: T) -> Self {
        Self(counts.into_iter().filter(|(_, count)| *count > 0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_was_is_not_told() {
        let counts = |counts: [(&'static str, u64); 2]| counts.into_iter().collect::<Sums>();
        assert_eq!(counts([("url", 0), ("head", 0)]).behind_words("limits met"), "");
        assert_eq!(
            counts([("url", 1), ("head", 0)]).behind_words("limits met"),
            "; limits met: url 1"
        );
        let both = counts([("url", 1), ("head", 2)]);
        assert_eq!(both.behind_words("limits met"), "; limits met: head 2, url 1");
        assert_eq!(
            serde_json::to_string(&both).expect("serializable"),
            "{\"head\":2,\"url\":1}"
        );
    }
}
