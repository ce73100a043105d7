//! Names that are a slip of the pen away.

/// The name that is a slip of the pen away, where there is one.
pub(crate) fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = wanted.to_lowercase();
    let slips_max = wanted.chars().count().div_ceil(3).min(4);
    let measured = names.map(|name| (distance(&wanted, &name.to_lowercase()), name));
    let (slips, name) = measured.min_by_key(|(slips, _)| *slips)?;
    (slips <= slips_max).then_some(name)
}

/// How many letters must be changed, put in or taken out.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, wanted) in other.iter().enumerate() {
            let change = diagonal + usize::from(letter != *wanted);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: words at every distance.
    /// Guarantees: the count of changes.
    #[test]
    fn distances_count_changes() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
