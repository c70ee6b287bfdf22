//! Which start of the machine this is: a ring lives no longer than one.

use std::io;
use std::path::Path;

use crate::error::RingError;
use crate::mapping::io_error;

/// The kernel's number of this boot.
#[cfg(target_os = "linux")]
pub(crate) fn boot_id() -> Result<[u8; 16], RingError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(io_error("read", path))?;
    parse(&text, path)
}

/// The kernel's number of this boot.
#[cfg(target_os = "macos")]
pub(crate) fn boot_id() -> Result<[u8; 16], RingError> {
    let name = c"kern.bootsessionuuid";
    let mut text = [0u8; 64];
    let mut size = text.len();
    // SAFETY: the name ends with a zero, and the buffer has the size said.
    let result =
        unsafe { libc::sysctlbyname(name.as_ptr(), text.as_mut_ptr().cast(), &raw mut size, std::ptr::null_mut(), 0) };
    let path = Path::new("kern.bootsessionuuid");
    if result != 0 {
        return Err(io_error("read", path)(io::Error::last_os_error()));
    }
    parse(&String::from_utf8_lossy(&text[..size.min(text.len())]), path)
}

/// Of a UUID as text.
fn parse(text: &str, path: &Path) -> Result<[u8; 16], RingError> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digits = std::str::from_utf8(&digits).expect("hexadecimal digits are text");
    let number = u128::from_str_radix(digits, 16).map_err(|error| io_error("read", path)(io::Error::other(error)))?;
    Ok(number.to_be_bytes())
}
