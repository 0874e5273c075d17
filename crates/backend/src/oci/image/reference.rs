//! Image names as `docker pull` reads them, for instance `python:3` or
//! `127.0.0.1:5000/team/app@sha256:...`.
//!
//! The grammar is that of the distribution project's reference package (domain, path, tag and
//! digest), with Docker Hub as the default registry and `latest` as the default tag. One name is
//! homerun's own: the host `localhost` without a port stands for the local store, never a registry.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::ImageError;
use super::digest::Digest;

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_LEGACY: &str = "index.docker.io";
const LOCAL_STORE: &str = "localhost";
const DEFAULT_TAG: &str = "latest";
/// Longest `host/path` that registries accept, in bytes.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// Why a text is no image name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Nothing before the tag or digest.
    #[error("it is empty; give for instance 'python:3' or 'localhost/app:latest'")]
    Empty,
    /// Host and path together are longer than registries accept.
    #[error("host and path may have at most 255 characters")]
    TooLong,
    /// The registry's host or port is malformed.
    #[error("the part before the first '/' is not a host name with an optional port")]
    Host,
    /// Upper-case letters in the repository path.
    #[error("the repository path must be lower case")]
    UpperCase,
    /// A path component breaks the grammar.
    #[error(
        "every part of the path must be lower-case letters and digits, with single '.', '_', '__' or any '-' between them"
    )]
    Path,
    /// The tag breaks the grammar.
    #[error("a tag is up to 128 letters, digits, '_', '.' and '-', and begins with a letter, digit or '_'")]
    Tag,
    /// The digest is not a SHA-256 digest.
    #[error("a digest is 'sha256:' and 64 lower-case hexadecimal digits")]
    Digest,
    /// 64 hexadecimal digits look like an image id, which no registry resolves.
    #[error("64 hexadecimal digits are an image id, not a name")]
    LooksLikeId,
}

/// A parsed and completed image name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageName {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageName {
    /// The registry's host with its port if one was given; `docker.io` if none was named.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository inside the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; none when a digest pins the image.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that pins the image.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether the name means an image of the local store, which is never pulled.
    pub fn is_local(&self) -> bool {
        self.host == LOCAL_STORE
    }

    /// Whether the registry is on this machine, and so is spoken to over plain HTTP.
    pub fn is_loopback(&self) -> bool {
        let host = self.host_without_port();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse().is_ok_and(|a: Ipv4Addr| a.is_loopback())
            || host
                .strip_prefix('[')
                .and_then(|h| h.strip_suffix(']'))
                .and_then(|h| h.parse().ok())
                .is_some_and(|a: Ipv6Addr| a.is_loopback())
    }

    /// The same repository, pinned to a digest.
    pub fn pinned(&self, digest: &Digest) -> ImageName {
        ImageName { host: self.host.clone(), path: self.path.clone(), tag: None, digest: Some(digest.clone()) }
    }

    /// Where to connect. `*.localhost` is always this machine (RFC 6761), whatever the resolver says.
    pub(super) fn address(&self) -> String {
        let host = self.host_without_port();
        if host.ends_with(".localhost") {
            return format!("127.0.0.1{}", &self.host[host.len()..]);
        }
        self.host.clone()
    }

    /// Host and port for a message.
    pub(super) fn endpoint(&self) -> String {
        if self.host.len() > self.host_without_port().len() {
            return self.host.clone();
        }
        format!("{}:{}", self.host, if self.is_loopback() { 80 } else { 443 })
    }

    fn host_without_port(&self) -> &str {
        match self.host.rfind([':', ']']) {
            Some(at) if self.host.as_bytes()[at] == b':' => &self.host[..at],
            _ => &self.host,
        }
    }

    fn parse(text: &str) -> Result<ImageName, NameProblem> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).ok_or(NameProblem::Digest)?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if name.is_empty() {
            return Err(NameProblem::Empty);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(NameProblem::Tag);
        }
        let (host, path) = split_host(name);
        if !is_host(host) {
            return Err(NameProblem::Host);
        }
        check_path(path)?;
        let host = if host == DOCKER_HUB_LEGACY { DOCKER_HUB } else { host };
        let path = if host == DOCKER_HUB && !path.contains('/') {
            if path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(NameProblem::LooksLikeId);
            }
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if host.len() + 1 + path.len() > NAME_MAX {
            return Err(NameProblem::TooLong);
        }
        let tag = match &digest {
            Some(_) => None,
            None => Some(tag.unwrap_or(DEFAULT_TAG).to_owned()),
        };
        Ok(ImageName { host: host.to_owned(), path, tag, digest })
    }
}

impl FromStr for ImageName {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ImageName::parse(text).map_err(|problem| ImageError::InvalidName { image: text.to_owned(), problem })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first component is a host only if it can't be a path component, as Docker decides it.
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':', '['])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DOCKER_HUB, name),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => (&host[..at], Some(&host[at + 1..])),
        _ => (host, None),
    };
    if port.is_some_and(|p| p.is_empty() || p.parse::<u16>().is_err() || p.starts_with('+')) {
        return false;
    }
    if let Some(inner) = name.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|a| a.parse::<Ipv6Addr>().is_ok());
    }
    name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

fn check_path(path: &str) -> Result<(), NameProblem> {
    if path.is_empty() {
        return Err(NameProblem::Empty);
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(NameProblem::UpperCase);
    }
    if path.split('/').all(is_path_component) { Ok(()) } else { Err(NameProblem::Path) }
}

/// `[a-z0-9]+` runs with `.`, `_`, `__` or any number of `-` between them.
fn is_path_component(component: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    component.starts_with(word)
        && component.ends_with(word)
        && component
            .split(word)
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
