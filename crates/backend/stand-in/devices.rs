//! Which simulated devices this container has: those whose node `/dev/nvidiaN` it sees and whose
//! description `N` was mounted beside the driver. Read anew on each call, so there is no state.
#![allow(dead_code)] // compiled into three programs, each of which uses its part

use crate::sys;
use crate::version::{DEVICE_FILES, MAX_DEVICES};

/// A short string without an allocator.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; 96],
    length: usize,
}

impl Text {
    pub const EMPTY: Text = Text {
        bytes: [0; 96],
        length: 0,
    };

    /// Appends, dropping what does not fit.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.length < self.bytes.len() {
                self.bytes[self.length] = byte;
                self.length += 1;
            }
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// One simulated device.
#[derive(Clone, Copy)]
pub struct Device {
    /// The N of `/dev/nvidiaN`.
    pub minor: u32,
    pub name: Text,
    pub uuid: Text,
    pub memory_bytes: u64,
}

/// The device behind `/dev/nvidia{minor}`, if this container has it.
pub fn by_minor(minor: u32) -> Option<Device> {
    if !sys::exists(path(b"/dev/nvidia", minor).bytes()) {
        return None;
    }
    let mut folder = Text::EMPTY;
    folder.push(DEVICE_FILES.as_bytes());
    folder.push(b"/");
    let mut buffer = [0; 512];
    let text = sys::read_file(path(folder.bytes(), minor).bytes(), &mut buffer)?;
    let mut device = Device {
        minor,
        name: Text::EMPTY,
        uuid: Text::EMPTY,
        memory_bytes: 0,
    };
    for line in text.split(|&byte| byte == b'\n') {
        if let Some(value) = line.strip_prefix(b"name=") {
            device.name.push(value);
        } else if let Some(value) = line.strip_prefix(b"uuid=") {
            device.uuid.push(value);
        } else if let Some(value) = line.strip_prefix(b"memory_bytes=") {
            device.memory_bytes = number(value)?;
        }
    }
    Some(device)
}

/// All devices of this container. A device's place in this order is its index for CUDA and NVML.
pub fn all() -> impl Iterator<Item = Device> {
    (0..MAX_DEVICES).filter_map(by_minor)
}

fn path(prefix: &[u8], number: u32) -> Text {
    let mut path = Text::EMPTY;
    path.push(prefix);
    if number >= 10 {
        path.push(&[b'0' + (number / 10 % 10) as u8]);
    }
    path.push(&[b'0' + (number % 10) as u8, 0]);
    path
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}
