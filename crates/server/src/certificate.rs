//! The certificate of the ingress: given, or made here.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{TimeDelta, Utc};
use homerun_ingress::{Tls, TlsError};
use homerun_model::domain::self_made_names;

pub use der::MakeError;

use crate::config::Config;

mod der;
pub mod renew;

/// Where one that is made here is kept, below the data directory.
const FOLDER: &str = "tls";
/// How long it holds: Apple's clients refuse ones that hold for more than 825 days.
const VALID: TimeDelta = TimeDelta::days(820);
/// It is made anew so long before its end.
const RENEW: TimeDelta = TimeDelta::days(30);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One of the two is given without the other.
    #[error(
        "[ingress] certificate and key (--tls-certificate, --tls-key) belong together, and {missing} is missing; or let \
         homerun make one: [ingress] self_made_certificate = true (--tls-self-made)"
    )]
    Half {
        /// What is missing.
        missing: &'static str,
    },
    /// A certificate is given, and another one is to be made.
    #[error("[ingress] takes certificate and key, or self_made_certificate, not both")]
    Both,
    /// A file cannot be read.
    #[error("cannot read {path}, which [ingress] {field} names")]
    Read {
        /// The setting.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("the certificate {certificate} with the key {key} cannot be used")]
    Wrong {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: TlsError,
    },
    /// One could not be made.
    #[error("cannot make a certificate")]
    Make(#[source] MakeError),
    /// It could not be kept.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// A certificate and the text that it was read from.
#[derive(Debug)]
pub struct Certificate {
    /// Ready for use.
    pub tls: Tls,
    text: Pem,
}

/// A certificate and its key as their files have them.
#[derive(Clone, PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Pem {
    /// Never the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pem")
    }
}

/// The certificate that the settings ask for; `None` if requests are to come in clear text.
///
/// # Errors
/// What is wrong with the settings or the files that they name.
pub fn load(config: &Config) -> Result<Option<Certificate>, CertificateError> {
    let settings = &config.ingress;
    match (&settings.certificate, &settings.key, settings.self_made_certificate) {
        (None, None, false) => Ok(None),
        (None, None, true) => self_made(config).map(Some),
        (Some(certificate), Some(key), false) => read(certificate, key).map(Some),
        (Some(_), Some(_), true) => Err(CertificateError::Both),
        (None, Some(_), _) => Err(CertificateError::Half { missing: "certificate" }),
        (Some(_), None, _) => Err(CertificateError::Half { missing: "key" }),
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Certificate, CertificateError> {
    let file = |field, path: &Path| {
        fs::read(path).map_err(|source| CertificateError::Read { field, path: path.to_owned(), source })
    };
    let text = Pem { certificate: file("certificate", certificate)?, key: file("key", key)? };
    let tls = Tls::from_pem(&text.certificate, &text.key).map_err(|source| CertificateError::Wrong {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })?;
    Ok(Certificate { tls, text })
}

/// The one that was made before, so that who trusts it need not do so again; a new one if it is for other names or
/// ends soon.
fn self_made(config: &Config) -> Result<Certificate, CertificateError> {
    let folder = config.data_dir.join(FOLDER);
    let (certificate, key, about) = (folder.join("certificate.pem"), folder.join("key.pem"), folder.join("names"));
    let (names, now) = (names(config), Utc::now());
    let known = fs::read_to_string(&about).unwrap_or_default();
    let fits = known.split_once(' ').is_some_and(|(end, made_for)| {
        let ends = end.parse::<i64>().unwrap_or_default();
        made_for == names.join(" ") && ends > (now + RENEW).timestamp()
    });
    if !fits || !certificate.exists() || !key.exists() {
        // From yesterday on: clocks differ.
        let made = der::self_signed(&names, now - TimeDelta::days(1), now + VALID).map_err(CertificateError::Make)?;
        fs::create_dir_all(&folder).map_err(|source| CertificateError::Write { path: folder, source })?;
        write(&key, &made.key, 0o600)?;
        write(&certificate, &made.certificate, 0o644)?;
        write(&about, &format!("{} {}", (now + VALID).timestamp(), names.join(" ")), 0o644)?;
    }
    read(&certificate, &key)
}

/// The hosts of services' URLs, the domains that may be mapped, and this machine.
fn names(config: &Config) -> Vec<String> {
    let wildcards = config.all_regions().into_iter().map(|region| format!("*.{region}.{}", config.url.domain));
    let mapped = self_made_names(&config.ingress.domains);
    let mut names: Vec<String> = Vec::new();
    for name in wildcards.chain(mapped).chain(["localhost", "127.0.0.1", "::1"].map(str::to_owned)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let outcome = fs::remove_file(path)
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(mode).open(path))
        .and_then(|mut file| file.write_all(text.as_bytes()));
    outcome.map_err(|source| CertificateError::Write { path: path.to_owned(), source })
}
