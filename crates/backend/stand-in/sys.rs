//! Linux without a C library: the system calls that the stand-in driver makes, and the symbols that
//! rustc expects to find in one. With nothing to link, the same file loads under glibc, under musl and
//! in an image that has neither.

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const CLOSE: usize = 3;
    pub const OPENAT: usize = 257;
    pub const FACCESSAT: usize = 269;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const READ: usize = 63;
    pub const CLOSE: usize = 57;
    pub const OPENAT: usize = 56;
    pub const FACCESSAT: usize = 48;
}

const AT_FDCWD: usize = -100isize as usize;
const O_CLOEXEC: usize = 0o2000000;

/// # Safety
/// The arguments must be what the system call `nr` expects: pointers valid for the lengths given.
#[cfg(target_arch = "x86_64")]
pub unsafe fn syscall(nr: usize, args: [usize; 4]) -> isize {
    let result: isize;
    unsafe {
        asm!("syscall", inlateout("rax") nr as isize => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// # Safety
/// The arguments must be what the system call `nr` expects: pointers valid for the lengths given.
#[cfg(target_arch = "aarch64")]
pub unsafe fn syscall(nr: usize, args: [usize; 4]) -> isize {
    let result: isize;
    unsafe {
        asm!("svc 0", in("x8") nr, inlateout("x0") args[0] => result,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], options(nostack));
    }
    result
}

/// Whether a NUL-terminated path exists.
pub fn exists(path: &[u8]) -> bool {
    // SAFETY: the callers in devices.rs end their paths with NUL.
    unsafe { syscall(number::FACCESSAT, [AT_FDCWD, path.as_ptr() as usize, 0, 0]) == 0 }
}

/// Reads the start of the file at a NUL-terminated path, as far as it fits.
pub fn read_file<'a>(path: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    // SAFETY: the callers in devices.rs end their paths with NUL.
    let fd = unsafe {
        syscall(
            number::OPENAT,
            [AT_FDCWD, path.as_ptr() as usize, O_CLOEXEC, 0],
        )
    };
    if fd < 0 {
        return None;
    }
    let mut length = 0;
    while length < buffer.len() {
        let rest = &mut buffer[length..];
        // SAFETY: `rest` is writable for its length.
        let got = unsafe {
            syscall(
                number::READ,
                [fd as usize, rest.as_mut_ptr() as usize, rest.len(), 0],
            )
        };
        if got <= 0 {
            break;
        }
        length += got as usize;
    }
    // SAFETY: the descriptor was opened above and is not used again.
    unsafe { syscall(number::CLOSE, [fd as usize, 0, 0, 0]) };
    buffer.get(..length)
}

// rustc turns copies and comparisons into calls of these. They are hidden: a library that exported
// them would replace those of the program that links it.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl memcpy, memmove, memset, memcmp, bcmp, strlen",
    ".hidden memcpy, memmove, memset, memcmp, bcmp, strlen",
    "memcpy:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    "memmove:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "cmp rdi, rsi",
    "jbe 2f",
    "lea rdi, [rdi + rcx - 1]",
    "lea rsi, [rsi + rcx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    "2:",
    "rep movsb",
    "ret",
    "memset:",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    "memcmp:",
    "bcmp:",
    "xor ecx, ecx",
    "3:",
    "cmp rcx, rdx",
    "je 4f",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "je 3b",
    "ret",
    "4:",
    "xor eax, eax",
    "ret",
    "strlen:",
    "xor eax, eax",
    "5:",
    "cmp byte ptr [rdi + rax], 0",
    "je 6f",
    "inc rax",
    "jmp 5b",
    "6:",
    "ret",
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl memcpy, memmove, memset, memcmp, bcmp, strlen",
    ".hidden memcpy, memmove, memset, memcmp, bcmp, strlen",
    "memcpy:",
    "memmove:",
    "cmp x0, x1",
    "b.hi 3f",
    "mov x3, #0",
    "2:",
    "cmp x3, x2",
    "b.eq 4f",
    "ldrb w4, [x1, x3]",
    "strb w4, [x0, x3]",
    "add x3, x3, #1",
    "b 2b",
    "3:",
    "cbz x2, 4f",
    "sub x2, x2, #1",
    "ldrb w4, [x1, x2]",
    "strb w4, [x0, x2]",
    "b 3b",
    "4:",
    "ret",
    "memset:",
    "mov x3, #0",
    "5:",
    "cmp x3, x2",
    "b.eq 6f",
    "strb w1, [x0, x3]",
    "add x3, x3, #1",
    "b 5b",
    "6:",
    "ret",
    "memcmp:",
    "bcmp:",
    "mov x3, #0",
    "7:",
    "cmp x3, x2",
    "b.eq 8f",
    "ldrb w4, [x0, x3]",
    "ldrb w5, [x1, x3]",
    "add x3, x3, #1",
    "subs w4, w4, w5",
    "b.eq 7b",
    "mov w0, w4",
    "ret",
    "8:",
    "mov w0, #0",
    "ret",
    "strlen:",
    "mov x1, x0",
    "mov x0, #0",
    "9:",
    "ldrb w2, [x1, x0]",
    "cbz w2, 10f",
    "add x0, x0, #1",
    "b 9b",
    "10:",
    "ret",
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: an undefined instruction ends the process, as an abort does.
    unsafe {
        asm!("ud2", options(noreturn))
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a breakpoint instruction without a debugger ends the process, as an abort does.
    unsafe {
        asm!("brk #1", options(noreturn))
    }
}
