//! Stand-in for the CUDA driver library: it names the simulated devices and refuses all work.
//! Names, numbers and signatures follow the CUDA driver API reference.
#![no_std]
#![allow(non_snake_case)]

mod devices;
mod sys;
mod version;

use core::ffi::{c_char, c_int, c_uint};
use core::sync::atomic::{AtomicBool, Ordering};
use devices::Device;

type CuResult = c_uint;
const SUCCESS: CuResult = 0;
const INVALID_VALUE: CuResult = 1;
const NOT_INITIALIZED: CuResult = 3;
const NO_DEVICE: CuResult = 100;
const INVALID_DEVICE: CuResult = 101;
const NOT_SUPPORTED: CuResult = 801;

static INITIALISED: AtomicBool = AtomicBool::new(false);

fn device(ordinal: c_int) -> Result<Device, CuResult> {
    if !INITIALISED.load(Ordering::Acquire) {
        return Err(NOT_INITIALIZED);
    }
    usize::try_from(ordinal)
        .ok()
        .and_then(|n| devices::all().nth(n))
        .ok_or(INVALID_DEVICE)
}

/// Stores a result where the caller asked for it.
///
/// # Safety
/// `to` must be null or valid for a write, as the CUDA API demands of its callers.
unsafe fn give<T>(to: *mut T, value: Result<T, CuResult>) -> CuResult {
    match value {
        Ok(_) if to.is_null() => INVALID_VALUE,
        Ok(value) => {
            unsafe { to.write(value) };
            SUCCESS
        }
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: c_uint) -> CuResult {
    if flags != 0 {
        return INVALID_VALUE;
    }
    if devices::all().next().is_none() {
        return NO_DEVICE;
    }
    INITIALISED.store(true, Ordering::Release);
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(to: *mut c_int) -> CuResult {
    unsafe { give(to, Ok(version::CUDA_VERSION)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(to: *mut c_int) -> CuResult {
    if !INITIALISED.load(Ordering::Acquire) {
        return NOT_INITIALIZED;
    }
    unsafe { give(to, Ok(devices::all().count() as c_int)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(to: *mut c_int, ordinal: c_int) -> CuResult {
    unsafe { give(to, device(ordinal).map(|_| ordinal)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(
    to: *mut c_char,
    length: c_int,
    ordinal: c_int,
) -> CuResult {
    let device = match device(ordinal) {
        Ok(device) => device,
        Err(code) => return code,
    };
    if to.is_null() || length < 1 {
        return INVALID_VALUE;
    }
    let name = device.name.bytes();
    let fits = name.len().min(length as usize - 1);
    for (place, &byte) in name[..fits].iter().chain(&[0]).enumerate() {
        // SAFETY: the caller gave `length` bytes, and `fits` plus the NUL stay within them.
        unsafe { to.add(place).write(byte as c_char) };
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(to: *mut usize, ordinal: c_int) -> CuResult {
    unsafe {
        give(
            to,
            device(ordinal).map(|device| device.memory_bytes as usize),
        )
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem(to: *mut c_uint, ordinal: c_int) -> CuResult {
    // The first version of this call holds 32 bits; the real driver saturates too.
    let total = device(ordinal).map(|d| c_uint::try_from(d.memory_bytes).unwrap_or(c_uint::MAX));
    unsafe { give(to, total) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid(to: *mut [u8; 16], ordinal: c_int) -> CuResult {
    unsafe {
        give(
            to,
            device(ordinal).map(|device| uuid_bytes(device.uuid.bytes())),
        )
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid_v2(to: *mut [u8; 16], ordinal: c_int) -> CuResult {
    unsafe { cuDeviceGetUuid(to, ordinal) }
}

/// The 16 bytes of `GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
fn uuid_bytes(text: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let digits = text.strip_prefix(b"GPU-").unwrap_or(text).iter();
    let digits = digits.filter_map(|&digit| (digit as char).to_digit(16));
    for (place, digit) in digits.take(32).enumerate() {
        bytes[place / 2] = bytes[place / 2] << 4 | digit as u8;
    }
    bytes
}

fn error_text(code: CuResult) -> Option<(&'static [u8], &'static [u8])> {
    Some(match code {
        SUCCESS => (b"CUDA_SUCCESS\0", b"no error\0"),
        INVALID_VALUE => (b"CUDA_ERROR_INVALID_VALUE\0", b"invalid argument\0"),
        NOT_INITIALIZED => (b"CUDA_ERROR_NOT_INITIALIZED\0", b"initialization error\0"),
        NO_DEVICE => (
            b"CUDA_ERROR_NO_DEVICE\0",
            b"no simulated GPU is attached to this container\0",
        ),
        INVALID_DEVICE => (b"CUDA_ERROR_INVALID_DEVICE\0", b"invalid device ordinal\0"),
        NOT_SUPPORTED => (
            b"CUDA_ERROR_NOT_SUPPORTED\0",
            b"this GPU is simulated by homerun: no CUDA work can run on it\0",
        ),
        _ => return None,
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(code: CuResult, to: *mut *const c_char) -> CuResult {
    unsafe {
        give(
            to,
            error_text(code)
                .map(|text| text.0.as_ptr().cast())
                .ok_or(INVALID_VALUE),
        )
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(code: CuResult, to: *mut *const c_char) -> CuResult {
    unsafe {
        give(
            to,
            error_text(code)
                .map(|text| text.1.as_ptr().cast())
                .ok_or(INVALID_VALUE),
        )
    }
}

/// Calls that would need a GPU. Their arguments are never looked at.
macro_rules! refuse {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> CuResult {
            NOT_SUPPORTED
        }
    )* };
}

refuse! {
    cuCtxCreate cuCtxCreate_v2 cuCtxCreate_v3 cuCtxDestroy cuCtxDestroy_v2 cuCtxGetCurrent
    cuCtxSetCurrent cuCtxPushCurrent cuCtxPushCurrent_v2 cuCtxPopCurrent cuCtxPopCurrent_v2
    cuCtxGetDevice cuCtxSynchronize cuCtxGetApiVersion
    cuDeviceGetAttribute cuDeviceGetProperties cuDeviceComputeCapability cuDeviceGetPCIBusId
    cuDeviceGetByPCIBusId cuDeviceCanAccessPeer cuDevicePrimaryCtxRetain
    cuDevicePrimaryCtxRelease cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxReset
    cuDevicePrimaryCtxReset_v2 cuDevicePrimaryCtxGetState cuDevicePrimaryCtxSetFlags
    cuDevicePrimaryCtxSetFlags_v2 cuDeviceGetDefaultMemPool cuDeviceGetMemPool
    cuGetProcAddress cuGetProcAddress_v2 cuGetExportTable
    cuMemAlloc cuMemAlloc_v2 cuMemAllocAsync cuMemAllocHost cuMemAllocHost_v2 cuMemAllocManaged
    cuMemAllocPitch cuMemAllocPitch_v2 cuMemFree cuMemFree_v2 cuMemFreeAsync cuMemFreeHost
    cuMemHostAlloc cuMemHostRegister cuMemHostRegister_v2 cuMemHostUnregister cuMemGetInfo
    cuMemGetInfo_v2 cuMemcpy cuMemcpyAsync cuMemcpyHtoD cuMemcpyHtoD_v2 cuMemcpyHtoDAsync
    cuMemcpyHtoDAsync_v2 cuMemcpyDtoH cuMemcpyDtoH_v2 cuMemcpyDtoHAsync cuMemcpyDtoHAsync_v2
    cuMemcpyDtoD cuMemcpyDtoD_v2 cuMemcpyDtoDAsync cuMemcpyDtoDAsync_v2 cuMemsetD8
    cuMemsetD8_v2 cuMemsetD8Async cuMemsetD32 cuMemsetD32_v2 cuMemsetD32Async cuMemCreate
    cuMemRelease cuMemMap cuMemUnmap cuMemAddressReserve cuMemAddressFree
    cuModuleLoad cuModuleLoadData cuModuleLoadDataEx cuModuleLoadFatBinary cuModuleUnload
    cuModuleGetFunction cuModuleGetGlobal cuModuleGetGlobal_v2 cuLibraryLoadData
    cuLibraryLoadFromFile cuLinkCreate cuLinkCreate_v2 cuLinkAddData cuLinkAddData_v2
    cuLinkComplete cuLinkDestroy cuFuncGetAttribute cuFuncSetAttribute
    cuLaunchKernel cuLaunchKernelEx cuLaunchCooperativeKernel cuLaunchHostFunc
    cuStreamCreate cuStreamCreateWithPriority cuStreamDestroy cuStreamDestroy_v2
    cuStreamSynchronize cuStreamQuery cuStreamWaitEvent cuEventCreate cuEventDestroy
    cuEventDestroy_v2 cuEventRecord cuEventSynchronize cuEventQuery cuEventElapsedTime
    cuPointerGetAttribute cuPointerGetAttributes cuGraphCreate cuGraphInstantiate cuGraphLaunch
    cuOccupancyMaxActiveBlocksPerMultiprocessor cuOccupancyMaxPotentialBlockSize
}
