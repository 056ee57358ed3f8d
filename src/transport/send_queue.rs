//! The one system call that no safe crate offers: how long a socket's send queue is.

use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ` of tcp(7), the same number as `TIOCOUTQ`.
#[cfg(target_os = "linux")]
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes that were written to the socket and not yet acknowledged by the peer's kernel.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "SIOCOUTQ writes one int, which is the whole contract; no crate wraps it")]
pub fn length(socket: BorrowedFd<'_>) -> io::Result<usize> {
    // SAFETY: the opcode is SIOCOUTQ, whose argument is a pointer to an int, which `Getter` provides.
    let length = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }?;
    Ok(usize::try_from(length).unwrap_or(0))
}

/// Elsewhere the send queue can't be asked for.
#[cfg(not(target_os = "linux"))]
pub fn length(_socket: BorrowedFd<'_>) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}
