//! Watches processes with ptrace(2) and gives the connections they accept.
