//! Names with stars in them.
//!
//! Invariant: pure; matching takes time that grows with the length of pattern times text, whatever
//! they hold.

/// `*` stands for any number of characters, also none; everything else for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// The whole of `text` is meant.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut seen) = (0, 0);
        // Where to go on when what came after the last star does not fit.
        let mut back: Option<(usize, usize)> = None;
        while let Some(&byte) = text.get(seen) {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    back = Some((at, seen));
                }
                Some(&wanted) if wanted == byte => (at, seen) = (at + 1, seen + 1),
                _ => {
                    let Some((after_star, from)) = back else { return false };
                    back = Some((after_star, from + 1));
                    (at, seen) = (after_star, from + 1);
                }
            }
        }
        pattern.iter().skip(at).all(|&byte| byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: patterns with stars at all places.
    /// Guarantees: the whole text is compared; many stars are no trap.
    #[test]
    fn stars() {
        for (pattern, text, wanted) in [
            ("shop", "shop", true),
            ("shop", "shops", false),
            ("shop", "sho", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("kube-*", "kube-system", true),
            ("kube-*", "my-kube-system", false),
            ("*-system", "kube-system", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyybzz", false),
            ("*a*", "bab", true),
            ("é*", "école", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), wanted, "{pattern} on {text}");
        }
        let long = "a".repeat(2_000);
        assert!(!Pattern::new(&"a*".repeat(50).replace("a*a*", "a*b*")).matches(&long));
    }
}
