//! PEM blocks: from `-----BEGIN` to `-----END …-----`, over several arguments if a shell split them, and to the very
//! end if the end is missing (cut off, or never there).

use super::{MASKED, find};

/// Where in a block the arguments stand.
#[derive(Default)]
pub(super) struct Block {
    state: State,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Outside,
    Inside,
    /// `-----END` was seen, the dashes after it not yet.
    Ending,
}

impl Block {
    /// The argument without blocks.
    pub(super) fn mask(&mut self, argument: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(argument.len());
        let mut at = 0;
        loop {
            match self.state {
                State::Outside => {
                    let Some(begin) = either(argument, [b"-----BEGIN", b"---- BEGIN"], at) else {
                        masked.extend_from_slice(argument.get(at..).unwrap_or_default());
                        return masked;
                    };
                    masked.extend_from_slice(argument.get(at..begin).unwrap_or_default());
                    masked.extend_from_slice(MASKED);
                    self.state = State::Inside;
                    at = begin + 10;
                }
                State::Inside => {
                    if at == 0 && !argument.is_empty() {
                        masked.extend_from_slice(MASKED);
                    }
                    let Some(end) = either(argument, [b"-----END", b"---- END"], at) else { return masked };
                    self.state = State::Ending;
                    at = end + 8;
                }
                State::Ending => {
                    if at == 0 && !argument.is_empty() {
                        masked.extend_from_slice(MASKED);
                    }
                    let Some(dashes) = find(argument, b"----", at) else { return masked };
                    self.state = State::Outside;
                    at = dashes;
                    while argument.get(at) == Some(&b'-') {
                        at += 1;
                    }
                    if either(argument, [b"BEGIN", b" BEGIN"], at) == Some(at) {
                        // The next block begins with the dashes that ended this one.
                        self.state = State::Inside;
                    }
                }
            }
        }
    }
}

fn either<const N: usize>(text: &[u8], needles: [&[u8]; N], from: usize) -> Option<usize> {
    needles.into_iter().filter_map(|needle| find(text, needle, from)).min()
}
