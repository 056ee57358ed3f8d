//! `turnpike tenant add`: from nothing to a tenant that answers.
//!
//! The configuration is drafted and judged first, then the database is made, migrated and checked, and only then the files
//! are written. A step that fails says what was done before it; running the command again goes on from there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use percent_encoding::percent_decode_str;
use rand::Rng;
use rand::distr::Alphanumeric;

use super::super::admin_client::Access;
use super::super::check::{self, Severity};
use super::super::{CommandError, CommandResult, parse_tenant};
use super::put;
use crate::access_log::chain;
use crate::config::edit::{self, Draft, NewTenant, Password};
use crate::config::{ConnectionConfig, TenantConfig, TenantId};
use crate::migrate::migrate;
use crate::provision::Administrator;

const PASSWORD_LENGTH: usize = 40;

#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// The client code in its vendors' URLs
    #[arg(value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// The institution's name; without it, the id
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// state.version of its answers
    #[arg(long, value_name = "TEXT")]
    version: Option<String>,
    /// The gateway's connection, like postgres://turnpike@db1/oc_toma; a password in it goes into a file of its own. May be
    /// left out where [defaults] has one
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// A file with the password of the gateway's role
    #[arg(long, value_name = "FILE")]
    database_password_file: Option<PathBuf>,
    /// The connection of the role that owns the schema
    #[arg(long, value_name = "URL")]
    owner_database_url: Option<String>,
    /// A file with the owner's password
    #[arg(long, value_name = "FILE")]
    owner_database_password_file: Option<PathBuf>,
    /// Make the database and those of its roles that are missing. Without an owner's URL, the owner is the gateway's role with
    /// _owner after it; without passwords, they are drawn
    #[arg(long, requires = "admin_database_url")]
    create_database: bool,
    /// A superuser's connection, or one that may create databases and roles
    #[arg(long, value_name = "URL", env = "TURNPIKE_ADMIN_DATABASE_URL", hide_env_values = true)]
    admin_database_url: Option<String>,
    #[command(flatten)]
    access: Access,
}

pub async fn run(args: &AddArgs, config: &Path) -> CommandResult {
    let mut steps = Steps::default();
    match add(args, config, &mut steps).await {
        Ok(draft) => {
            let done = format!("{} is configured", args.tenant);
            put(draft, &format!("add {}", args.tenant), &args.access, &done).await
        }
        Err(error) => {
            eprintln!("turnpike: {}", chain(&error));
            eprintln!("turnpike: {} was not added to the configuration; {}", args.tenant, steps.tell());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What can't be taken back.
#[derive(Default)]
struct Steps(Vec<String>);

impl Steps {
    fn done(&mut self, step: String) {
        println!("{step}");
        self.0.push(step);
    }

    fn tell(&self) -> String {
        if self.0.is_empty() {
            return "nothing has changed".to_owned();
        }
        format!("what was done stays, and the same command goes on from there: {}", self.0.join("; "))
    }
}

async fn add(args: &AddArgs, config: &Path, steps: &mut Steps) -> Result<Draft, CommandError> {
    let mut new = read(args, config)?;
    let mut draft = Draft::add(config, &new)?;
    if args.create_database {
        let url = args.admin_database_url.as_deref().unwrap_or_default();
        let connection = ConnectionConfig::parse(url).map_err(|faults| {
            CommandError::Refused(format!("--admin-database-url {}", faults.join(", and ")))
        })?;
        let administrator = Administrator::connect(&connection).await?;
        if draw_passwords(&administrator, &mut new, valid(&draft, &args.tenant)?).await? {
            drop(draft);
            draft = Draft::add(config, &new)?;
        }
        write_secrets(&mut draft, steps)?;
        create(&administrator, valid(&draft, &args.tenant)?, steps).await?;
    } else {
        write_secrets(&mut draft, steps)?;
    }
    let tenant = valid(&draft, &args.tenant)?;
    let migrated = migrate(tenant).await?;
    let applied = match migrated.applied.as_slice() {
        [] => "nothing to do".to_owned(),
        applied => format!("applied {}", applied.join(", ")),
    };
    steps.done(format!("migrated to version {}, {applied}", migrated.version));
    let findings = check::check_database(tenant).await;
    for finding in &findings {
        eprintln!("turnpike: {}: {}", finding.place, finding.reason);
    }
    if findings.iter().any(|finding| finding.severity == Severity::Fault) {
        return Err(CommandError::Refused("its database can't be used as it is".to_owned()));
    }
    println!("checked its database: {} findings", findings.len());
    Ok(draft)
}

/// The arguments, with passwords taken out of the URLs.
fn read(args: &AddArgs, config: &Path) -> Result<NewTenant, CommandError> {
    let mut owner_url = args.owner_database_url.clone();
    if let (true, None, Some(url)) = (args.create_database, &owner_url, &args.database_url) {
        owner_url = UserInfo::find(url).map(|user| user.owner());
    }
    let (database_url, in_url) = without_password(args.database_url.as_deref());
    let (owner_database_url, in_owner_url) = without_password(owner_url.as_deref());
    let choose = |file: &Option<PathBuf>, text: Option<String>, owner: bool| match (file, text) {
        (Some(_), Some(_)) => Err(CommandError::Refused(
            "a password is given in the URL and in a file: keep one of them".to_owned(),
        )),
        (Some(file), None) => Ok(Some(Password::File(file.clone()))),
        // What an earlier run has left, with this very password maybe: a role may have it already.
        (None, text) => match edit::find_secret(config, &args.tenant, owner) {
            Some(kept) if text.is_none() => Ok(Some(Password::File(kept))),
            _ => Ok(text.map(Password::Text)),
        },
    };
    Ok(NewTenant {
        id: args.tenant.clone(),
        name: args.name.clone().unwrap_or_else(|| args.tenant.to_string()),
        version: args.version.clone(),
        database_password: choose(&args.database_password_file, in_url, false)?,
        owner_database_password: choose(&args.owner_database_password_file, in_owner_url, true)?,
        database_url,
        owner_database_url,
    })
}

fn valid<'a>(draft: &'a Draft, id: &TenantId) -> Result<&'a TenantConfig, CommandError> {
    let missing = || CommandError::Refused(format!("{id} isn't valid"));
    draft.find_tenant(id).ok_or_else(missing)
}

/// Draws passwords for roles that are to be made and have none; true where it did.
async fn draw_passwords(
    administrator: &Administrator,
    new: &mut NewTenant,
    tenant: &TenantConfig,
) -> Result<bool, CommandError> {
    let mut drawn = false;
    for (connection, password) in
        [(&tenant.database, &mut new.database_password), (&tenant.owner, &mut new.owner_database_password)]
    {
        let has_password = connection.postgres.get_password().is_some();
        let role = connection.postgres.get_user().unwrap_or_default();
        if !has_password && password.is_none() && !administrator.has_role(role).await? {
            let text = rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect();
            *password = Some(Password::Text(text));
            drawn = true;
        }
    }
    Ok(drawn)
}

fn write_secrets(draft: &mut Draft, steps: &mut Steps) -> Result<(), CommandError> {
    let secrets: Vec<String> = draft.secrets().map(|path| path.display().to_string()).collect();
    draft.write_secrets()?;
    for secret in secrets {
        steps.done(format!("wrote a password to {secret}"));
    }
    Ok(())
}

async fn create(
    administrator: &Administrator,
    tenant: &TenantConfig,
    steps: &mut Steps,
) -> Result<(), CommandError> {
    let [gateway, owner] = [&tenant.database, &tenant.owner].map(|connection| &connection.postgres);
    for role in [owner, gateway] {
        let name = role.get_user().unwrap_or_default();
        let made = match role.get_password() {
            Some(password) => administrator.create_role(name, password).await?,
            None => false,
        };
        if made {
            steps.done(format!("created the role {name}"));
        }
    }
    let names = [gateway.get_dbname(), owner.get_user(), gateway.get_user()].map(Option::unwrap_or_default);
    let [database, owner, gateway] = names;
    if administrator.create_database(database, owner, gateway).await? {
        steps.done(format!("created the database {database}, owned by {owner}"));
    } else {
        println!("the database {database} is there already, and {owner}'s");
    }
    Ok(())
}

/// A URL's part before the @.
struct UserInfo<'a> {
    before: &'a str,
    user: &'a str,
    password: Option<&'a str>,
    after: &'a str,
}

impl<'a> UserInfo<'a> {
    fn find(url: &'a str) -> Option<Self> {
        let start = url.find("://")? + 3;
        let at = start + url[start..].find('@')?;
        let (user, password) = match url[start..at].split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (&url[start..at], None),
        };
        Some(Self { before: &url[..start], user, password, after: &url[at..] })
    }

    /// The same URL for the role that owns what this one uses.
    fn owner(&self) -> String {
        format!("{}{}_owner{}", self.before, self.user, self.after)
    }
}

/// A URL, and the password that stood in it. Command lines and configurations are read by more people than passwords are
/// for.
fn without_password(url: Option<&str>) -> (Option<String>, Option<String>) {
    let Some(url) = url else { return (None, None) };
    let Some(UserInfo { before, user, password: Some(password), after }) = UserInfo::find(url) else {
        return (Some(url.to_owned()), None);
    };
    let password = percent_decode_str(password).decode_utf8_lossy().into_owned();
    (Some(format!("{before}{user}{after}")), Some(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_of_a_url() {
        let taken = without_password(Some("postgres://u:p%40ss@h:1/d?sslmode=require"));
        let none = without_password(Some("postgres://u@h/d"));

        assert_eq!(taken, (Some("postgres://u@h:1/d?sslmode=require".to_owned()), Some("p@ss".to_owned())));
        assert_eq!(none, (Some("postgres://u@h/d".to_owned()), None));
        assert_eq!(without_password(None), (None, None));
    }

    #[test]
    fn the_owner_is_named_after_the_gateways_role() {
        let user = UserInfo::find("postgres://turnpike:secret@h/d").unwrap();

        assert_eq!(user.owner(), "postgres://turnpike_owner@h/d");
    }
}
