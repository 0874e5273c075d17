//! What a container's program may not do.

use std::io;

use super::users::Account;

/// Capabilities that a container's root keeps, all of them only over its own namespaces: what image
/// entrypoints use to become another user, change owners and listen.
const KEPT: [u32; 10] = [
    0,  // CAP_CHOWN
    1,  // CAP_DAC_OVERRIDE
    3,  // CAP_FOWNER
    4,  // CAP_FSETID
    5,  // CAP_KILL
    6,  // CAP_SETGID
    7,  // CAP_SETUID
    8,  // CAP_SETPCAP
    10, // CAP_NET_BIND_SERVICE
    18, // CAP_SYS_CHROOT
];
/// One past the highest capability that kernels may know.
const CAPABILITIES: u32 = 64;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn prctl(option: i32, value: u64) -> io::Result<()> {
    // SAFETY: these options take numbers only.
    check(i64::from(unsafe { libc::prctl(option, value, 0_u64, 0_u64, 0_u64) }))
}

/// Lets go of what a process inherits from whoever started homerun, and a container must not: open
/// files (one folder of the host among them would lead out of any root), the umask, and the keyring of a
/// login. Nobody else may look into this process from now on.
pub(super) fn forget_origin() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    prctl(libc::PR_SET_DUMPABLE, 0)?;
    // SAFETY: nothing in this process owns a descriptor above the standard streams yet; the second call
    // takes a null name for a keyring without one.
    unsafe {
        check(libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32))?;
        match check(libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())) {
            // A kernel without keyrings.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            other => other,
        }
    }
}

/// Programs expect every signal to do what it does by default. Ignored ones stay ignored over exec, and
/// Rust's own start-up code ignores SIGPIPE.
pub(super) fn reset_signals() -> io::Result<()> {
    const SIGNALS: u64 = 64;
    // The kernel's own struct, all default; libc's call leaves out the signals that libc uses itself.
    let default = [0_u64; 4];
    let (null, set_bytes) = (std::ptr::null::<u64>(), SIGNALS / 8);
    for signal in 1..=SIGNALS {
        // SAFETY: the struct is complete and only read; SIGKILL and SIGSTOP are refused and need nothing.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), null, set_bytes) };
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Becomes id 0 of the user namespace.
pub(super) fn root_of_namespace() -> io::Result<()> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(0.into(), 0.into(), 0.into())?;
    nix::unistd::setresuid(0.into(), 0.into(), 0.into())?;
    Ok(())
}

/// Limits open files to `most`, or to what this process itself was given where that is less and may not
/// be raised. The helper does it: inside a user namespace nothing may be raised at all.
pub(super) fn limit_open_files(most: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the struct is complete, and only read here and only written by getrlimit.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0 {
            return Ok(());
        }
        check(i64::from(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit)))?;
        limit.rlim_cur = limit.rlim_max.min(most);
        limit.rlim_max = limit.rlim_cur;
        check(i64::from(libc::setrlimit(libc::RLIMIT_NOFILE, &limit)))
    }
}

/// Gives up everything that the program does not need, for good: capabilities, identity, new
/// privileges, system calls.
pub(super) fn confine(account: &Account, filter: &[u8]) -> io::Result<()> {
    for capability in (0..CAPABILITIES).filter(|capability| !KEPT.contains(capability)) {
        match prctl(libc::PR_CAPBSET_DROP, u64::from(capability)) {
            // The kernel knows fewer.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other?,
        }
    }
    let groups: Vec<nix::unistd::Gid> = account.groups.iter().map(|gid| (*gid).into()).collect();
    nix::unistd::setgroups(&groups)?;
    let (uid, gid) = (account.uid, account.gid);
    nix::unistd::setresgid(gid.into(), gid.into(), gid.into())?;
    nix::unistd::setresuid(uid.into(), uid.into(), uid.into())?;
    if uid == 0 {
        keep_capabilities()?;
    }
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    install(filter)
}

/// The bounding set limits what exec can give; what this process has now is limited here.
fn keep_capabilities() -> io::Result<()> {
    let kept = KEPT.iter().fold(0_u32, |set, capability| set | 1 << capability);
    let low = CapabilityData { effective: kept, permitted: kept, inheritable: 0 };
    let high = CapabilityData { effective: 0, permitted: 0, inheritable: 0 };
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    // SAFETY: version 3 takes two data structs.
    check(unsafe { libc::syscall(libc::SYS_capset, &header, [low, high].as_ptr()) })
}

/// Installs the compiled filter.
fn install(filter: &[u8]) -> io::Result<()> {
    let size = size_of::<libc::sock_filter>();
    if filter.is_empty() || !filter.len().is_multiple_of(size) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the system call filter is damaged"));
    }
    let instructions: Vec<libc::sock_filter> = filter
        .chunks_exact(size)
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let length =
        u16::try_from(instructions.len()).map_err(|_| io::Error::other("the system call filter is too long"))?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the program points to `len` instructions that live until the call returns; the kernel
    // copies and checks them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program) })
}
