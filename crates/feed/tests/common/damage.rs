//! Ways in which messages are damaged between a venue and us.

use tidebook_testkit::Random;

use super::Message;

/// What happens to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    Drop,
    Repeat,
    Swap,
    Cut { size: usize },
    Change { at: usize, byte: u8 },
}

impl Damage {
    pub fn any(random: &mut Random, message: &Message) -> Self {
        match random.below(8) {
            _ if message.body.is_empty() => Self::Drop,
            0 => Self::Drop,
            1 => Self::Repeat,
            2 => Self::Swap,
            3 => Self::Cut { size: random.index(message.body.len().max(1)) },
            _ => {
                let at = random.index(message.body.len());
                let old = message.body[at];
                // Half of the time a digit becomes another digit, which no syntax check can see.
                let byte = if old.is_ascii_digit() && random.below(2) == 0 {
                    b'0' + (old - b'0' + 1 + random.below(9) as u8) % 10
                } else {
                    old ^ (1 + random.below(255) as u8)
                };
                Self::Change { at, byte }
            }
        }
    }

    /// Damages the message at `index`; `of` finds the message in what the list holds.
    pub fn apply<T: Clone>(self, messages: &mut Vec<T>, index: usize, of: impl Fn(&mut T) -> &mut Message) {
        match self {
            Self::Drop => drop(messages.remove(index)),
            Self::Repeat => messages.insert(index + 1, messages[index].clone()),
            Self::Swap => messages.swap(index, index + 1),
            Self::Cut { size } => of(&mut messages[index]).body.truncate(size),
            Self::Change { at, byte } => of(&mut messages[index]).body[at] = byte,
        }
    }
}

/// The last key before a byte of a JSON text.
pub fn key_at(body: &str, at: usize) -> Option<&str> {
    let colon = body[..at].rfind("\":")?;
    let quote = body[..colon].rfind('"')?;
    Some(&body[quote + 1..colon])
}
