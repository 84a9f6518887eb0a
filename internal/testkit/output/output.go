// Package output keeps what a program under test writes or logs, for a test
// that looks at it meanwhile.
package output

import (
	"bytes"
	"strings"
	"sync"
)

// Buffer is a bytes.Buffer that goroutines write while others look. The zero
// value is empty.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Forget drops what was written so far, and the memory it takes, but for the lines
// of Faults.
func (b *Buffer) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	faults := faultsOf(b.b.String())
	b.b = bytes.Buffer{}
	b.b.WriteString(faults)
}

// Faults returns the lines that tell of a fault of the program, where they are
// those of a text handler of log/slog: errors and panics.
func (b *Buffer) Faults() string { return faultsOf(b.String()) }

func faultsOf(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "panic") || strings.Contains(line, "level=ERROR") {
			out.WriteString(line)
		}
	}
	return out.String()
}
