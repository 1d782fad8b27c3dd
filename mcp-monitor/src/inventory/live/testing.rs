//! Parts for the tests of this folder.

use super::super::declared::{
    Approval, ApprovalState, ArgumentPattern, ClientId, DeclaredId, DeclaredServer, Place, Scope, Transport,
    Variable,
};

/// A declared server.
pub(super) fn declared(
    client: &str,
    scope: Scope,
    uid: Option<u32>,
    name: &str,
    words: &[&str],
) -> DeclaredServer {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let mut patterns = ArgumentPattern::list(&words, &[Variable::DollarBrace], |_| None);
    let arguments = patterns.split_off(1);
    let client = ClientId::from(client);
    DeclaredServer {
        id: DeclaredId::new(&client, &scope, uid, scope.folder(), name),
        client_name: client.as_str().into(),
        name: name.into(),
        transport: Transport::Stdio { command: patterns.remove(0), arguments, working_directory: None },
        environment_names: Vec::new(),
        uid,
        home: Some("/home/u".into()),
        project: scope.folder().map(Into::into),
        approval: Approval { state: ApprovalState::Approved, why: "test".into() },
        place: Place { path: "/home/u/.config".into(), line: None, key: format!("mcpServers.{name}") },
        overridden_by: None,
        overridden_in: Vec::new(),
        mount_namespace: None,
        scope,
        client,
    }
}
