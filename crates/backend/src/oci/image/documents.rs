//! Manifest, index and configuration: what homerun reads of them, in OCI's and Docker's form alike.
//!
//! Of our own because both families must be read leniently by one set of types (media types may be
//! missing, lists may be null) while a document that could be read two ways must be refused
//! (CVE-2021-41190).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::ImageConfig;
use super::digest::Digest;
use super::error::DocumentProblem;

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Media types of file system layers begin with one of these; the compression that follows is told
/// by the content itself.
const LAYER_TYPES: [&str; 3] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.",
];

/// A reference to a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// What an image is built for, in Go's names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// What this machine runs.
    pub(super) fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Platform { architecture: architecture.into(), os: "linux".into(), variant: None }
    }

    /// Whether an image for this platform runs on `host`. Empty fields are unknown, not different.
    pub(super) fn runs_on(&self, host: &Platform) -> bool {
        (self.os.is_empty() || self.os == host.os)
            && (self.architecture.is_empty() || self.architecture == host.architecture)
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A manifest of one image.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub schema_version: u64,
    #[serde(default)]
    pub media_type: String,
    pub config: Descriptor,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// Bytes of configuration and layers as they are stored in a registry.
    pub(super) fn size(&self) -> u64 {
        self.layers.iter().fold(self.config.size, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// What the name of an image leads to.
pub(super) enum Document {
    Manifest(Manifest),
    Index(Vec<Descriptor>),
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Document, DocumentProblem> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            schema_version: u64,
            manifests: Option<Vec<Descriptor>>,
            config: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
        }
        let shape: Shape = serde_json::from_slice(bytes).map_err(DocumentProblem::Json)?;
        if shape.schema_version != 2 {
            return Err(DocumentProblem::SchemaVersion(shape.schema_version));
        }
        match (shape.manifests, shape.config.is_some() || shape.layers.is_some()) {
            (Some(_), true) => Err(DocumentProblem::Ambiguous),
            (Some(manifests), false) => Ok(Document::Index(manifests)),
            (None, false) => Err(DocumentProblem::Neither),
            (None, true) => {
                let manifest: Manifest = serde_json::from_slice(bytes).map_err(DocumentProblem::Json)?;
                match manifest.layers.iter().find(|l| !is_layer(&l.media_type)) {
                    Some(layer) => Err(DocumentProblem::LayerType(layer.media_type.clone())),
                    None => Ok(Document::Manifest(manifest)),
                }
            }
        }
    }
}

fn is_layer(media_type: &str) -> bool {
    media_type.is_empty() || LAYER_TYPES.iter().any(|known| media_type.starts_with(known))
}

/// The entry of an index that fits `host`, or what there is instead.
///
/// Entries without a platform are tried last; the lowest variant wins because every machine of the
/// architecture runs it. Attestations (`unknown/unknown`) are no images.
pub(super) fn choose<'a>(entries: &'a [Descriptor], host: &Platform) -> Result<&'a Descriptor, Vec<String>> {
    let platform = |e: &'a Descriptor| e.platform.as_ref();
    entries
        .iter()
        .filter(|e| platform(e).is_none_or(|p| p.runs_on(host)))
        .min_by_key(|e| (platform(e).is_none(), platform(e).and_then(|p| p.variant.clone())))
        .ok_or_else(|| {
            entries
                .iter()
                .filter_map(|e| e.platform.as_ref())
                .filter(|p| p.os != "unknown")
                .map(Platform::to_string)
                .collect()
        })
}

/// The configuration of an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(flatten)]
    pub platform: Platform,
    #[serde(default)]
    pub config: Option<RunConfig>,
    pub rootfs: RootFs,
}

/// The uncompressed layers, bottom first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub diff_ids: Vec<Digest>,
}

/// How to run the image, as written in the configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RunConfig {
    #[serde(deserialize_with = "null_is_empty")]
    pub user: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "null_is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl ConfigFile {
    /// Reads a configuration and checks it against its manifest.
    pub(super) fn parse(bytes: &[u8], manifest: &Manifest) -> Result<ConfigFile, DocumentProblem> {
        let file: ConfigFile = serde_json::from_slice(bytes).map_err(DocumentProblem::Json)?;
        let (layers, diff_ids) = (manifest.layers.len(), file.rootfs.diff_ids.len());
        match layers == diff_ids {
            true => Ok(file),
            false => Err(DocumentProblem::LayerCount { layers, diff_ids }),
        }
    }

    pub(super) fn run(self) -> ImageConfig {
        let run = self.config.unwrap_or_default();
        ImageConfig {
            entrypoint: run.entrypoint,
            cmd: run.cmd,
            env: run.env,
            working_dir: run.working_dir,
            user: run.user,
            exposed_ports: run.exposed_ports.into_keys().collect(),
            labels: run.labels,
            stop_signal: run.stop_signal.filter(|signal| !signal.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, architecture: &str, variant: Option<&str>) -> Descriptor {
        let platform = Platform { os: os.into(), architecture: architecture.into(), variant: variant.map(Into::into) };
        Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: Digest::of(platform.to_string().as_bytes()),
            size: 1,
            platform: Some(platform),
        }
    }

    #[test]
    fn an_index_yields_the_plainest_fitting_entry_or_names_what_it_has() {
        let host = entry("linux", "amd64", None).platform.expect("platform");
        let entries = [
            entry("unknown", "unknown", None),
            entry("linux", "amd64", Some("v3")),
            entry("linux", "amd64", None),
            entry("linux", "arm64", Some("v8")),
        ];
        assert_eq!(choose(&entries, &host).expect("fits").digest, entries[2].digest);
        let none = [entry("unknown", "unknown", None), entry("linux", "arm64", Some("v8"))];
        assert_eq!(choose(&none, &host).expect_err("none fits"), ["linux/arm64/v8"]);
    }

    #[test]
    fn documents_that_could_be_read_two_ways_are_refused() {
        let both = br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(matches!(Document::parse(both), Err(DocumentProblem::Ambiguous)));
        let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert!(matches!(Document::parse(old), Err(DocumentProblem::SchemaVersion(1))));
        assert!(matches!(Document::parse(br#"{"schemaVersion":2}"#), Err(DocumentProblem::Neither)));
    }

    #[test]
    fn null_lists_in_a_configuration_are_empty() {
        let d = Digest::of(b"x");
        let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{d}","size":1}},"layers":[]}}"#);
        let Ok(Document::Manifest(manifest)) = Document::parse(manifest.as_bytes()) else { panic!("a manifest") };
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null},
            "config":{"Env":null,"Cmd":["a"],"Entrypoint":null,"Labels":null,"ExposedPorts":{"80/tcp":{}}}}"#;
        let config = ConfigFile::parse(config, &manifest).expect("reads").run();
        assert_eq!(config.cmd, ["a"]);
        assert_eq!(config.exposed_ports, ["80/tcp"]);
    }
}
