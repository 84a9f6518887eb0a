package state

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxProcesses bounds the search for the process behind a port.
const maxProcesses = 10_000

// PortHolder names the process that listens on a TCP port, as "name (process
// 123)". It is "" when that cannot be told: the process belongs to another
// user, or the system has no /proc.
func PortHolder(port int) string {
	pid := PortProcess(port)
	if pid == 0 {
		return ""
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(name)), pid)
}

// PortProcess returns the id of the process that listens on a TCP port, 0 when
// that cannot be told.
func PortProcess(port int) int {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listening(table, port, inodes)
	}
	if len(inodes) == 0 {
		return 0
	}
	dirs, err := filepath.Glob("/proc/[0-9]*/fd")
	if err != nil || len(dirs) > maxProcesses {
		return 0
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // not ours to see, or gone
		}
		for _, e := range entries {
			link, err := os.Readlink(filepath.Join(dir, e.Name()))
			if err != nil {
				continue
			}
			inode, ok := strings.CutPrefix(link, "socket:[")
			if !ok || !inodes[strings.TrimSuffix(inode, "]")] {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
			if err == nil {
				return pid
			}
		}
	}
	return 0
}

// listening collects the inodes of sockets that listen on port, from a table
// of the kernel: "sl local_address rem_address st … inode".
func listening(table string, port int, inodes map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer f.Close()
	const listen, stateCol, inodeCol = "0A", 3, 9
	for s := bufio.NewScanner(f); s.Scan(); {
		cols := strings.Fields(s.Text())
		if len(cols) <= inodeCol || cols[stateCol] != listen {
			continue
		}
		_, hex, _ := strings.Cut(cols[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
			inodes[cols[inodeCol]] = true
		}
	}
}
