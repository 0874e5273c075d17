//! Revisions in the store.

use std::ops::Bound;

use homerun_model::names::{ProjectId, Region, RevisionKey, ServiceKey, ServiceName};
use homerun_model::revision::Revision;
use rusqlite::{Connection, Transaction, params};

use super::intent::Intent;
use super::{Result, Store, StoreError, Versioned, next, not_text};

impl Store {
    /// A revision, if it exists.
    ///
    /// # Errors
    /// None at present: it is read from memory.
    pub fn revision(&self, key: &RevisionKey) -> Result<Option<Versioned<Revision>>> {
        Ok(self.intent().revision(key).map(|revision| Versioned::clone(revision)))
    }

    /// The revisions of a service, oldest first.
    ///
    /// # Errors
    /// None at present: they are read from memory.
    pub fn revisions(&self, service: &ServiceKey) -> Result<Vec<Versioned<Revision>>> {
        let intent = self.intent();
        let revisions = intent.get(service).into_iter().flat_map(|intent| &intent.revisions);
        Ok(revisions.map(|revision| Versioned::clone(revision)).collect())
    }

    /// Up to `limit` revisions of a project, of one region or of all, of one service if given, by service
    /// and region and the newest first, those after a key. Each comes with its key,
    /// `SERVICE/REGION/GENERATION`.
    ///
    /// # Errors
    /// None at present: they are read from memory.
    pub fn revisions_page(
        &self,
        (project, region): (&ProjectId, Option<&Region>),
        service: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned<Revision>)>> {
        let after = after.map(Position::parse);
        let first = service.map(|service| (ServiceName::new(service), Region::new("")));
        let start =
            after.as_ref().map(|after| after.place.clone()).max(first).map_or(Bound::Unbounded, Bound::Included);
        let intent = self.intent();
        let services = intent
            .from(project, start)
            .take_while(|intent| service.is_none_or(|service| intent.service.value.key.name.as_str() == service))
            .filter(|intent| region.is_none_or(|region| &intent.service.value.key.region == region));
        let revisions = services.flat_map(|intent| intent.revisions.iter().rev());
        let left = revisions.filter(|revision| after.as_ref().is_none_or(|after| after.is_before(&revision.value)));
        let keyed = left.map(|revision| {
            let of = &revision.value;
            (format!("{}/{}/{}", of.service, of.key.region, of.generation), Versioned::clone(revision))
        });
        Ok(keyed.take(limit).collect())
    }

    /// Stores what the loops found out about a revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the revision is gone.
    pub fn update_revision(&self, revision: &Revision) -> Result<()> {
        let body = serde_json::to_string(revision)?;
        let work = |transaction: &Transaction<'_>| {
            let version = next(transaction, "version")?;
            let key = &revision.key;
            let changed = transaction.execute(
                "UPDATE revisions SET version = ?4, body = ?5 WHERE project = ?1 AND region = ?2 AND name = ?3",
                params![key.project.as_str(), key.region.as_str(), key.name.as_str(), version, body],
            )?;
            if changed == 0 { Err(StoreError::Conflict) } else { Ok(version) }
        };
        self.write_then(work, |intent, version| {
            intent.put_revision(Versioned { version: *version, value: revision.clone() });
        })?;
        self.touch(&revision.service_key());
        Ok(())
    }

    /// Removes a revision; does nothing if it is gone already.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_revision(&self, key: &RevisionKey) -> Result<()> {
        let mut service = None;
        let work = |transaction: &Transaction<'_>| {
            let names = params![key.project.as_str(), key.region.as_str(), key.name.as_str()];
            transaction.execute("DELETE FROM revisions WHERE project = ?1 AND region = ?2 AND name = ?3", names)?;
            Ok(())
        };
        self.write_then(work, |intent, ()| service = intent.delete_revision(key))?;
        if let Some(service) = service {
            self.touch(&service);
        }
        Ok(())
    }
}

/// Where a page of revisions ends.
struct Position {
    place: (ServiceName, Region),
    generation: u64,
}

impl Position {
    /// Reads a key that [`Store::revisions_page`] gave; any other text is some position, too.
    fn parse(key: &str) -> Self {
        let mut parts = key.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        let place = (ServiceName::new(part()), Region::new(part()));
        Self { place, generation: part().parse().unwrap_or(u64::MAX) }
    }

    fn is_before(&self, revision: &Revision) -> bool {
        let (service, region) = &self.place;
        (&revision.service, &revision.key.region) != (service, region) || revision.generation < self.generation
    }
}

/// Adds a revision; its version.
pub(super) fn insert(transaction: &Transaction<'_>, revision: &Revision) -> Result<u64> {
    let version = next(transaction, "version")?;
    let key = &revision.key;
    transaction.execute(
        "INSERT INTO revisions (project, region, name, service, version, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            key.project.as_str(),
            key.region.as_str(),
            key.name.as_str(),
            revision.service.as_str(),
            version,
            serde_json::to_string(revision)?
        ],
    )?;
    Ok(version)
}

/// Reads every revision; the services must have been read before.
pub(super) fn read_all(connection: &Connection, intent: &mut Intent) -> Result<()> {
    let mut statement = connection.prepare("SELECT version, body FROM revisions")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let value: Revision = serde_json::from_str(row.get_ref(1)?.as_str().map_err(not_text)?)?;
        // The copy is smaller: a list that was parsed has room for more than is in it.
        intent.put_revision(Versioned { version: row.get(0)?, value: value.clone() });
    }
    Ok(())
}
