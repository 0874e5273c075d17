//! `homerun image ...`

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;
use homerun_api::own;
use reqwest::Method;
use tokio_util::io::ReaderStream;

use crate::Target;
use crate::client::{CliError, Client};
use crate::output::{self, Format};

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Store an OCI or docker archive, or a root file system folder, as localhost/NAME:TAG
    #[command(
        after_help = "Examples:\n  homerun image import app.tar app:v1\n  homerun image import ./rootfs app --entrypoint /app"
    )]
    Import {
        /// The archive or folder
        path: PathBuf,
        /// NAME or NAME:TAG
        name: String,
        /// Program of a root file system folder
        #[arg(long)]
        entrypoint: Option<String>,
    },
    /// List the images that are here
    List {
        /// How to print
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

pub(crate) async fn run(target: &Target, command: ImageCommand) -> Result<(), CliError> {
    let client = Client::new(target)?;
    match command {
        ImageCommand::Import { path, name, entrypoint } => import(&client, path, &name, entrypoint.as_deref()).await,
        ImageCommand::List { format } => list(&client, format).await,
    }
}

/// Uploads an archive. A folder is on this machine, where the server is too: it reads it itself.
async fn import(client: &Client, path: PathBuf, name: &str, entrypoint: Option<&str>) -> Result<(), CliError> {
    let failed = |source| CliError::File { path: path.clone(), source };
    let mut query = form(&[("name", name)]);
    if let Some(entrypoint) = entrypoint {
        query.push_str(&form(&[("&entrypoint", entrypoint)]));
    }
    let answer = if std::fs::metadata(&path).map_err(failed)?.is_dir() {
        let folder = std::fs::canonicalize(&path).map_err(failed)?;
        query.push_str(&form(&[("&path", &folder.to_string_lossy())]));
        client.call(Method::POST, &format!("/homerun/v1/images:import?{query}"), None).await?
    } else {
        let file = tokio::fs::File::open(&path).await.map_err(failed)?;
        let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, 256 << 10));
        client.upload(&format!("/homerun/v1/images:import?{query}"), body).await?
    };
    writeln!(std::io::stdout(), "Imported {}", output::text(&answer, "/reference"))?;
    Ok(())
}

async fn list(client: &Client, format: Format) -> Result<(), CliError> {
    let answer = client.call(Method::GET, "/homerun/v1/images", None).await?;
    match format {
        Format::Json => output::json(&answer)?,
        Format::Yaml => output::yaml(&answer)?,
        Format::Table => {
            let answer: own::Images = serde_json::from_value(answer).map_err(CliError::Answer)?;
            let rows: Vec<Vec<String>> = answer
                .images
                .into_iter()
                .map(|image| {
                    let created = image.create_time.format("%Y-%m-%d %H:%M:%S UTC").to_string();
                    vec![image.name, image.digest, format!("{} MiB", image.size_bytes >> 20), created]
                })
                .collect();
            output::table(&["IMAGE", "DIGEST", "SIZE", "CREATED"], &rows)?;
        }
    }
    Ok(())
}

/// `key=value` with the value escaped for a query.
fn form(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    pairs.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect()
}
