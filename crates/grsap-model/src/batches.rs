/// The numbers of sequences in batches of at most `max_tokens` tokens, the longest sequences first;
/// one that is longer than that goes alone.
///
/// Nothing is padded, so this is not for the padding: sequences of about the same length are even
/// shares of work for the threads, and the most memory is asked for at once.
pub(crate) fn by_length(lengths: &[usize], max_tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<(usize, usize)> = lengths.iter().copied().enumerate().collect();
    order.sort_by_key(|&(_, len)| std::cmp::Reverse(len));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for (index, len) in order {
        match batches.last_mut() {
            Some(batch) if tokens + len <= max_tokens => batch.push(index),
            _ => {
                batches.push(vec![index]);
                tokens = 0;
            }
        }
        tokens += len;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::by_length;

    #[test]
    fn every_sequence_is_in_one_batch_of_the_size() {
        let lengths = [3, 9, 0, 4, 4, 20, 1, 5];
        let batches = by_length(&lengths, 10);
        assert_eq!(batches, [vec![5], vec![1], vec![7, 3], vec![4, 0, 6, 2]]);
        assert_eq!(by_length(&[], 10), Vec::<Vec<usize>>::new());
    }
}
