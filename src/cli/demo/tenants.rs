//! The demo's three institutions, and the configuration file that tells the gateway of them.

use std::net::SocketAddr;

/// One institution of the demo.
#[derive(Debug)]
pub(super) struct DemoTenant {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// As created by `databases.sql`.
    pub(super) database: &'static str,
    pub(super) data: DemoData,
}

#[derive(Debug)]
pub(super) enum DemoData {
    /// The one violation of the documentation's sample answer.
    Documented,
    /// What `turnpike sample` makes; as its arguments.
    Made { violations: &'static str, history: &'static str, seed: &'static str },
}

pub(super) const OC_TOMA: DemoTenant = DemoTenant {
    id: "OC_TOMA",
    name: "Tomahawk University",
    version: "2022.5.hawksbill.0-rc",
    database: "oc_toma",
    data: DemoData::Documented,
};

pub(super) const NORTHERN_U: DemoTenant = DemoTenant {
    id: "NORTHERN_U",
    name: "Northern University",
    version: "2024.2.loggerhead.1",
    database: "northern_u",
    data: DemoData::Made { violations: "300", history: "200", seed: "1" },
};

pub(super) const CITY_OF_ELM: DemoTenant = DemoTenant {
    id: "CITY_OF_ELM",
    name: "City of Elm",
    version: "2023.4.leatherback.2",
    database: "city_of_elm",
    data: DemoData::Made { violations: "250", history: "150", seed: "2" },
};

pub(super) const ALL: [&DemoTenant; 3] = [&OC_TOMA, &NORTHERN_U, &CITY_OF_ELM];

/// `tenants.toml` for a gateway on `listen` before the cluster on `port`.
pub(super) fn configuration(listen: SocketAddr, admin_listen: SocketAddr, port: u16) -> String {
    let mut text = format!(
        r#"# Made by `turnpike demo`, and made anew by its next run. Paths are relative to this file.

[gateway]
listen = "{listen}"
admin_listen = "{admin_listen}"
tls_certificate = "certs/gateway.pem"
tls_key = "certs/gateway.key"

# What each tenant starts from.
[defaults]
# The gateway's own role: it reads the record model and may mark violations as sent, no more.
database_password_file = "secrets/turnpike"
# The role that owns the schema, for `migrate` and `sample` alone; `serve` never uses it.
owner_database_password_file = "secrets/turnpike_owner"
"#
    );
    for DemoTenant { id, name, version, database, .. } in ALL {
        text += &format!(
            r#"
# https://{listen}/api/{id}/v1/violations/send_overdue_to_collections
[tenants.{id}]
name = "{name}"
version = "{version}"
database_url = "postgres://turnpike@127.0.0.1:{port}/{database}"
owner_database_url = "postgres://turnpike_owner@127.0.0.1:{port}/{database}"
"#
        );
    }
    text
}
