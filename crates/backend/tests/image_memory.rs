//! Memory use of a pull. Alone in its file: it measures the whole process.

mod image_support;

use image_support::*;

const SIZE: u64 = 64 << 20;

/// A layer much larger than the memory that unpacking it may take.
#[tokio::test(flavor = "multi_thread")]
async fn large_layers_take_little_memory() {
    let zeros = vec![0; SIZE as usize];
    let layer =
        Layer { plain: tar_of(&[("zeros", &zeros)]), stored: Vec::new(), media_type: OCI_LAYER.to_owned() + "+gzip" };
    drop(zeros);
    let stored = gzip(&layer.plain);
    let image = Image::new(vec![Layer { stored, ..layer }]);
    let slim = Image {
        layers: image.layers.iter().map(|l| Layer { plain: Vec::new(), ..l.clone() }).collect(),
        ..image.clone()
    };
    drop(image);
    let server = FakeServer::with_image(&slim, |_| None).await;
    let test = TestStore::new("{}");
    let before = peak_reset();
    let resolved = test.resolve(&format!("{}/app:1", server.host)).await.expect("pulls");
    let grown = peak_kib().saturating_sub(before);
    assert_eq!(std::fs::metadata(resolved.layers[0].join("zeros")).expect("zeros").len(), SIZE);
    assert!(grown < SIZE / 4 / 1024, "{grown} KiB for a layer of {SIZE} bytes");
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with(field)).expect("field");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB")
}

/// Resets the peak of resident memory and returns the present value.
fn peak_reset() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").expect("clear_refs");
    status_kib("VmRSS")
}

fn peak_kib() -> u64 {
    status_kib("VmHWM")
}
