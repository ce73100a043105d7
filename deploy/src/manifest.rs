//! One object to apply: typed when it is built, generic when it is sent or written.

use std::fmt;

use kube::Resource;
use kube::core::{ApiResource, DynamicObject};
use serde::Serialize;

use crate::Error;

/// What an object is and what it is called, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// `DaemonSet` and so on.
    pub kind: String,
    /// None for objects of the whole cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.namespace.as_ref().map(|it| format!("{it}/")).unwrap_or_default();
        write!(f, "{} {namespace}{}", self.kind, self.name)
    }
}

/// An object in the form that is sent, with the address it is sent to.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) object: ObjectName,
    pub(crate) resource: ApiResource,
    pub(crate) value: serde_json::Value,
}

impl Manifest {
    /// The generic form of a typed object.
    pub(crate) fn of<K: Resource<DynamicType = ()> + Serialize>(typed: &K) -> Result<Self, Error> {
        let meta = typed.meta();
        let object = ObjectName {
            kind: K::kind(&()).into_owned(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone().unwrap_or_default(),
        };
        let value = serde_json::to_value(typed);
        let value = value.map_err(|source| Error::Object { object: object.clone(), source })?;
        Ok(Self { object, resource: ApiResource::erase::<K>(&()), value })
    }

    /// The handle for calls on objects of this kind, in this one's namespace if it has one.
    pub(crate) fn api(&self, client: &kube::Client) -> kube::Api<DynamicObject> {
        match &self.object.namespace {
            Some(namespace) => {
                kube::Api::namespaced_with(client.clone(), namespace, &self.resource)
            }
            None => kube::Api::all_with(client.clone(), &self.resource),
        }
    }

    pub(crate) fn failed(&self, action: &'static str, error: kube::Error) -> Error {
        Error::Api { action, object: self.object.clone(), source: Box::new(error) }
    }
}
