//! Whether a call of io_uring shows that the program uses it: connections that it accepts that way are in no line.

use crate::parse::cursor::Cursor;

/// Errors of io_uring_enter that tell that there is no ring.
const NO_RING: [&[u8]; 5] = [b"EBADF ", b"ENOSYS ", b"EPERM ", b"EACCES ", b"EOPNOTSUPP "];

/// Whether io_uring_setup or io_uring_enter (`name`) has a ring, by its arguments and its result. Half a call that sets
/// up a ring shows nothing.
pub(super) fn is_used(name: &[u8], text: &[u8]) -> bool {
    let result = memchr::memmem::rfind(text, b"= ").map(|at| Cursor(&text[at + 2..]));
    let has_failed = |mut result: Cursor<'_>| result.eat(b"-1 ") || result.eat(b"?");
    if name == b"io_uring_setup" {
        return result.is_some_and(|result| !has_failed(result));
    }
    !result.is_some_and(|mut result| {
        result.eat(b"-1 ") && NO_RING.iter().any(|error| result.0.starts_with(error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_used_unless_the_kernel_refused_it() {
        for (name, text, used) in [
            ("io_uring_setup", "64, {flags=0}) = 4", true),
            ("io_uring_setup", "64, 0x7ffe) = 4<anon_inode:[io_uring]> <0.000046>", true),
            ("io_uring_setup", "64, 0x7ffe) = -1 EPERM (Operation not permitted)", false),
            (
                "io_uring_setup",
                "64, 0x7ffe) = -1 ENOSYS (Function not implemented) <0.000003>",
                false,
            ),
            ("io_uring_setup", "64,  <unfinished ...>", false),
            ("io_uring_setup", ", 0x7ffe) = -1 EPERM (Operation not permitted)", false),
            ("io_uring_setup", ", {sq_off={head=0}}) = 4", true),
            ("io_uring_enter", "-1, 0, 0, 0, NULL, 8) = -1 EBADF (Bad file descriptor)", false),
            ("io_uring_enter", "4, 1, 1, IORING_ENTER_GETEVENTS, NULL, 8) = 1", true),
            ("io_uring_enter", "4, 1, 1, 0, NULL, 8) = -1 EINTR (Interrupted system call)", true),
            ("io_uring_enter", "4, 1, 1, 0, NULL, 8 <unfinished ...>", true),
        ] {
            assert_eq!(is_used(name.as_bytes(), text.as_bytes()), used, "{name}({text}");
        }
    }
}
