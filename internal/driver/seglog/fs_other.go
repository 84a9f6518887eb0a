//go:build !linux

package seglog

import "os"

// syncData makes the contents of f durable. On Darwin File.Sync asks the drive
// to empty its cache (F_FULLFSYNC).
func syncData(f *os.File) error { return f.Sync() }
