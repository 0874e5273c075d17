//! A certificate whose files change is taken over by the homerun that runs.

use std::error::Error;
use std::time::Duration;

use super::{Certificate, CertificateError, load};
use crate::config::Config;

/// How often the files are looked at. They are read whole: what renews certificates may write them in place, rename
/// others over them or point a link elsewhere, and times of change tell little of that.
const INTERVAL: Duration = Duration::from_secs(5);

/// What a look at the files has found.
#[derive(Debug)]
pub enum Look {
    /// Nothing to be told.
    Same,
    /// Another certificate, which is in use from now on.
    Replaced,
    /// What is there cannot be used; the certificate from before stays.
    Kept(CertificateError),
}

/// The certificate in use, and what was found since.
pub struct Renewal {
    used: Certificate,
    /// What was wrong at the last look.
    wrong: Option<String>,
    told: bool,
}

impl Renewal {
    /// With the certificate that ingress has begun with.
    pub fn new(used: Certificate) -> Self {
        Self { used, wrong: None, told: false }
    }

    /// Looks at the files once. One that homerun makes itself is made anew when its end is near.
    pub fn look(&mut self, config: &Config) -> Look {
        match load(config) {
            Ok(Some(found)) => {
                (self.wrong, self.told) = (None, false);
                if found.text == self.used.text {
                    return Look::Same;
                }
                self.used.tls.replace(&found.tls);
                self.used.text = found.text;
                Look::Replaced
            }
            // The settings do not change while homerun runs.
            Ok(None) => Look::Same,
            Err(error) => self.note(error),
        }
    }

    /// Certificate and key are written one after the other, and for a moment do not go together; so only what is
    /// still wrong at the next look is told, and that once.
    fn note(&mut self, error: CertificateError) -> Look {
        let text = error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        let again = self.wrong.as_ref() == Some(&text);
        self.told &= again;
        self.wrong = Some(text);
        if !again || self.told {
            return Look::Same;
        }
        self.told = true;
        Look::Kept(error)
    }
}

/// Looks at the files again and again, until the task is dropped. Without a certificate there is nothing to do.
pub async fn run(certificate: Option<Certificate>, mut config: Config) {
    let Some(certificate) = certificate else { return };
    let mut renewal = Renewal::new(certificate);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let looking = tokio::task::spawn_blocking(move || {
            let look = renewal.look(&config);
            (renewal, config, look)
        });
        let Ok((looked, same, look)) = looking.await else { return };
        (renewal, config) = (looked, same);
        match look {
            Look::Same => {}
            Look::Replaced => tracing::info!("the certificate has changed; new connections get the new one"),
            Look::Kept(error) => {
                let error = &error as &dyn Error;
                tracing::error!(error, "the certificate has changed and cannot be used; the one from before stays");
            }
        }
    }
}
