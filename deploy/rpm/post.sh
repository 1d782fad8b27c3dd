if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers mcp-monitor.conf || :
    systemd-tmpfiles --create mcp-monitor.conf || :
fi
if command -v systemctl >/dev/null; then
    [ -d /run/systemd/system ] && systemctl daemon-reload || :
    if [ "$1" -eq 1 ]; then
        systemctl --quiet preset mcp-monitor.service || :
    fi
fi
