//! The way to a cluster.

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::Error;

/// A connection to a Kubernetes API. Needs a rustls provider to be installed.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: kube::Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster of the kubeconfig (`KUBECONFIG`, `~/.kube/config`) or, within a pod, the one
    /// it runs in; `context` names one of the kubeconfig's. Nothing is sent yet.
    pub async fn connect(context: Option<&str>) -> Result<Self, Error> {
        let failed = |source| Error::Connect { context: context.map(str::to_owned), source };
        let config = match context {
            None => kube::Config::infer().await.map_err(|error| failed(error.into()))?,
            Some(name) => {
                let file = Kubeconfig::read().map_err(|error| failed(error.into()))?;
                let options =
                    KubeConfigOptions { context: Some(name.to_owned()), ..Default::default() };
                let config = kube::Config::from_custom_kubeconfig(file, &options).await;
                config.map_err(|error| failed(error.into()))?
            }
        };
        let client = kube::Client::try_from(config).map_err(|error| failed(error.into()))?;
        Ok(Self { client })
    }

    /// A cluster behind a client that was made elsewhere.
    #[must_use]
    pub const fn new(client: kube::Client) -> Self {
        Self { client }
    }
}
