/// Cuts a list into runs for one forward pass each: as many items as `limit` tokens hold, and at
/// least one. `len` tells an item's number of tokens.
pub(crate) fn token_batches<'a, T>(
    items: &'a [T],
    limit: usize,
    len: impl Fn(&T) -> usize + 'a,
) -> impl Iterator<Item = &'a [T]> + 'a {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut tokens = 0;
        let fits = rest.iter().take_while(|item| {
            tokens += len(item);
            tokens <= limit
        });
        let (batch, left) = rest.split_at_checked(fits.count().max(1))?;
        rest = left;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_as_much_as_fits_and_one_item_at_least() {
        let batches = |lengths: &[usize]| -> Vec<Vec<usize>> {
            token_batches(lengths, 10, |n| *n)
                .map(<[usize]>::to_vec)
                .collect()
        };
        assert_eq!(
            batches(&[4, 6, 1, 30, 0, 10, 10]),
            [vec![4, 6], vec![1], vec![30], vec![0, 10], vec![10]]
        );
        assert!(batches(&[]).is_empty());
    }
}
