//! What an executed program is, where it was executed: the decision that makes workloads.
//!
//! Pure: what has to be asked of the host is in the [`Scene`]. What is below a server is that server, whatever it is; an
//! agent below a server is judged as that server. What is below an agent and nothing of its own is the agent.

use std::sync::Arc;

use super::{
    agents::{Agent, Agents, Role},
    configured::ConfiguredWorkload,
    marks::{Mark, Marks},
    matching::{Matcher, Setting},
    program::{Execution, Program, identify},
    tools::Tools,
};
use crate::{
    event::{Descriptor, DescriptorKind},
    expectation::data::DataError,
    inventory::declared::{Declarations, DeclaredServer},
};

/// What it was executed below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below<'a> {
    /// A server: everything is its own.
    Server,
    /// An agent, with its id.
    Agent(&'a str),
    /// A client that is no workload, with its id.
    Client(&'a str),
    /// Nobody that is known.
    Nobody,
}

impl<'a> Below<'a> {
    /// The client's id.
    #[must_use]
    pub fn client(self) -> Option<&'a str> {
        match self {
            Self::Agent(id) | Self::Client(id) => Some(id),
            Self::Server | Self::Nobody => None,
        }
    }
}

/// What is known of the place and moment of an execution.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Below whom.
    pub below: Below<'a>,
    /// Its user.
    pub uid: u32,
    /// The client's user.
    pub client_uid: Option<u32>,
    /// It has a terminal.
    pub terminal: bool,
    /// Standard input.
    pub stdin: Descriptor,
    /// Standard output.
    pub stdout: Descriptor,
    /// Mount namespace; `None` for the host's own.
    pub mount_namespace: Option<u64>,
}

impl Scene<'_> {
    /// Standard input and output are both pipes or sockets: somebody talks to it.
    #[must_use]
    pub fn is_pair(&self) -> bool {
        let talks =
            |descriptor: Descriptor| matches!(descriptor.kind, DescriptorKind::Pipe | DescriptorKind::Socket);
        // A pipe that is both is a loop of its own.
        let one_pipe = self.stdin.kind == DescriptorKind::Pipe && self.stdin.inode == self.stdout.inode;
        talks(self.stdin) && talks(self.stdout) && !(one_pipe && self.stdin.inode != 0)
    }
}

/// What a program is.
#[derive(Clone, Debug, PartialEq)]
pub enum Class {
    /// An agent, which is a workload.
    Agent(Agent),
    /// More of the agent that it was executed below: a helper, or the program behind its launcher.
    SameAgent(Agent),
    /// A server that a configuration declares.
    Declared(Arc<DeclaredServer>),
    /// What an administrator names.
    Configured(Arc<ConfiguredWorkload>),
    /// A server that no configuration declares.
    Undeclared,
    /// Holds two pipes of its parent and is unknown.
    Suspect,
    /// Only starts something, which will be seen.
    PassesOn,
    /// Anything else.
    Ordinary,
}

/// Everything that is known, and every declaration.
#[derive(Debug)]
pub struct Classifier {
    tools: Tools,
    agents: Agents,
    marks: Marks,
    matcher: Matcher,
}

impl Classifier {
    /// What the embedded data say, with nothing declared.
    pub fn embedded() -> Result<Self, DataError> {
        Ok(Self {
            tools: Tools::embedded()?,
            agents: Agents::embedded()?,
            marks: Marks::embedded()?,
            matcher: Matcher::default(),
        })
    }

    /// Takes these declarations instead of those before.
    pub fn declare(&mut self, declarations: &Declarations) {
        self.matcher = Matcher::new(declarations, &self.tools);
    }

    /// What is run.
    #[must_use]
    pub fn program(&self, execution: &Execution<'_>) -> Program {
        identify(&self.tools, execution)
    }

    /// What that is.
    #[must_use]
    pub fn classify(&self, execution: &Execution<'_>, program: &Program, scene: &Scene<'_>) -> Class {
        if scene.below == Below::Server {
            return Class::Ordinary;
        }
        let agent = self.agents.identify(execution.executable, program);
        if let Some((agent, Role::Runs)) = agent {
            return match scene.below {
                // Its own helpers, and itself once more.
                Below::Agent(id) if id == agent.id => Class::SameAgent(agent.clone()),
                _ if agent.only_client => Class::Ordinary,
                _ => Class::Agent(agent.clone()),
            };
        }
        let setting = Setting {
            client: scene.below.client(),
            uid: scene.uid,
            client_uid: scene.client_uid,
            working_directory: execution.working_directory,
            mount_namespace: scene.mount_namespace,
        };
        let pair = scene.is_pair();
        // A person may run by hand what a configuration declares, and an agent's shell may, too.
        let may_serve = pair || (!scene.terminal && scene.below == Below::Nobody);
        if may_serve && let Some(declared) = self.matcher.find(execution.executable, program, &setting) {
            return Class::Declared(declared);
        }
        if let (Some((_, Role::Serves)), true) = (agent, pair) {
            return Class::Undeclared;
        }
        match (self.marks.of(program), scene.below) {
            (Some(Mark::Name), _) if may_serve && !program.shell_text => return Class::Undeclared,
            (Some(Mark::Hint), Below::Agent(_) | Below::Client(_))
                if pair && !self.marks.is_tool(program) =>
            {
                return Class::Undeclared;
            }
            _ => {}
        }
        if program.passes_on && !program.shell_text && pair {
            return Class::PassesOn;
        }
        let is_asked = matches!(scene.below, Below::Agent(_) | Below::Client(_));
        if pair && is_asked && !program.code && !program.shell_text && !self.marks.is_tool(program) {
            return Class::Suspect;
        }
        Class::Ordinary
    }

    /// The name that a server goes by when nobody gave it one.
    #[must_use]
    pub fn name<'program>(&self, program: &'program Program) -> &'program [u8] {
        self.marks.telling_name(program)
    }

    /// The client that a program is, be it an agent or not.
    #[must_use]
    pub fn client(&self, execution: &Execution<'_>) -> Option<&Agent> {
        self.agents.identify(execution.executable, &self.program(execution)).map(|(agent, _)| agent)
    }

    /// The tables.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Agents and clients.
    #[must_use]
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Last names of programs that are servers.
    pub fn server_programs(&self) -> impl Iterator<Item = &[u8]> {
        self.marks.programs()
    }

    /// What is declared.
    #[must_use]
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
