//! Where requests go.

use std::collections::BTreeSet;

use super::is_name;
use crate::names::ServiceKey;
use crate::service::Surroundings;
use crate::traffic::{TAG_SEPARATOR, TrafficTarget, host_label};
use crate::violation::Violation;

const LABEL_MAX: usize = 63;

pub(super) fn check(
    targets: &[TrafficTarget],
    key: &ServiceKey,
    around: &Surroundings<'_>,
    found: &mut Vec<Violation>,
) {
    let sum: u64 = targets.iter().map(|target| u64::from(target.percent)).sum();
    if sum != 100 {
        found.push(Violation::new("spec.traffic", format!("The sum of all percents should be 100; it is {sum}.")));
    }
    let mut tags = BTreeSet::new();
    for (index, target) in targets.iter().enumerate() {
        let field = format!("spec.traffic[{index}]");
        if target.percent > 100 {
            let message = format!("A percent must be between 0 and 100; it is {}.", target.percent);
            found.push(Violation::new(format!("{field}.percent"), message));
        }
        let Some(tag) = &target.tag else { continue };
        let field = format!("{field}.tag");
        if !tags.insert(tag) {
            let message = format!("Traffic may not contain a duplicate tag; '{tag}' is there more than once.");
            found.push(Violation::new(&field, message));
        }
        if !is_name(tag, LABEL_MAX) || tag.contains(TAG_SEPARATOR) {
            let message = format!(
                "Tag '{tag}' must use only lowercase letters, digits and single or double hyphens, begin with a letter and not end \
                 with a hyphen."
            );
            found.push(Violation::new(&field, message));
        } else if host_label(Some(tag), &key.name, around.project.number).len() > LABEL_MAX {
            let room = LABEL_MAX.saturating_sub(host_label(Some(""), &key.name, around.project.number).len());
            let message = format!(
                "Tag '{tag}' is too long: with the names of service and project it must fit into a host name, so it may have at \
                 most {room} characters here."
            );
            found.push(Violation::new(&field, message));
        }
    }
}
