//! The systemd service that a cgroup path belongs to: the innermost `.service` that is not the manager of a user's own.

/// The service's unit, with systemd's escapes left as they are, as `systemctl` shows it.
#[must_use]
pub fn service_of(cgroup: &[u8]) -> Option<String> {
    let service = cgroup.split(|byte| *byte == b'/').rev().find(|part| part.ends_with(b".service"))?;
    let name = std::str::from_utf8(service).ok()?;
    // `user@1000.service` holds everything that a user's own manager started.
    (!name.starts_with("user@")).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::service_of;

    #[test]
    fn services_are_named_by_their_cgroup() {
        for (path, unit) in [
            ("/system.slice/mcp-proxy.service", Some("mcp-proxy.service")),
            ("/system.slice/system-agent.slice/agent@web.service/sub", Some("agent@web.service")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/weather.service",
                Some("weather.service"),
            ),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope", None),
            ("/user.slice/user-1000.slice/session-3.scope", None),
            ("/", None),
        ] {
            assert_eq!(service_of(path.as_bytes()).as_deref(), unit, "{path}");
        }
    }
}
