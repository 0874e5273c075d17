//! The `Date` header, which a response without one is given (RFC 9110, section 6.6.1).

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use super::response::write_line;

thread_local! {
    /// The second that was written last, and its text.
    static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Writes the header.
pub(super) fn write(out: &mut Vec<u8>) {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second {
            (*last, *text) = (second, httpdate::fmt_http_date(now));
        }
        write_line(out, b"date", text.as_bytes());
    });
}
