//! Who gives a command that changes a tenant, and why: what the audit log will say.

use nix::unistd::{Uid, User};

use super::CommandError;
use crate::audit::Actor;

#[derive(Debug, clap::Args)]
pub struct Acting {
    /// Who does it, for the audit log [default: the user that the command runs as]
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

impl Acting {
    /// # Errors
    /// An `--actor` or a `--reason` that says nothing.
    pub fn actor(&self, reason: Option<&str>) -> Result<Actor, CommandError> {
        for (text, refusal) in
            [(self.actor.as_deref(), "--actor must name somebody"), (reason, "--reason must say why")]
        {
            if text.is_some_and(|text| text.trim().is_empty()) {
                return Err(CommandError::Refused(refusal.to_owned()));
            }
        }
        let name = self.actor.clone().unwrap_or_else(user);
        Ok(Actor { name, reason: reason.map(str::to_owned), request_id: None })
    }
}

/// The process's user by the system's own table, not by a variable that anybody can set.
fn user() -> String {
    let uid = Uid::current();
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("uid {uid}"),
    }
}
