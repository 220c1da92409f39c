//! Huffman codes as DEFLATE sends them: lengths for counts, canonical codes for lengths, runs of lengths.

/// Lengths of a Huffman code for these counts, none above `limit`; 0 for what does not occur. A symbol alone gets
/// a code of one bit and a partner that is never sent.
pub(super) fn code_lengths(counts: &[u32], limit: usize) -> Vec<u8> {
    let mut symbols: Vec<usize> = (0..counts.len()).filter(|symbol| counts[*symbol] > 0).collect();
    for symbol in 0..counts.len() {
        if symbols.len() >= 2 {
            break;
        }
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    symbols.sort_by_key(|symbol| (counts[*symbol], *symbol));
    let mut per_length = depths(
        &symbols
            .iter()
            .map(|symbol| u64::from(counts[*symbol]))
            .collect::<Vec<_>>(),
    );
    shorten(&mut per_length, limit);
    let mut lengths = vec![0; counts.len()];
    let mut rarest_first = symbols.into_iter();
    for length in (1..per_length.len()).rev() {
        for symbol in rarest_first.by_ref().take(per_length[length]) {
            lengths[symbol] = length as u8;
        }
    }
    lengths
}

/// How many leaves a Huffman tree over ascending `weights` has at each depth (the two-queue method).
fn depths(weights: &[u64]) -> Vec<usize> {
    let leaves = weights.len();
    let mut weight = weights.to_vec();
    let mut parent = vec![0; 2 * leaves - 1];
    let (mut leaf, mut inner) = (0, leaves);
    for node in leaves..2 * leaves - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            let take_leaf = leaf < leaves && (inner >= node || weight[leaf] <= weight[inner]);
            let next = if take_leaf { &mut leaf } else { &mut inner };
            parent[*next] = node;
            sum += weight[*next];
            *next += 1;
        }
        weight.push(sum);
    }
    let mut depth = vec![0usize; 2 * leaves - 1];
    let mut per_length = vec![0; leaves.max(2)];
    for node in (0..2 * leaves - 2).rev() {
        depth[node] = depth[parent[node]] + 1;
        if node < leaves {
            per_length[depth[node]] += 1;
        }
    }
    per_length
}

/// Moves leaves that lie too deep up to `limit`, then makes room by moving others down, until the code is complete.
fn shorten(per_length: &mut Vec<usize>, limit: usize) {
    if per_length.len() <= limit + 1 {
        return;
    }
    let deep: usize = per_length.drain(limit + 1..).sum();
    per_length[limit] += deep;
    // Kraft's sum in units of 2^-limit; a complete code has exactly 2^limit.
    let mut sum: usize = (1..=limit).map(|length| per_length[length] << (limit - length)).sum();
    while sum > 1 << limit {
        // A leaf from the deepest level above the last becomes an inner node: it and one from the last are its
        // children.
        let length = (1..limit)
            .rev()
            .find(|length| per_length[*length] > 0)
            .expect("fewer symbols than codes");
        per_length[length] -= 1;
        per_length[length + 1] += 2;
        per_length[limit] -= 1;
        sum -= 1;
    }
}

/// A symbol's code, its bits reversed as they are sent.
#[derive(Clone, Copy, Default)]
pub(super) struct Code {
    pub bits: u32,
    pub length: u32,
}

/// The canonical code of RFC 1951, 3.2.2.
pub(super) fn codes(lengths: &[u8]) -> Vec<Code> {
    let mut next = [0u32; 17];
    for length in 1..=15 {
        let shorter = lengths.iter().filter(|l| usize::from(**l) == length).count() as u32;
        next[length + 1] = (next[length] + shorter) << 1;
    }
    lengths
        .iter()
        .map(|length| {
            let length = u32::from(*length);
            if length == 0 {
                return Code::default();
            }
            let code = next[length as usize];
            next[length as usize] += 1;
            Code {
                bits: code.reverse_bits() >> (32 - length),
                length,
            }
        })
        .collect()
}

/// Code lengths as symbols of the length code, each with its extra bits: runs of zeros (17, 18) and repeats (16).
pub(super) fn run_lengths(lengths: &[u8]) -> Vec<(u8, u8, u32)> {
    let mut out = Vec::new();
    let mut rest = lengths;
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|length| *length == first).count();
        let used = match (first, run) {
            (0, 11..) => {
                let run = run.min(138);
                out.push((18, (run - 11) as u8, 7));
                run
            }
            (0, 3..) => {
                out.push((17, (run - 3) as u8, 3));
                run
            }
            (_, 4..) => {
                let run = run.min(7);
                out.push((*first, 0, 0));
                out.push((16, (run - 4) as u8, 2));
                run
            }
            _ => {
                out.push((*first, 0, 0));
                1
            }
        };
        rest = &rest[used..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts like Fibonacci's numbers make the deepest trees: lengths must stop at the limit and stay a code.
    #[test]
    fn deep_trees_are_cut_to_a_complete_code() {
        for (symbols, limit) in [(19, 7), (25, 14), (40, 14)] {
            let mut counts = vec![1u32, 1];
            while counts.len() < symbols {
                counts.push(counts[counts.len() - 1].saturating_add(counts[counts.len() - 2]));
            }
            let lengths = code_lengths(&counts, limit);
            assert!(
                lengths
                    .iter()
                    .all(|length| usize::from(*length) <= limit && *length > 0)
            );
            let kraft: f64 = lengths.iter().map(|length| 0.5f64.powi(i32::from(*length))).sum();
            assert_eq!(kraft, 1.0, "{symbols} symbols");
        }
    }
}
