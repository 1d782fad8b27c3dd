//! Masking: any bytes are survived, masking twice is masking once, and a key or token never shows, whatever stands
//! around it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_monitor::{event::Bytes, sensor::mask};

/// The part of the planted secrets that must not show. No input is likely to have it by itself.
const BODY: &[u8] = b"ZQ7XJ2ZQ9XK4ZQ7X";

fuzz_target!(|input: &[u8]| {
    let [how, place, text @ ..] = input else { return };
    let _ = mask::arguments(text, true);
    let once = mask::arguments(text, false);
    assert_eq!(mask::arguments(&joined(&once), false), once, "arguments change when masked again");
    let once = mask::text(text);
    assert_eq!(mask::text(once.as_slice()), once, "a text changes when masked again");
    let once = mask::domain_name(text);
    assert_eq!(mask::domain_name(once.as_slice()), once, "a domain name changes when masked again");

    if has(text, BODY) {
        return;
    }
    let secret: Vec<u8> = if how & 1 == 0 {
        [b"AKIA", BODY].concat()
    } else {
        [b"-----BEGIN OPENSSH PRIVATE KEY-----\n", BODY, b"\n-----END OPENSSH PRIVATE KEY-----\n"].concat()
    };
    let (before, after) = text.split_at(usize::from(*place).min(text.len()));
    let planted = [before, &secret, after].concat();
    for truncated in [false, true] {
        assert!(!has(&joined(&mask::arguments(&planted, truncated)), BODY), "a secret shows in arguments");
    }
    assert!(!has(mask::text(&planted).as_slice(), BODY), "a secret shows in a text");
});

fn joined(list: &[Bytes]) -> Vec<u8> {
    list.iter().flat_map(|argument| [argument.as_slice(), b"\0"].concat()).collect()
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
