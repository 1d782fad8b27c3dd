//! End-to-end tests of mcp-monitor.
