//! An image's `USER`, looked up in the image's own files.

use std::io::Read;
use std::os::fd::BorrowedFd;

use nix::fcntl::OFlag;

use super::rooted;

/// Ids that a container has: 0 up to this. The kernel takes its highest number for "leave as it is".
const MOST: u32 = 65_535;

/// Whom the program runs as, in the container's ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home folder.
    pub home: String,
}

/// Resolves `USER`, `UID`, `USER:GROUP` or `UID:GID`.
pub(super) fn find(root: BorrowedFd<'_>, text: &str) -> Result<Account, String> {
    resolve(text, &read(root, "/etc/passwd"), &read(root, "/etc/group"))
}

fn read(root: BorrowedFd<'_>, path: &str) -> String {
    let mut text = String::new();
    // Images without these files are common; numbers need none.
    let file = rooted::open(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map(std::fs::File::from);
    if let Ok(mut bytes) = file.map(|file| file.take(4 << 20)) {
        let _ = bytes.read_to_string(&mut text);
    }
    text
}

fn resolve(text: &str, passwd: &str, group: &str) -> Result<Account, String> {
    let (user, wanted_group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let number: Option<u32> = user.parse().ok();
    let entry = passwd
        .lines()
        .map(fields)
        .find(|entry| entry.len() >= 6 && (entry[0] == user || (number.is_some() && entry[2].parse().ok() == number)));
    let uid = number
        .or_else(|| entry.as_ref().and_then(|entry| entry[2].parse().ok()))
        .ok_or_else(|| format!("the image's user '{user}' is not in its /etc/passwd"))?;
    let groups: Vec<Vec<String>> = group.lines().map(fields).filter(|entry| entry.len() >= 3).collect();
    let named = |name: &str| {
        let entry = groups.iter().find(|entry| entry[0] == name);
        name.parse().ok().or_else(|| entry.and_then(|entry| entry[2].parse().ok()))
    };
    let gid = match wanted_group {
        Some(name) if !name.is_empty() => {
            named(name).ok_or_else(|| format!("the image's group '{name}' is not in its /etc/group"))?
        }
        _ => entry.as_ref().and_then(|entry| entry[3].parse().ok()).unwrap_or(0),
    };
    if let Some(id) = [uid, gid].into_iter().find(|id| *id > MOST) {
        return Err(format!("the image's user '{text}' has the id {id}; containers have the ids 0 to {MOST}"));
    }
    let name = entry.as_ref().map(|entry| entry[0].clone());
    let member = |entry: &Vec<String>| {
        entry.get(3).is_some_and(|members| members.split(',').any(|member| Some(member) == name.as_deref()))
    };
    let supplementary = groups.iter().filter(|entry| wanted_group.is_none() && member(entry));
    let home = entry.map_or_else(|| "/".to_owned(), |entry| entry[5].clone());
    let groups = supplementary.filter_map(|entry| entry[2].parse().ok()).filter(|gid| *gid <= MOST).collect();
    Ok(Account { uid, gid, groups, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app,other\napp:x:1001:\n";

    fn account(uid: u32, gid: u32, groups: &[u32], home: &str) -> Account {
        Account { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
    }

    #[test]
    fn s04_users_by_name_and_number() {
        let table = [
            ("", account(0, 0, &[], "/root")),
            ("app", account(1000, 1001, &[50], "/home/app")),
            ("1000", account(1000, 1001, &[50], "/home/app")),
            ("65532", account(65532, 0, &[], "/")),
            ("65532:65532", account(65532, 65532, &[], "/")),
            ("app:staff", account(1000, 50, &[], "/home/app")),
        ];
        for (text, expected) in table {
            assert_eq!(resolve(text, PASSWD, GROUP), Ok(expected), "{text}");
        }
        for text in ["4294967295", "65536", "0:65536"] {
            assert!(resolve(text, PASSWD, GROUP).is_err_and(|error| error.contains("0 to 65535")), "{text}");
        }
        assert!(resolve("nobody", PASSWD, GROUP).is_err_and(|error| error.contains("'nobody'")));
        assert!(resolve("app:wheel", PASSWD, GROUP).is_err_and(|error| error.contains("'wheel'")));
    }
}
