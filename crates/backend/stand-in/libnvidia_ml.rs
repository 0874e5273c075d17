//! Stand-in for the NVIDIA management library (NVML): it lists the simulated devices, idle and empty.
//! Names, numbers and signatures follow the NVML API reference. A call that is not here is one that a
//! program finds missing, as with an old driver.
#![no_std]
#![allow(non_snake_case)]

mod devices;
mod sys;
mod version;

use core::ffi::{c_char, c_int, c_uint, c_ulonglong};
use core::sync::atomic::{AtomicU32, Ordering};
use devices::Device;

type NvmlReturn = c_uint;
const SUCCESS: NvmlReturn = 0;
const UNINITIALIZED: NvmlReturn = 1;
const INVALID_ARGUMENT: NvmlReturn = 2;
const NOT_SUPPORTED: NvmlReturn = 3;
const NOT_FOUND: NvmlReturn = 6;
const INSUFFICIENT_SIZE: NvmlReturn = 7;
const ARGUMENT_VERSION_MISMATCH: NvmlReturn = 25;

/// An opaque device handle: the minor number plus one, so that it is never null.
type Handle = usize;

#[repr(C)]
pub struct Memory {
    total: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

#[repr(C)]
pub struct MemoryV2 {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

#[repr(C)]
pub struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

/// nvmlInit and nvmlShutdown nest: the library works as long as this is above zero.
static USERS: AtomicU32 = AtomicU32::new(0);

fn initialised() -> Result<(), NvmlReturn> {
    if USERS.load(Ordering::Acquire) == 0 {
        Err(UNINITIALIZED)
    } else {
        Ok(())
    }
}

fn device(handle: Handle) -> Result<Device, NvmlReturn> {
    initialised()?;
    let minor = handle
        .checked_sub(1)
        .and_then(|minor| u32::try_from(minor).ok());
    minor.and_then(devices::by_minor).ok_or(INVALID_ARGUMENT)
}

/// Stores a result where the caller asked for it.
///
/// # Safety
/// `to` must be null or valid for a write, as NVML demands of its callers.
unsafe fn give<T>(to: *mut T, value: Result<T, NvmlReturn>) -> NvmlReturn {
    match value {
        Ok(_) if to.is_null() => INVALID_ARGUMENT,
        Ok(value) => {
            unsafe { to.write(value) };
            SUCCESS
        }
        Err(code) => code,
    }
}

/// Stores a text and its NUL.
///
/// # Safety
/// `to` must be null or valid for `length` bytes.
unsafe fn give_text(to: *mut c_char, length: c_uint, text: &[u8]) -> NvmlReturn {
    if to.is_null() {
        return INVALID_ARGUMENT;
    }
    if text.len() >= length as usize {
        return INSUFFICIENT_SIZE;
    }
    for (place, &byte) in text.iter().chain(&[0]).enumerate() {
        unsafe { to.add(place).write(byte as c_char) };
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> NvmlReturn {
    USERS.fetch_add(1, Ordering::AcqRel);
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit() -> NvmlReturn {
    nvmlInit_v2()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> NvmlReturn {
    nvmlInit_v2()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> NvmlReturn {
    let less = |users: u32| users.checked_sub(1);
    match USERS.fetch_update(Ordering::AcqRel, Ordering::Acquire, less) {
        Ok(_) => SUCCESS,
        Err(_) => UNINITIALIZED,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, length: c_uint) -> NvmlReturn {
    match initialised() {
        Ok(()) => unsafe { give_text(to, length, version::DRIVER_VERSION.as_bytes()) },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetNVMLVersion(to: *mut c_char, length: c_uint) -> NvmlReturn {
    unsafe { give_text(to, length, b"12.535.129.03") }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion(to: *mut c_int) -> NvmlReturn {
    unsafe { give(to, Ok(version::CUDA_VERSION)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(to: *mut c_int) -> NvmlReturn {
    unsafe { give(to, Ok(version::CUDA_VERSION)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(to: *mut c_uint) -> NvmlReturn {
    unsafe { give(to, initialised().map(|()| devices::all().count() as c_uint)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount(to: *mut c_uint) -> NvmlReturn {
    unsafe { nvmlDeviceGetCount_v2(to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    to: *mut Handle,
) -> NvmlReturn {
    let found = initialised().and_then(|()| {
        let device = devices::all().nth(index as usize).ok_or(INVALID_ARGUMENT)?;
        Ok(device.minor as usize + 1)
    });
    unsafe { give(to, found) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex(index: c_uint, to: *mut Handle) -> NvmlReturn {
    unsafe { nvmlDeviceGetHandleByIndex_v2(index, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    to: *mut Handle,
) -> NvmlReturn {
    if uuid.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: NVML demands a NUL-terminated string; the comparison stops at the first difference.
    let same = |device: &Device| {
        let wanted = device.uuid.bytes().iter().chain(&[0]);
        wanted
            .enumerate()
            .all(|(place, &byte)| unsafe { *uuid.add(place) } as u8 == byte)
    };
    let found = initialised().and_then(|()| {
        let device = devices::all().find(same).ok_or(NOT_FOUND)?;
        Ok(device.minor as usize + 1)
    });
    unsafe { give(to, found) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetIndex(handle: Handle, to: *mut c_uint) -> NvmlReturn {
    let index = device(handle).map(|device| {
        devices::all()
            .take_while(|other| other.minor < device.minor)
            .count() as c_uint
    });
    unsafe { give(to, index) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMinorNumber(handle: Handle, to: *mut c_uint) -> NvmlReturn {
    unsafe { give(to, device(handle).map(|device| device.minor)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(
    handle: Handle,
    to: *mut c_char,
    length: c_uint,
) -> NvmlReturn {
    match device(handle) {
        Ok(device) => unsafe { give_text(to, length, device.name.bytes()) },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(
    handle: Handle,
    to: *mut c_char,
    length: c_uint,
) -> NvmlReturn {
    match device(handle) {
        Ok(device) => unsafe { give_text(to, length, device.uuid.bytes()) },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo(handle: Handle, to: *mut Memory) -> NvmlReturn {
    let memory = device(handle).map(|device| Memory {
        total: device.memory_bytes,
        free: device.memory_bytes,
        used: 0,
    });
    unsafe { give(to, memory) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    handle: Handle,
    to: *mut MemoryV2,
) -> NvmlReturn {
    if to.is_null() {
        return INVALID_ARGUMENT;
    }
    // NVML's structs that grew carry their size and version, set by the caller.
    let version = size_of::<MemoryV2>() as c_uint | 2 << 24;
    // SAFETY: the caller filled in `version` before the call, as NVML demands.
    if unsafe { (*to).version } != version {
        return ARGUMENT_VERSION_MISMATCH;
    }
    let memory = device(handle).map(|device| MemoryV2 {
        version,
        total: device.memory_bytes,
        reserved: 0,
        free: device.memory_bytes,
        used: 0,
    });
    unsafe { give(to, memory) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(
    handle: Handle,
    to: *mut Utilization,
) -> NvmlReturn {
    unsafe {
        give(
            to,
            device(handle).map(|_| Utilization { gpu: 0, memory: 0 }),
        )
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(code: NvmlReturn) -> *const c_char {
    let text: &[u8] = match code {
        SUCCESS => b"Success\0",
        UNINITIALIZED => b"Uninitialized\0",
        INVALID_ARGUMENT => b"Invalid Argument\0",
        NOT_SUPPORTED => b"Not Supported\0",
        NOT_FOUND => b"Not Found\0",
        INSUFFICIENT_SIZE => b"Insufficient Size\0",
        ARGUMENT_VERSION_MISMATCH => b"Argument Version Mismatch\0",
        _ => b"Unknown Error\0",
    };
    text.as_ptr().cast()
}
