// Package peer starts mail programs that are not ours, as processes of this
// machine: Postfix with folders, ports and settings of its own, its test
// programs smtp-sink and smtp-source, and swaks. They are what the tests and
// the benchmark measure Gatepost against; ports are on 127.0.0.1 only.
//
// It installs nothing and leaves the system's own Postfix alone: no file below
// /etc/postfix or /var/spool/postfix is read for, or written by, an instance.
// It judges nothing: what a program said or kept is handed to the caller.
package peer
