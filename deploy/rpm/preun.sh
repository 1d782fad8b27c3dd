if [ "$1" -eq 0 ] && command -v systemctl >/dev/null; then
    systemctl --quiet disable mcp-monitor.service || :
    [ -d /run/systemd/system ] && systemctl stop mcp-monitor.service || :
fi
