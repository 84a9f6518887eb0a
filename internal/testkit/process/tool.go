package process

import (
	"os"
	"os/exec"
	"testing"
)

// Tool returns the path of a program that a test needs. Without it the test is
// skipped, and fails under CI.
func Tool(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		tb.Fatal(err)
	default:
		tb.Skipf("%s is not installed", name)
	}
	return path
}
